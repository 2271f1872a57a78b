"""Can a frame be drawn without a screen, by what, and how fast?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child
from viper_gym.diagnosis.suites import first_installed
from viper_gym.envs.gl import APT_LINE

_DRAW = f"{__name__}:draw"
_BACKENDS = ("egl", "osmesa", "glfw")
SLOW = 25.0  # milliseconds a frame; software EGL needs 3 to 8
_SCENE = """
<mujoco><worldbody>
  <light pos="0 0 3"/>
  <geom type="plane" size="2 2 0.1" rgba="0.2 0.3 0.4 1"/>
  <body pos="0 0 0.5"><freejoint/><geom type="box" size="0.2 0.2 0.2" rgba="0.9 0.4 0.1 1"/></body>
</worldbody></mujoco>
"""


def check(timeout: float) -> list[Finding]:
    """Draw in a child: a broken driver may hang or crash.

    Args:
        timeout: seconds for each backend that is tried.
    """
    simulator = first_installed(("dm_control", "mujoco"))  # which every other suite brings
    if simulator is None:
        todo = 'for dm_control tasks: pip install "viper-gym[dmc]"'
        return [Finding("rendering", "note", "not tried: mujoco is not installed", todo)]
    try:
        drawn = in_child(_DRAW, simulator, timeout=timeout)
    except ChildFailed as error:
        asked = os.environ.get("MUJOCO_GL")
        setting = f"MUJOCO_GL={asked}" if asked else "MUJOCO_GL unset"
        found = f"no frame could be drawn ({setting}): {error}"
        todo = _advice(simulator, asked, timeout)
        return [Finding("rendering", "problem", found, todo)]
    speed = f"{drawn['milliseconds']:.1f} ms a step with its 64x64 frame"
    found = f"{drawn['backend']} ({drawn['renderer']}), {speed}"
    if drawn["contrast"] < 1.0:
        return [Finding("rendering", "problem", f"{found}, but the picture is blank", APT_LINE)]
    if drawn["milliseconds"] > SLOW:
        todo = "free the CPU, or keep render_quality='fast'"
        return [Finding("rendering", "note", f"{found}: slow", todo)]
    return [Finding("rendering", "ok", found)]


def _advice(simulator: str, asked: str | None, timeout: float) -> str:
    """Which other backend draws here, else what to install."""
    for backend in _BACKENDS:
        if backend == asked or (backend == "glfw" and not os.environ.get("DISPLAY")):
            continue
        platform = "" if backend == "glfw" else backend
        try:
            in_child(
                _DRAW,
                simulator,
                timeout=timeout,
                environment={"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": platform},
            )
        except ChildFailed:
            continue
        return f"export MUJOCO_GL={backend} PYOPENGL_PLATFORM={platform} (works here)"
    return f"{APT_LINE}; then unset MUJOCO_GL and PYOPENGL_PLATFORM"


def draw(simulator: str = "dm_control", frames: int = 20) -> dict[str, Any]:
    """Step a real task, or a box that falls, and draw it; to be run in a child.

    Args:
        simulator: "dm_control" or "mujoco".

    Returns:
        backend, renderer (OpenGL's own name of it), contrast (standard deviation of the
        pixels, 0…255) and milliseconds a step.
    """
    from viper_gym.envs.gl import configure_headless_gl

    backend = configure_headless_gl()
    step = _cartpole() if simulator == "dm_control" else _falling_box()
    step()  # the first one makes the context
    began = time.perf_counter()
    for _ in range(frames):
        frame = step()
    milliseconds = 1000 * (time.perf_counter() - began) / frames
    return {
        "backend": backend,
        "renderer": _renderer(),
        "contrast": float(frame.std()),
        "milliseconds": milliseconds,
    }


def _cartpole() -> Callable[[], np.ndarray]:
    """What makes a step and returns its frame."""
    from viper_gym.envs.dmc import DMCEnv

    env = DMCEnv("cartpole_swingup")
    env.reset(seed=0)
    return lambda: env.step(env.action_space.sample())[0]


def _falling_box() -> Callable[[], np.ndarray]:
    """The same of a scene that needs no suite."""
    from viper_gym.envs.gl import require_simulator
    from viper_gym.envs.mujoco_view import SceneRenderer
    from viper_gym.envs.tasks import View

    mujoco: Any = require_simulator("mujoco", "dmc")
    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    renderer = SceneRenderer(model, View(free_camera=(0.0, 0.0, 0.3, 2.0, 90.0, -25.0)))

    def step() -> np.ndarray:
        mujoco.mj_step(model, data)
        return renderer.frame(model, data)

    return step


def _renderer() -> str:
    try:
        import mujoco
        from OpenGL import GL

        context = mujoco.GLContext(64, 64)
        context.make_current()
        name = GL.glGetString(GL.GL_RENDERER).decode()
        context.free()
        return name
    except Exception:  # a name is not worth a failure: frames have been drawn
        return "unknown renderer"
