"""Where in an observation the newest RGB frame lies, and what `render()` shows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from viper_gym.errors import FrameMismatch

Newest = Callable[[np.ndarray], np.ndarray]
INFO_FRAME = "viper/frame"


# functions with names, so that a wrapper that holds one can be pickled
def _last_of_stack(x: np.ndarray) -> np.ndarray:
    return x[..., -1, :, :, :]


def _last_of_stack_channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x[..., -1, :, :, :], -3, -1)


def _last_channels(x: np.ndarray) -> np.ndarray:
    return x[..., -3:]


def _last_channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x[..., -3:, :, :], -3, -1)


def newest_frame(space: gym.Space[Any]) -> Newest | None:
    """How to take the newest frame from observations of this space.

    Frame stacks hold the newest frame last, as `FrameStackObservation`, `VecFrameStack` and
    ale-py's vector environments do. Understood are uint8 boxes
    (H, W, 3k), (3k, H, W), (k, H, W, 3) and (k, 3, H, W); channels are fewer than H and W, unless
    H = W. Three grey pictures in a stack look like one of three colours: give grey environments
    `FrameInInfo`.

    Returns:
        A function (…, *space.shape) -> uint8 (…, H, W, 3), a view; None if the observations
        are no RGB images, so that frames have to come from `render()`.
    """
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8:
        return None
    shape = space.shape
    if len(shape) == 4 and shape[3] == 3:
        return _last_of_stack
    if len(shape) == 4 and shape[1] == 3:
        return _last_of_stack_channels_first
    if len(shape) == 3 and _are_channels(shape[2], shape[:2]):
        return _last_channels
    if len(shape) == 3 and _are_channels(shape[0], shape[1:]):
        return _last_channels_first
    return None


def _are_channels(number: int, sides: tuple[int, ...]) -> bool:
    return number % 3 == 0 and (number < min(sides) or number == 3 or sides[0] == sides[1])


def rendered_frame(env: gym.Env[Any, Any]) -> np.ndarray:
    """A copy of what `render()` shows.

    Raises:
        FrameMismatch: render() gives no array (wrong render_mode).
    """
    take_context_back(env)
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise FrameMismatch(
            "the observation is no RGB image, so frames come from render(), which returned "
            f"{type(frame).__name__}: make the environment with render_mode='rgb_array'"
        )
    return np.array(frame)


def take_context_back(env: gym.Env[Any, Any]) -> None:
    """Let Gymnasium's MuJoCo renderer draw into its own picture; before every call that may draw.

    It makes its OpenGL context current once. Where anything drew or was closed since, it goes on in
    that other one, and shows black or another scene. And closing an environment does not free what
    it drew into: the garbage collector does, later, in whichever context is current then. If that
    is this one, the framebuffer with the same number is gone from there on, and is made again here.
    """
    viewer: Any = getattr(getattr(env.unwrapped, "mujoco_renderer", None), "viewer", None)
    if not hasattr(viewer, "make_context_current"):
        return
    viewer.make_context_current()
    if not hasattr(viewer, "con") or _framebuffer_exists(viewer.con.offFBO):
        return
    import mujoco

    viewer.con.free()  # before the new one, which may be given the same numbers
    viewer.con = mujoco.MjrContext(viewer.model, mujoco.mjtFontScale.mjFONTSCALE_150)
    viewer._set_mujoco_buffer()


def _framebuffer_exists(number: int) -> bool:
    from OpenGL import GL  # MuJoCo needs it

    return bool(GL.glIsFramebuffer(number))


def is_grey(env: gym.Env[Any, Any]) -> bool:
    """Whether observations lost their colours, three of which in a stack look like one picture."""
    return any(
        isinstance(layer, gym.wrappers.GrayscaleObservation)
        or (isinstance(layer, gym.wrappers.AtariPreprocessing) and layer.grayscale_obs)
        for layer in _layers(env)
    )


def warn_of_late_pictures(env: gym.Env[Any, Any]) -> None:
    """Inside, these change which moments a video model compares, and nothing else tells."""
    late: tuple[type, ...] = (gym.wrappers.DelayObservation,)
    if env.has_wrapper_attr("preprocessing"):  # others may skip as their videos did
        late += (gym.wrappers.MaxAndSkipObservation,)
    for layer in _layers(env):
        if isinstance(layer, late):
            warnings.warn(
                f"{type(layer).__name__} inside the reward: the video model sees pictures that are "
                "late, or further apart than its videos'. Put it outside; to decide less often, "
                "use viper_gym.wrappers.hold.HoldAction there",
                stacklevel=4,
            )


def warn_of_foreign_contexts(env: gym.Env[Any, Any]) -> None:
    """Of one environment of several that draw inside, where `take_context_back` cannot help."""
    layers = list(_layers(env))
    drawn = any(isinstance(layer, gym.wrappers.AddRenderObservation) for layer in layers)
    mended = any(isinstance(layer, FrameInInfo) for layer in layers)
    if drawn and not mended and hasattr(env.unwrapped, "mujoco_renderer"):
        warnings.warn(
            "AddRenderObservation around Gymnasium's MuJoCo environments draws in whichever OpenGL "
            "context is current: with several of them pictures may be black. Make them with "
            "wrappers=[viper_gym.wrappers.frames.FrameInInfo], which makes it draw in its own",
            stacklevel=4,
        )


def warn_of_reuse(how: str) -> None:
    """What is said where the last picture of an episode may have been overwritten.

    Args:
        how: the argument that mends it.
    """
    warnings.warn(
        "the last observation of an episode equals the first of the next: if the environments "
        "reuse their observation array, the last reward of every episode is wrong; make them with "
        + how,
        stacklevel=5,
    )


def _layers(env: gym.Env[Any, Any]) -> Iterator[gym.Env[Any, Any]]:
    """The wrappers, from the outermost on, and the environment itself."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
    yield env


