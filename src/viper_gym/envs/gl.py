"""Choose a headless OpenGL backend before MuJoCo is imported."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import re
import sys
import traceback
from contextlib import suppress
from types import ModuleType

from viper_gym.errors import DependencyNotInstalled, RenderingUnavailable
from viper_gym.optional import require

_READS_MUJOCO_GL = {"mujoco.rendering.classic.gl_context", "mujoco.gl_context"}
APT_LINE = "apt-get install -y libegl1 libgl1"
OR_OSMESA = "(or libosmesa6, for MUJOCO_GL=osmesa, where your release still has it)"


def configure_headless_gl() -> str:
    """Set MUJOCO_GL if the user did not; return its value.

    MuJoCo reads the variable once, at its first import, so every environment of this
    package calls this first; where MuJoCo is there already, it is made to read it again. EGL is
    preferred; OSMesa is the fallback.

    Raises:
        RenderingUnavailable: neither library is installed.
    """
    _load_triton()
    chosen = os.environ.get("MUJOCO_GL", "")
    if not chosen and sys.platform != "linux":
        return chosen  # macOS and Windows draw without a display by what MuJoCo takes by itself
    if not chosen:
        if ctypes.util.find_library("EGL"):
            chosen = "egl"
        elif ctypes.util.find_library("OSMesa"):
            chosen = "osmesa"
        elif os.environ.get("DISPLAY"):
            chosen = "glfw"
        else:
            raise RenderingUnavailable(
                f"no OpenGL library for headless rendering (EGL or OSMesa). "
                f"Run: {APT_LINE} {OR_OSMESA}"
            )
        os.environ["MUJOCO_GL"] = chosen
        for name in _READS_MUJOCO_GL & sys.modules.keys():
            importlib.reload(sys.modules[name])
    if chosen in ("egl", "osmesa"):
        # PyOpenGL must agree with MuJoCo or context creation fails with an unrelated error.
        os.environ.setdefault("PYOPENGL_PLATFORM", chosen)
    return chosen


def _load_triton() -> None:
    """Import triton, which comes with PyTorch for GPUs, ahead of OpenGL.

    Both bring an LLVM. After Mesa's software renderer has loaded its own (seen: Mesa 22.3 with
    LLVM 15), importing triton ends the process with a segmentation fault; and PyTorch imports it
    late, when the first optimizer is made.
    """
    with suppress(Exception):  # a broken one is PyTorch's to report, if it is needed at all
        importlib.import_module("triton")


def require_simulator(module: str, extra: str, apart: bool = False) -> ModuleType:
    """`optional.require` for what loads OpenGL as it is imported.

    Raises:
        DependencyNotInstalled: it is not installed.
        RenderingUnavailable: it is, and OpenGL does not load.
    """
    try:
        return require(module, extra, apart)
    except DependencyNotInstalled as error:
        if isinstance(error.__cause__, ModuleNotFoundError) or not _of_opengl(error):
            raise
        raise could_not_draw(error.__cause__ or error) from error
    except Exception as error:  # a missing library ends in errors of every kind
        if not _of_opengl(error):
            raise
        raise could_not_draw(error) from error


def _of_opengl(error: BaseException) -> bool:
    """Whether an import failed where OpenGL was loaded, by the files that it went through."""
    told = "".join(traceback.format_exception(error)).lower()
    return re.search(r"\b(lib)?(opengl|egl|osmesa|mujoco_gl)|gl_context", told) is not None


def could_not_draw(error: BaseException) -> RenderingUnavailable:
    """What to raise where the first frame of an environment fails: which library to install."""
    return RenderingUnavailable(
        f"could not draw a frame ({type(error).__name__}: {error}). "
        f"Install a software renderer: {APT_LINE} {OR_OSMESA}; `viper-gym doctor` says more"
    )
