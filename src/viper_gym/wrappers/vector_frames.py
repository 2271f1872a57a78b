"""`VectorFrames`: what the environments of a vector show, whatever their autoreset mode."""

from __future__ import annotations

import warnings
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
    warn_of_foreign_contexts,
    warn_of_late_pictures,
    warn_of_reuse,
)


class VectorFrames:
    """Frames of a vector environment's resets and steps.

    They are the `info["viper/frame"]` of `FrameInInfo` where the environments have it, else the
    observations where these are uint8 RGB images or stacks of them, else `render()` of the vector
    environment (a tuple of frames). Within another reward, they are those that it took.

    Args:
        env: the vector environment.
    """

    latest: tuple[np.ndarray, np.ndarray]
    """what the last call returned; of a reset the frames twice"""

    def __init__(self, env: VectorEnv):
        self._env = env
        ones = getattr(env.unwrapped, "envs", ())
        # ale-py's vector environments stack grey pictures
        grey = getattr(env.unwrapped, "grayscale", False) or any(is_grey(one) for one in ones)
        self._newest = None if grey else newest_frame(env.single_observation_space)
        self.mode = autoreset_mode(env)
        self._warned = False
        self._within = _frames_taken_within(env)
        for one in ones:
            refuse_autoreset(one)
        for one in ones[:1]:
            warn_of_late_pictures(one)
            if len(ones) > 1:
                warn_of_foreign_contexts(one)

    def at_reset(
        self, observations: Any, info: dict[str, Any], mask: np.ndarray | None = None
    ) -> np.ndarray:
        """uint8 (n, H, W, 3).

        Args:
            mask: bool (n,), which environments were reset; None: all. Others' frames may be none.

        Raises:
            FrameMismatch: there are no frames, or they come from `render()` while environments
                reset in the same step, which hides the last frame of every episode.
        """
        if not isinstance(info, dict):
            raise TypeError("infos are a list: put DictInfoToList outside of this wrapper")
        if self._within is not None:
            return self._within.latest[1]
        frames = self._at_reset(observations, info, mask)
        self.latest = (frames, frames)
        return frames

    def _at_reset(
        self, observations: Any, info: dict[str, Any], mask: np.ndarray | None
    ) -> np.ndarray:
        if self._newest is None and self.mode == AutoresetMode.SAME_STEP and INFO_FRAME not in info:
            raise FrameMismatch(
                "frames come from render(), and environments that reset in the same step hide "
                "their last frame: make them with wrappers=[viper_gym.wrappers.frames."
                "FrameInInfo], use autoreset_mode NEXT_STEP, or observe pixels"
            )
        return self._frames(observations, info, mask)

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
        if self._within is not None:
            return self._within.latest
        shown = frames = self._frames(observations, info)
        if self.mode == AutoresetMode.SAME_STEP and over.any():
            shown = self._with_last_frames(frames, np.flatnonzero(over), info)
        self.latest = (shown, frames)
        return self.latest

    def _with_last_frames(
        self, frames: np.ndarray, over: np.ndarray, info: dict[str, Any]
    ) -> np.ndarray:
        """`frames`, but of the environments `over` the last frame and not the next first one."""
        shown, final = frames.copy(), info.get("final_info", {})
        inside = _told(final, len(frames))
        if self._newest is None and not inside[over].all():
            raise _lost_on_the_way(over[~inside[over]])
        for i in over:
            if inside[i]:
                shown[i] = final[INFO_FRAME][i]
            else:
                shown[i] = self._newest(info["final_obs"][i])  # type: ignore[misc]
        same = [np.array_equal(shown[i], frames[i]) for i in over if not inside[i]]
        if not self._warned and any(same):
            self._warned = True
            warn_of_reuse("wrappers=[viper_gym.wrappers.frames.FrameInInfo]")
        return shown

    def _frames(
        self, observations: Any, info: dict[str, Any], mask: np.ndarray | None = None
    ) -> np.ndarray:
        """uint8 (n, H, W, 3)."""
        if INFO_FRAME in info:
            told = _told(info, self._env.num_envs)
            if told[slice(None) if mask is None else mask].all():
                return np.asarray(info[INFO_FRAME])
            if self._newest is None:
                raise _lost_on_the_way(np.flatnonzero(~told))
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


def _told(info: dict[str, Any], n: int) -> np.ndarray:
    """bool (n,): whose info has a frame; the array has zeros for the others."""
    if INFO_FRAME not in info:
        return np.zeros(n, bool)
    return np.asarray(info.get(f"_{INFO_FRAME}", np.ones(n)), bool)


def _lost_on_the_way(environments: np.ndarray) -> FrameMismatch:
    return FrameMismatch(
        f"environments {environments.tolist()} give no info['{INFO_FRAME}'], though there is a "
        "FrameInInfo: put it outside of wrappers that return infos of their own (such as "
        "Stable-Baselines3's FireResetEnv), and around every environment"
    )


def _frames_taken_within(env: Any) -> VectorFrames | None:
    """Those of a reward inside, which keeps them to itself: infos come without."""
    while isinstance(env, VectorWrapper):
        seen = getattr(env, "_seen", None)
        if isinstance(seen, VectorFrames):
            return seen
        env = env.env
    return None


def autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """When environments that are over begin anew; NEXT_STEP, with a warning, where nothing is said.

    Raises:
        ValueError: something else is said.
    """
    told = getattr(env.unwrapped, "autoreset_mode", env.metadata.get("autoreset_mode"))
    if told is None:
        warnings.warn(
            f"{type(env.unwrapped).__name__} does not say when environments that are over begin "
            "anew (metadata['autoreset_mode']): NEXT_STEP is assumed. If it is another, windows "
            "cross episodes",
            stacklevel=4,
        )
        return AutoresetMode.NEXT_STEP
    return AutoresetMode(told)


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
