"""How every MuJoCo suite is drawn: fast settings, and the scene without its bodies."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import current_thread
from typing import Any
from weakref import WeakSet

import numpy as np

from viper_gym.envs.gl import could_not_draw
from viper_gym.envs.tasks import View
from viper_gym.errors import RenderingUnavailable


def configure_rendering(model: Any, view: View) -> None:
    """Set quality and buffer size of a MuJoCo model; before the first frame makes the context.

    "fast" leaves out shadows, multisampling and reflections, which software renderers spend
    nine tenths of a frame on.

    Raises:
        ValueError: a camera or a geom that the model does not have.
    """
    if view.free_camera is None and view.camera >= model.ncam:
        raise ValueError(f"camera: the scene has {model.ncam}, from 0 on, got {view.camera}")
    if view.render_quality == "fast":
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
        model.light_castshadow[:] = 0
        model.mat_reflectance[:] = 0
    model.vis.global_.offwidth = view.image_size
    model.vis.global_.offheight = view.image_size
    if view.fovy is not None and view.free_camera is not None:
        model.vis.global_.fovy = view.fovy
    elif view.fovy is not None:
        model.cam_fovy[view.camera] = view.fovy
    for name in view.see_through:
        try:
            geom = model.geom(name)
        except KeyError as error:
            raise ValueError(f"see_through: {error.args[0]}") from error
        if geom.matid >= 0:
            model.mat_rgba[geom.matid, 3] = 0.5
        else:
            model.geom_rgba[geom.id, 3] = 0.5


_OPEN: WeakSet[Any] = WeakSet()
_drawn = _forked_behind_a_frame = False


def _note_drawing() -> None:
    """OpenGL does not survive a fork: who draws in the child waits for threads that are gone."""
    global _drawn
    if not _drawn and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_note_fork)
    _drawn = True


def _note_fork() -> None:
    global _forked_behind_a_frame
    _forked_behind_a_frame = True


def close_at_exit(renderer: Any) -> None:
    """Close a `mujoco.Renderer` that is still open when the process ends, while it can be.

    MuJoCo and dm_control both shut the one EGL display down at exit, before the contexts of the
    other are freed, which then print tracebacks: the operating system does that as well.
    """
    if os.environ.get("MUJOCO_GL") == "egl":
        from OpenGL import EGL

        atexit.unregister(EGL.eglTerminate)
    _OPEN.add(renderer)
    atexit.unregister(_close_renderers)
    atexit.register(_close_renderers)


def _close_renderers() -> None:
    for renderer in list(_OPEN):
        renderer.close()


@contextmanager
def _context_of_ours() -> Iterator[None]:
    """Inside, an OpenGL context of ours becomes the thread's current one; behind it, whichever was.

    Others do not look: dm_control remembers which context it made current last, Gymnasium's
    renderer makes its own current only once, and both would go on in ours. Where none was, none is:
    another thread can draw then.
    """
    if os.environ.get("MUJOCO_GL", "").lower() != "egl":
        yield
        _make_dm_control_forget()
        return
    from OpenGL import EGL

    display, context = EGL.eglGetCurrentDisplay(), EGL.eglGetCurrentContext()
    surfaces = [EGL.eglGetCurrentSurface(which) for which in (EGL.EGL_DRAW, EGL.EGL_READ)]
    try:
        yield
    finally:
        if context:
            EGL.eglMakeCurrent(display, *surfaces, context)
        elif ours := EGL.eglGetCurrentDisplay():
            none = EGL.EGL_NO_SURFACE
            EGL.eglMakeCurrent(ours, none, none, EGL.EGL_NO_CONTEXT)


def _make_dm_control_forget() -> None:
    """Where the current context cannot be had back (OSMesa): dm_control takes its own again."""
    contexts = sys.modules.get("dm_control._render.base")
    if contexts is not None:
        context = contexts._CURRENT_CONTEXT_FOR_THREAD.pop(current_thread(), None)
        contexts._CURRENT_THREAD_FOR_CONTEXT.pop(context, None)


def _close(renderer: Any) -> None:
    """`mujoco.Renderer.close`, but in its own context: OpenGL numbers what is to be freed, context
    by context, and frees what has that number in whichever context is current."""
    if renderer._gl_context and renderer._mjr_context:
        renderer._gl_context.make_current()
        renderer._mjr_context.free()
        renderer._mjr_context = None
    renderer.close()


def _drawing_is_whole(renderer: Any) -> bool:
    """Whether nobody has freed its picture, as other packages' renderers may (see `_close`): where
    contexts cannot be had back (OSMesa), ours stays the current one behind a frame."""
    if os.environ.get("MUJOCO_GL", "").lower() != "osmesa" or not renderer._gl_context:
        return True
    from OpenGL import GL

    renderer._gl_context.make_current()
    return bool(GL.glIsFramebuffer(renderer._mjr_context.offFBO))


class SceneRenderer:
    """Draws a MuJoCo model as a view says, with a `mujoco.Renderer` made at the first frame.

    Args:
        hidden_groups: of geoms that are not drawn, such as shapes for collisions.
    """

    def __init__(self, model: Any, view: View, hidden_groups: tuple[int, ...] = ()):
        self._view, self._hidden = view, hidden_groups
        self._renderer: Any = None
        configure_rendering(model, view)

    def __getstate__(self) -> dict[str, Any]:
        """A copy draws with a renderer of its own, which it makes at its first frame."""
        unlike = ("_camera", "_shown")
        return {k: v for k, v in vars(self).items() if k not in unlike} | {"_renderer": None}

    def frame(self, model: Any, data: Any) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array.

        Args:
            model: what the renderer was made for, or the copy that a copied environment has.

        Raises:
            RenderingUnavailable: no OpenGL backend works.
        """
        import mujoco

        if _forked_behind_a_frame:
            raise RenderingUnavailable(
                "this process was forked from one that had drawn, and drawing would hang in it: "
                "start workers anew, gym.make_vec(…, asynchronous=True), AsyncVectorEnv(…, "
                'context="spawn") or SubprocVecEnv(…, start_method="spawn")'
            )
        with _context_of_ours():
            if self._renderer is not None and not _drawing_is_whole(self._renderer):
                _close(self._renderer)
                self._renderer = None
            if self._renderer is None:
                size = self._view.image_size
                try:
                    self._renderer = mujoco.Renderer(model, size, size)
                except Exception as error:  # GL stacks raise types of their own
                    raise could_not_draw(error) from error
                close_at_exit(self._renderer)
                _note_drawing()
                self._camera, self._shown = _camera(self._view), mujoco.MjvOption()
                self._shown.geomgroup[list(self._hidden)] = 0
            self._renderer.update_scene(data, camera=self._camera, scene_option=self._shown)
            return self._renderer.render().copy()

    def close(self) -> None:
        """Free the context, if there is one."""
        if self._renderer is not None:
            with _context_of_ours():
                _close(self._renderer)

    def __del__(self) -> None:  # MuJoCo's own would leave the thread without a current context
        if not sys.is_finalizing() and getattr(self, "_renderer", None) is not None:
            self.close()


