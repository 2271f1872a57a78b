"""Simulators that fail under versions that are known to fail."""

import gymnasium as gym
import pytest

import viper_gym  # noqa: F401
from viper_gym.envs import version_pairs
from viper_gym.envs.version_pairs import names_bad_versions
from viper_gym.errors import SimulatorUnavailable, UnknownTask


def here(monkeypatch, **versions):
    monkeypatch.setattr(version_pairs, "installed", lambda names: {"dm-control": None, **versions})


def test_an_error_under_known_bad_versions_says_what_to_install(monkeypatch):
    here(monkeypatch, metaworld="3.1.1", mujoco="3.17.0")
    told = r"metaworld 3\.1\.1 with mujoco 3\.17\.0: .*pip install \"mujoco==3\.16\.0\""
    with pytest.raises(SimulatorUnavailable, match=told), names_bad_versions("metaworld"):
        raise ValueError("size of equalities")
    here(monkeypatch, metaworld="3.1.1", mujoco="3.16.0")
    with pytest.raises(ValueError, match="size"), names_bad_versions("metaworld"):
        raise ValueError("size of equalities")
    here(monkeypatch, metaworld="3.1.1", mujoco="3.17.0")
    with pytest.raises(UnknownTask), names_bad_versions("metaworld"):
        raise UnknownTask("ours")


def test_dm_control_beside_a_mujoco_it_was_not_made_for(monkeypatch):
    suite = pytest.importorskip("dm_control.suite", reason="needs the extra 'dmc'")

    def fails(*_):
        raise AttributeError("'MjModel' object has no attribute 'flex_vertedge'")

    monkeypatch.setattr(suite, "load", fails)
    with pytest.raises(AttributeError):  # the versions installed here are good
        gym.make("viper/dmc-cup_catch-v0", checkpoint=None)
    here(monkeypatch, **{"dm-control": "1.0.49", "mujoco": "4.0.0"})
    with pytest.raises(SimulatorUnavailable, match=r"4\.0\.0.*pip install \"mujoco"):
        gym.make("viper/dmc-cup_catch-v0", checkpoint=None)
