"""Choose a headless OpenGL backend before MuJoCo is imported."""

from __future__ import annotations

import ctypes.util
import importlib
import logging
import os
import re
import subprocess
import sys
import traceback
from contextlib import suppress
from functools import cache
from types import ModuleType

from viper_gym.errors import DependencyNotInstalled, RenderingUnavailable
from viper_gym.optional import require

_READS_MUJOCO_GL = {"mujoco.rendering.classic.gl_context", "mujoco.gl_context"}
logger = logging.getLogger("viper_gym")
APT_LINE = "apt-get install -y libegl1 libgl1"
DRIVER_LINE = "apt-get install -y libegl-mesa0 libgl1-mesa-dri"
OR_OSMESA = "(or libosmesa6, for MUJOCO_GL=osmesa, where your release still has it)"

# the numbers are EGL_PLATFORM_DEVICE_EXT and EGL_OPENGL_API
_START_EGL = """
import ctypes, os, sys
number, pointer = ctypes.c_int, ctypes.c_void_p
egl = ctypes.CDLL(sys.argv[1])
def function(name, *arguments, result=number):
    egl.eglGetProcAddress.restype, egl.eglGetProcAddress.argtypes = pointer, [ctypes.c_char_p]
    address = egl.eglGetProcAddress(name)
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else lambda *_: 0
query = function(b"eglQueryDevicesEXT", number, pointer, pointer)
display_of = function(b"eglGetPlatformDisplayEXT", number, pointer, pointer, result=pointer)
egl.eglInitialize.argtypes = [pointer, pointer, pointer]
devices, found = (pointer * 64)(), number(0)
query(64, devices, ctypes.byref(found))
displays = [display_of(0x313F, device, None) for device in devices[:found.value]]
starts = any(display and egl.eglInitialize(display, None, None) for display in displays)
print("yes" if starts and egl.eglBindAPI(0x30A2) else "no", flush=True)
os._exit(0)  # some drivers crash as they are unloaded, and draw well before
"""


def configure_headless_gl() -> str:
    """Set MUJOCO_GL if the user did not; return its value.

    MuJoCo reads the variable once, at its first import, so every environment of this
    package calls this first; where MuJoCo is there already, it is made to read it again. EGL is
    preferred where it can be initialised; OSMesa is the fallback.

    Raises:
        RenderingUnavailable: neither can be used; says what was tried.
    """
    _load_triton()
    chosen = os.environ.get("MUJOCO_GL", "")
    if not chosen and sys.platform != "linux":
        return chosen  # macOS and Windows draw without a display by what MuJoCo takes by itself
    if not chosen:
        chosen = _choose()
        os.environ["MUJOCO_GL"] = chosen
        for name in _READS_MUJOCO_GL & sys.modules.keys():
            importlib.reload(sys.modules[name])
    if chosen in ("egl", "osmesa"):
        # PyOpenGL must agree with MuJoCo or context creation fails with an unrelated error.
        os.environ.setdefault("PYOPENGL_PLATFORM", chosen)
    return chosen


def _choose() -> str:
    """What MUJOCO_GL is to be here.

    Raises:
        RenderingUnavailable: nothing can draw.
    """
    egl, osmesa = ctypes.util.find_library("EGL"), ctypes.util.find_library("OSMesa")
    if egl and egl_starts(egl):
        return "egl"
    tried = f"EGL ({egl}) finds no device that it can draw with" if egl else "there is no EGL"
    if osmesa or os.environ.get("DISPLAY"):
        other = "osmesa" if osmesa else "glfw"
        logger.warning("%s: drawing with MUJOCO_GL=%s", tried, other)
        return other
    todo = DRIVER_LINE if egl else APT_LINE
    raise RenderingUnavailable(
        f"nothing to draw with without a screen: {tried}, and there is no OSMesa. "
        f"Run: {todo} {OR_OSMESA}"
    )


@cache
def egl_starts(library: str) -> bool:
    """Whether EGL has a device that can be initialised, as MuJoCo will ask for it.

    Asked in a child process: drivers stay loaded, hang or crash. One that crashes is not; what
    gives no answer otherwise is taken for usable, and fails, if it does, at the first frame.

    Args:
        library: file name.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _START_EGL, library],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, TypeError, ValueError, subprocess.TimeoutExpired):  # no Python to ask by
        return True
    answer = done.stdout.strip()
    return answer == b"yes" or (answer != b"no" and done.returncode >= 0)


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
    """What to raise where the first frame of an environment fails: what was tried, what to do."""
    chosen = os.environ.get("MUJOCO_GL", "")
    if chosen != "osmesa" and ctypes.util.find_library("OSMesa"):
        todo = "OSMesa is installed: export MUJOCO_GL=osmesa PYOPENGL_PLATFORM=osmesa"
    else:
        todo = f"Install a software renderer: {APT_LINE} {OR_OSMESA}"
    return RenderingUnavailable(
        f"could not draw a frame with MUJOCO_GL={chosen} ({type(error).__name__}: {error}). "
        f"{todo}; `viper-gym doctor` says more"
    )