def _camera(view: View) -> Any:
    """As `mujoco.Renderer` takes it."""
    import mujoco

    if view.free_camera is None:
        return view.camera
    x, y, z, distance, azimuth, elevation = view.free_camera
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = x, y, z
    camera.distance, camera.azimuth, camera.elevation = distance, azimuth, elevation
    return camera


def nothing_but_the_table(model: Any) -> AbstractContextManager[None]:
    """Inside, frames of a model show the table without arm and objects."""
    table = [i for i in range(model.nbody) if "table" in model.body(i).name]
    return bodies_hidden(model, keep=(0, *table))


@contextmanager
def bodies_hidden(model: Any, keep: tuple[int, ...] = (0,)) -> Iterator[None]:
    """Inside, nothing is drawn but the given bodies (0 is the world: floor and walls)."""
    colours: dict[str, Any] = {"tendon_rgba": slice(None)}
    for kind in ("geom", "site"):
        hidden = [body not in keep for body in getattr(model, f"{kind}_bodyid")]
        colours[f"{kind}_rgba"] = hidden
    kept = {name: getattr(model, name).copy() for name in colours}
    try:
        for name, rows in colours.items():
            getattr(model, name)[rows, 3] = 0.0
        yield
    finally:
        for name, values in kept.items():
            getattr(model, name)[:] = values