def refuse_autoreset(env: gym.Env[Any, Any]) -> None:
    """Inside, it would hide where episodes end.

    Raises:
        ValueError: there is a `gymnasium.wrappers.Autoreset` in the environment.
    """
    if any(isinstance(layer, gym.wrappers.Autoreset) for layer in _layers(env)):
        raise ValueError(
            "gymnasium.wrappers.Autoreset inside this wrapper hides where episodes end: put it "
            "outside, Autoreset(ViperRewardWrapper(env, …))"
        )


def shown_frame(
    env: gym.Env[Any, Any], newest: Newest | None, observation: Any, info: dict[str, Any]
) -> np.ndarray:
    """A copy (environments may reuse their buffers) of the frame that goes with an observation.

    Args:
        newest: of `newest_frame`.
        info: if `FrameInInfo` put the frame there, it is taken out of it.

    Raises:
        FrameMismatch: see `rendered_frame`.
    """
    if INFO_FRAME in info:
        return np.array(info.pop(INFO_FRAME))
    if newest is None:
        return rendered_frame(env)
    return np.array(newest(np.asarray(observation)))


class FrameInInfo(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Puts what `render()` shows into `info["viper/frame"]`, uint8 (H, W, 3).

    A vector environment that resets within the step that ends an episode (Stable-Baselines3's
    all do, Gymnasium's with `AutoresetMode.SAME_STEP`) hides the last frame, so it has to be
    taken inside: give this class to `make_vec_env(…, wrapper_class=)` or
    `gym.make_vec(…, wrappers=[FrameInInfo])` where the observations are no images, or where the
    environments reuse the array of their observations. Asynchronous environments then draw in
    parallel, too.
    """

    def __init__(self, env: gym.Env[Any, Any]):
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        take_context_back(self.env)
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, INFO_FRAME: rendered_frame(self.env)}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        take_context_back(self.env)
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, INFO_FRAME: rendered_frame(self.env)}
        return observation, reward, terminated, truncated, info
