import os
import subprocess
import sys

import pytest

from viper_gym.envs.gl import configure_headless_gl

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
