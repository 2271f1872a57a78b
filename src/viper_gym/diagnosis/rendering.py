"""Can a frame be drawn without a screen, by what, and how fast?"""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import Any

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child
from viper_gym.envs.gl import APT_LINE

_DRAW = f"{__name__}:draw"
_BACKENDS = ("egl", "osmesa", "glfw")
SLOW = 25.0  # milliseconds a frame; software EGL needs 3 to 8


def check(timeout: float) -> list[Finding]:
    """Draw in a child: a broken driver may hang or crash.

    Args:
        timeout: seconds for each backend that is tried.
    """
    if find_spec("dm_control") is None:
        todo = 'for dm_control tasks: pip install "viper-gym[dmc]"'
        return [Finding("rendering", "note", "not tried: dm_control is not installed", todo)]
    try:
        drawn = in_child(_DRAW, timeout=timeout)
    except ChildFailed as error:
        asked = os.environ.get("MUJOCO_GL")
        setting = f"MUJOCO_GL={asked}" if asked else "MUJOCO_GL unset"
        found = f"no frame could be drawn ({setting}): {error}"
        return [Finding("rendering", "problem", found, _advice(asked, timeout))]
    speed = f"{drawn['milliseconds']:.1f} ms a step with its 64x64 frame"
    found = f"{drawn['backend']} ({drawn['renderer']}), {speed}"
    if drawn["contrast"] < 1.0:
        return [Finding("rendering", "problem", f"{found}, but the picture is blank", APT_LINE)]
    if drawn["milliseconds"] > SLOW:
        todo = "free the CPU, or keep render_quality='fast'"
        return [Finding("rendering", "note", f"{found}: slow", todo)]
    return [Finding("rendering", "ok", found)]


def _advice(asked: str | None, timeout: float) -> str:
    """Which other backend draws here, else what to install."""
    for backend in _BACKENDS:
        if backend == asked or (backend == "glfw" and not os.environ.get("DISPLAY")):
            continue
        platform = "" if backend == "glfw" else backend
        try:
            in_child(
                _DRAW,
                timeout=timeout,
                environment={"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": platform},
            )
        except ChildFailed:
            continue
        return f"export MUJOCO_GL={backend} PYOPENGL_PLATFORM={platform} (works here)"
    return f"{APT_LINE}; then unset MUJOCO_GL and PYOPENGL_PLATFORM"


def draw(frames: int = 20) -> dict[str, Any]:
    """Step a real task and draw it; to be run in a child.

    Returns:
        backend, renderer (OpenGL's own name of it), contrast (standard deviation of the
        pixels, 0…255) and milliseconds a step.
    """
    from viper_gym.envs.dmc import DMCEnv
    from viper_gym.envs.gl import configure_headless_gl

    backend = configure_headless_gl()
    env = DMCEnv("cartpole_swingup")
    frame, _ = env.reset(seed=0)
    began = time.perf_counter()
    for _ in range(frames):
        frame, *_ = env.step(env.action_space.sample())
    milliseconds = 1000 * (time.perf_counter() - began) / frames
    return {
        "backend": backend,
        "renderer": _renderer(env),
        "contrast": float(frame.std()),
        "milliseconds": milliseconds,
    }


def _renderer(env: Any) -> str:
    try:
        from OpenGL import GL

        with env.physics.contexts.gl.make_current() as context:
            return context.call(GL.glGetString, GL.GL_RENDERER).decode()
    except Exception:  # a name is not worth a failure: frames have been drawn
        return "unknown renderer"
