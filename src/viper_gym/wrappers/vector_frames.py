"""`VectorFrames`: what the environments of a vector show, whatever their autoreset mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from viper_gym.errors import FrameMismatch
from viper_gym.wrappers.frames import (
    INFO_FRAME,
    is_grey,
    newest_frame,
    refuse_autoreset,
    rendered_frame,
    warn_of_late_pictures,
    warn_of_reuse,
)


class VectorFrames:
    """Frames of a vector environment's resets and steps.

    They are the `info["viper/frame"]` of `FrameInInfo` where the environments have it, else the
    observations where these are uint8 RGB images or stacks of them, else `render()` of the vector
    environment (a tuple of frames).

    Args:
        env: the vector environment.
    """

    def __init__(self, env: VectorEnv):
        self._env = env
        ones = getattr(env.unwrapped, "envs", ())
        # ale-py's vector environments stack grey pictures
        grey = getattr(env.unwrapped, "grayscale", False) or any(is_grey(one) for one in ones)
        self._newest = None if grey else newest_frame(env.single_observation_space)
        self.mode = autoreset_mode(env)
        self._warned = False
        for one in ones:
            refuse_autoreset(one)
        for one in ones[:1]:
            warn_of_late_pictures(one)

    def at_reset(self, observations: Any, info: dict[str, Any]) -> np.ndarray:
        """uint8 (n, H, W, 3).

        Raises:
            FrameMismatch: there are no frames, or they come from `render()` while environments
                reset in the same step, which hides the last frame of every episode.
        """
        if not isinstance(info, dict):
            raise TypeError("infos are a list: put DictInfoToList outside of this wrapper")
        if self._newest is None and self.mode == AutoresetMode.SAME_STEP and INFO_FRAME not in info:
            raise FrameMismatch(
                "frames come from render(), and environments that reset in the same step hide "
                "their last frame: make them with wrappers=[viper_gym.wrappers.frames."
                "FrameInInfo], use autoreset_mode NEXT_STEP, or observe pixels"
            )
        return self._frames(observations, info)

    def at_step(
        self, observations: Any, info: dict[str, Any], over: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the step showed, and what the next one begins from: uint8 (n, H, W, 3) both.

        They differ where environments reset in the same step.

        Args:
            over: bool (n,), whose episode this step ended.

        Raises:
            FrameMismatch: there are no frames.
        """
        frames = self._frames(observations, info)
        if self.mode == AutoresetMode.SAME_STEP and over.any():
            return self._with_last_frames(frames, np.flatnonzero(over), info), frames
        return frames, frames

    def _with_last_frames(
        self, frames: np.ndarray, over: np.ndarray, info: dict[str, Any]
    ) -> np.ndarray:
        """`frames`, but of the environments `over` the last frame and not the next first one."""
        shown = frames.copy()
        inside = info.get("final_info", {}).get(INFO_FRAME)
        for i in over:
            if inside is not None:
                shown[i] = inside[i]
            else:
                shown[i] = self._newest(info["final_obs"][i])  # type: ignore[misc]
        same = [np.array_equal(shown[i], frames[i]) for i in over]
        if inside is None and not self._warned and any(same):
            self._warned = True
            warn_of_reuse("wrappers=[viper_gym.wrappers.frames.FrameInInfo]")
        return shown

    def _frames(self, observations: Any, info: dict[str, Any]) -> np.ndarray:
        """uint8 (n, H, W, 3)."""
        if INFO_FRAME in info:
            return np.asarray(info[INFO_FRAME])
        if self._newest is not None:
            return self._newest(np.asarray(observations))
        if (inner := _drawn_in_turn(self._env)) is not None:  # each in its own OpenGL context
            return np.stack([rendered_frame(env) for env in inner.envs])
        try:
            frames = self._env.render()
        except NotImplementedError:
            frames = None
        if frames is None or len(frames) != self._env.num_envs or frames[0] is None:
            raise FrameMismatch(
                "the observations are no RGB images, so frames come from render(), which returned "
                "none: make the environments with render_mode='rgb_array', or observe colour "
                "(ale-py's vector environments: grayscale=False)"
            )
        return np.stack(frames)


def _drawn_in_turn(env: VectorEnv) -> SyncVectorEnv | None:
    """The environments of this process whose `render()` is what `env.render()` shows."""
    while isinstance(env, VectorWrapper):
        if type(env).render is not VectorWrapper.render:
            return None
        env = env.env
    if isinstance(env, SyncVectorEnv) and type(env).render is SyncVectorEnv.render:
        return env
    return None


def autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """When environments that are over begin anew; NEXT_STEP where nothing is said."""
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return getattr(env.unwrapped, "autoreset_mode", mode)


def without_frames(info: dict[str, Any]) -> dict[str, Any]:
    """Frames are large, and not the agent's business."""
    hidden = (INFO_FRAME, f"_{INFO_FRAME}")
    info = {key: value for key, value in info.items() if key not in hidden}
    if isinstance(info.get("final_info"), dict):
        info["final_info"] = {k: v for k, v in info["final_info"].items() if k not in hidden}
    return info


def put(info: dict[str, Any], key: str, which: np.ndarray, values: np.ndarray, n: int) -> None:
    """An info value with its mask, as `VectorEnv` writes them."""
    full, mask = np.zeros(n), np.zeros(n, bool)
    full[which], mask[which] = values, True
    info[key], info[f"_{key}"] = full, mask
