import ctypes.util
import os
import re
import subprocess
import sys

import pytest

from viper_gym.envs.gl import configure_headless_gl, egl_starts, require_simulator
from viper_gym.errors import DependencyNotInstalled

pytest.importorskip("dm_control")

MAKE = """
import sys
import gymnasium as gym
import viper_gym
env = gym.make("viper/dmc-cartpole_swingup-v0", checkpoint=None)
env.reset(seed=0)
print("triton" in sys.modules)
"""


def test_triton_is_imported_before_opengl(tmp_path):
    """A triton that, like the real one behind Mesa's LLVM, ends the process if it comes late."""
    (tmp_path / "triton.py").write_text(
        "import os, sys\nif 'OpenGL' in sys.modules or 'mujoco' in sys.modules: os._exit(11)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", MAKE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "True"


def test_where_mujoco_draws_by_itself_no_library_is_asked_for(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert configure_headless_gl() == "" and "MUJOCO_GL" not in os.environ


@pytest.mark.parametrize("task", ["dmc-cup_catch", "metaworld-door_close"])
@pytest.mark.parametrize(
    "broken", [{"MUJOCO_GL": "foo"}, {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent.json"}]
)
def test_opengl_that_does_not_load_is_not_a_missing_package(task, broken):
    """A library without a driver, as in many containers: simulators fail as they are imported."""
    if task.startswith("metaworld"):
        pytest.importorskip("metaworld", reason="needs the extra 'metaworld'")
    code = (
        "import gymnasium as gym, viper_gym\n"
        "from viper_gym.errors import RenderingUnavailable\n"
        f"try: gym.make('viper/{task}-v0').reset()\n"
        "except RenderingUnavailable as error: print(error)\n"
    )
    environ = {**os.environ, "MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl", **broken}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, env=environ)
    assert "could not draw" in done.stdout and "osmesa" in done.stdout, done.stderr
    assert f"MUJOCO_GL={environ['MUJOCO_GL']}" in done.stdout


CHOOSE = """
import ctypes.util, sys
from viper_gym.envs.gl import configure_headless_gl
from viper_gym.errors import RenderingUnavailable
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: find(name) if name in sys.argv[1:] else None
try: print(configure_headless_gl())
except RenderingUnavailable as error: print(error)
"""


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (("EGL", "OSMesa"), "^osmesa$"),
        (("EGL",), "finds no device .* no OSMesa.*libegl-mesa0"),
        ((), "there is no EGL.*libegl1"),
    ],
)
def test_egl_without_a_driver_is_not_chosen(there, told):
    if not all(ctypes.util.find_library(name) for name in there):
        pytest.skip(f"needs {' and '.join(there)}")
    kept = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY")}
    environ = {**kept, "__EGL_VENDOR_LIBRARY_FILENAMES": "/dev/null"}
    run = [sys.executable, "-c", CHOOSE, *there]
    done = subprocess.run(run, capture_output=True, text=True, env=environ)
    assert re.search(told, done.stdout), done.stderr
    assert ("drawing with MUJOCO_GL=osmesa" in done.stderr) == ("OSMesa" in there)


def test_what_was_chosen_by_hand_is_not_tried(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("viper_gym.envs.gl.egl_starts", lambda library: pytest.fail("was tried"))
    assert configure_headless_gl() == "egl"


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for Python")
def test_a_driver_that_crashes_is_not_usable_and_no_answer_counts_as_usable(tmp_path, monkeypatch):
    def answers(lines: str) -> bool:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{lines}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        egl_starts.cache_clear()
        return egl_starts("libEGL.so.1")

    assert not answers("kill -SEGV $$")
    assert not answers("echo no")
    assert answers("echo yes; kill -SEGV $$")  # it crashed as it was unloaded
    assert answers("echo yes") and answers("exit 3")
    egl_starts.cache_clear()


@pytest.mark.parametrize(
    "error", [AttributeError("mujoco has no attribute 'x'"), ValueError("numpy")]
)
def test_an_import_that_fails_elsewhere_is_not_blamed_on_opengl(monkeypatch, error):
    def fails(name):
        raise error

    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(type(error)):
        require_simulator("dm_control.suite", "dmc")


def test_a_package_that_is_missing_gets_the_pip_line():
    with pytest.raises(DependencyNotInstalled, match=r"'nonsense' is missing.*viper-gym\[dmc\]"):
        require_simulator("nonsense.suite", "dmc")


def test_closing_one_environment_leaves_the_pictures_of_others_under_osmesa():
    """OpenGL numbers pictures context by context; what is freed in another's context is its."""
    pytest.importorskip("dm_control", reason="needs the extra 'dmc'")
    if ctypes.util.find_library("OSMesa") is None:
        pytest.skip("needs libosmesa6")
    code = """
import gc
import gymnasium as gym, numpy as np, viper_gym
bare = {"checkpoint": None}
one, two = (gym.make("viper/dmc-cup_catch-v0", **bare) for _ in range(2))
def shown():
    one.reset(seed=1)
    return np.stack([one.step(np.full(2, 0.5, np.float32))[0] for _ in range(3)])
expected = shown()
two.reset(seed=2)
shown()
two.close()  # not the last that drew
assert np.array_equal(shown(), expected), "closed"
three = gym.make("viper/dmc-cup_catch-v0", **bare)
three.reset(seed=3)
shown()
del three
gc.collect()
assert np.array_equal(shown(), expected), "collected"
hopper = gym.make("Hopper-v5", render_mode="rgb_array", width=64, height=64)
hopper.reset(seed=0)
hopper.render()
shown()
hopper.close()
del hopper
gc.collect()
assert np.array_equal(shown(), expected), "another package's"
print("all whole")
"""
    environ = {**os.environ, "MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, env=environ)
    assert "all whole" in done.stdout, done.stderr
