"""Atari games as Gymnasium environments with 64x64 colour frames.

An action sticks with probability 0.25 (Machado et al. 2018), actions are those the game knows,
games end when all lives are lost. One environment step is `action_repeat` emulator frames; the
picture is the brighter of the last two at every pixel, because the machine draws some objects in
every second frame only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from PIL import Image

from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.tasks import View
from viper_gym.errors import UnknownTask
from viper_gym.optional import require

STICKY = 0.25
NOOPS = 30  # at most, at the start of an episode, so that games do not all begin alike
MAX_FRAMES = 108_000  # half an hour of play

VIEW = View()

Rectangle = tuple[int, int, int, int]
"""rows from, to (exclusive), columns from, to (exclusive), of a 64x64 picture"""


@dataclass(frozen=True)
class AtariGame:
    """One game: its name in ale-py, scores to compare with, and where it writes its score.

    `random` and `human` are the scores that human-normalised ones are usually computed with (games
    begun with idle frames; they are those of Wang et al. 2016, not of Mnih et al. 2015).
    """

    name: str
    expert: float
    """ours, mean of whole games (docs/decisions.md, "Atari")"""
    random: float
    human: float
    hidden: tuple[Rectangle, ...]
    """score, lives and clocks"""
    view: View = VIEW
    action_repeat: int = 4


def _rows(start: int, stop: int) -> Rectangle:
    return (start, stop, 0, 64)


# the authors' eight
ATARI_GAMES: dict[str, AtariGame] = {
    "assault": AtariGame("Assault", 2313, 222.4, 742.0, (_rows(0, 4), _rows(58, 64))),
    "atlantis": AtariGame("Atlantis", 293550, 12850.0, 29028.1, (_rows(56, 64),)),
    "boxing": AtariGame("Boxing", 99, 0.1, 12.1, (_rows(0, 9),)),
    "defender": AtariGame("Defender", 5125, 2874.5, 18688.9, (_rows(53, 64),)),
    "freeway": AtariGame("Freeway", 32, 0.0, 29.6, (_rows(0, 5),)),
    "kangaroo": AtariGame("Kangaroo", 4212, 52.0, 3035.0, (_rows(55, 64),)),
    "pong": AtariGame("Pong", 12, -20.7, 14.6, (_rows(0, 7),)),
    "zaxxon": AtariGame("Zaxxon", 8550, 32.5, 9173.3, (_rows(0, 7), _rows(58, 64))),
}


def atari_game(name: str) -> AtariGame:
    """Look a game up by the name used in ids (`pong`).

    Raises:
        UnknownTask: naming the known games.
    """
    if name not in ATARI_GAMES:
        known = ", ".join(sorted(ATARI_GAMES))
        raise UnknownTask(f"unknown atari game '{name}'; known: {known}")
    return ATARI_GAMES[name]


def game_mask(name: str) -> np.ndarray:
    """uint8 (64, 64), 0 where a game shows score, lives or clocks.

    Raises:
        UnknownTask: no such game.
    """
    mask = np.ones((64, 64), np.uint8)
    for top, bottom, left, right in atari_game(name).hidden:
        mask[top:bottom, left:right] = 0
    return mask


class AtariEnv(DrawnEnv):
    """One game; rewards are its score.

    Observations are uint8 pixels (H, W, 3) or the 128 bytes of the machine's memory as float32;
    `render()` always returns the pixels. The score stands in the picture: a mask belongs to the
    bundle, not to the environment.

    Args:
        task: name in `ATARI_GAMES`, e.g. "pong".
        observation: "pixels" or "state".
        view: size; the game's own by default.
        render_quality: there is one only; given for the sake of the other suites.
        action_repeat: emulator frames an action is held.

    Raises:
        UnknownTask: no such game.
        DependencyNotInstalled: ale-py is missing.
    """

    def __init__(
        self,
        task: str,
        observation: Literal["pixels", "state"] = "pixels",
        view: View | None = None,
        render_quality: str | None = None,
        action_repeat: int | None = None,
        render_mode: str | None = "rgb_array",
    ):
        spec = atari_game(task)
        super().__init__(task, spec, observation, view, render_quality, action_repeat, render_mode)
        ale_py = require("ale_py", extra="atari")
        gym.register_envs(ale_py)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it greets at every start
        game: Any = gym.make(
            f"ALE/{spec.name}-v5",
            frameskip=1,
            repeat_action_probability=STICKY,
            max_num_frames_per_episode=MAX_FRAMES,
        )
        self._game = game.unwrapped
        self.action_space: Any = self._game.action_space
        self.emulator: Any = self._game.ale
        self.emulator_actions: list[Any] = self.emulator.getMinimalActionSet()
        self.observation_space = self._observation_space(128)
        fps = max(1, round(60 / self.action_repeat))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        self._frames: list[np.ndarray] = []

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a bundle records about the frames of this environment."""
        return {"image_size": self.view.image_size, "action_repeat": self.action_repeat}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        frame, _ = self._game.reset(seed=int(self.np_random.integers(2**31)))
        self._frames = [frame, frame]
        for _ in range(int(self.np_random.integers(NOOPS + 1))):
            self._advance(0)
        return self._observe(), {"lives": self.emulator.lives()}

    def step(self, action: int):
        reward, terminated, truncated = 0.0, False, False
        for _ in range(self.action_repeat):
            value, terminated, truncated = self._advance(int(action))
            reward += value
            if terminated or truncated:
                break
        return self._observe(), reward, terminated, truncated, {"lives": self.emulator.lives()}

    def _advance(self, action: int) -> tuple[float, bool, bool]:
        frame, reward, terminated, truncated, _ = self._game.step(action)
        self._frames = [self._frames[-1], frame]
        return float(reward), terminated, truncated

    @property
    def ale(self) -> Any:
        """The emulator, by the name that wrappers for ale-py's games look for."""
        return self.emulator

    def get_action_meanings(self) -> list[str]:
        """Of every action, as ale-py calls it."""
        meanings: list[str] = self._game.get_action_meanings()
        return meanings

    def get_keys_to_action(self) -> dict[Any, Any]:
        """For `gymnasium.utils.play`."""
        keys: dict[Any, Any] = self._game.get_keys_to_action()
        return keys

    def state(self) -> np.ndarray:
        """The machine's memory: float32 (128,) in 0…255."""
        return self.emulator.getRAM().astype(np.float32)

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array."""
        whole = np.maximum(*self._frames)  # (210, 160, 3)
        size = (self.view.image_size, self.view.image_size)
        return np.array(Image.fromarray(whole).resize(size, Image.Resampling.BOX))

    def copy_of_emulator(self) -> Any:
        """Another emulator of the same game, with the same stickiness, to try things in."""
        ale_py = require("ale_py", extra="atari")
        copy = ale_py.ALEInterface()
        copy.setFloat("repeat_action_probability", STICKY)
        copy.setInt("random_seed", int(self.np_random.integers(2**31)))
        copy.loadROM(ale_py.roms.get_rom_path(self.task))
        return copy

    def nothing_in_view(self) -> AbstractContextManager[None]:
        """No game has an empty scene.

        Raises:
            UnknownTask: always.
        """
        raise UnknownTask(f"atari game '{self.task}' has no picture of its scene alone")

    def close(self) -> None:
        self._game.close()
