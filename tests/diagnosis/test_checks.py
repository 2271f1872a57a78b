"""Every check on this machine as it is, and on what is broken in it on purpose."""

import http.server
import shutil
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file

from viper_gym.checkpoints.resolve import bundled_folder
from viper_gym.diagnosis import compute, hub, rendering, reward, suites, versions
from viper_gym.diagnosis.findings import ChildFailed, guarded, in_child

GOOD = {"gymnasium": "1.4.0", "numpy": "2.4.6", "dm-control": "1.0.50", "mujoco": "3.17.0"}


def statuses(findings: list) -> list[str]:
    return [finding.status for finding in findings]


def test_modules_of_the_working_directory_are_not_taken_for_others(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('this is not the random you want')")
    monkeypatch.chdir(tmp_path)
    assert in_child("random:randint", 3, 3, timeout=60) == 3


# versions


def judged(requirements: tuple[str, ...] = (), **changed: str | None) -> list:
    given = {**GOOD, **{name.replace("_", "-"): version for name, version in changed.items()}}
    return versions.judge(given, [Requirement(line) for line in requirements])


def test_good_versions_say_nothing():
    assert judged(("numpy>=1.26", 'mujoco>=3.3,<4; extra == "dmc"')) == []


def test_an_extra_that_is_not_installed_sets_no_ranges():
    asked = ('robosuite>=1.5; extra == "robosuite"', 'mujoco<3.10; extra == "robosuite"')
    assert judged(asked, mujoco="3.16.0") == []  # nor is it offered: it wants its own environment
    (finding,) = judged(asked, mujoco="3.11.0", robosuite="1.6.0", numpy="1.26.4")
    assert finding.status == "problem" and "<3.10 is asked for" in finding.found
    (finding,) = judged(('lpips>=0.1; extra == "lpips"', 'mujoco<3; extra == "lpips"'))
    assert finding.status == "note" and "viper-gym[lpips]" in finding.todo


def test_beside_robosuite_no_extra_with_another_mujoco_is_offered():
    asked = (
        'dm_control>=1.0.28; extra == "dmc"', 'mujoco>=3.3,<4; extra == "dmc"',
        'metaworld>=3; extra == "metaworld"', 'mujoco>=3.3,<3.17; extra == "metaworld"',
        'ale-py>=0.11; extra == "atari"',
    )  # fmt: skip
    absent = {"dm_control": None, "mujoco": "3.3.0"}
    (finding,) = judged(asked, **absent)
    assert "viper-gym[atari,dmc,metaworld]" in finding.todo
    (finding,) = judged(asked, **absent, robosuite="1.5.2", numpy="1.26.4")
    assert "viper-gym[atari]" in finding.todo
    assert "robosuite" in versions.SHOWN


@pytest.mark.parametrize(
    ("changed", "word", "todo"),
    [
        ({"mujoco": "4.0.0"}, "flex_vertedge", "mujoco<4"),
        ({"gymnasium": "0.29.1"}, "autoreset", "gymnasium>=1.1"),
        ({"stable_baselines3": "2.3.2"}, "0.29", "stable-baselines3>=2.4"),
        ({"metaworld": "3.0.0"}, "cannot be reset", "mujoco==3.16.0"),
        ({"robosuite": "1.5.2", "numpy": "1.26.4"}, "cannot build", "second environment"),
    ],
)
def test_known_bad_pairs_are_problems(changed, word, todo):
    (finding,) = judged(**changed)
    assert finding.status == "problem" and word in finding.found and todo in finding.todo


def test_what_is_only_worth_knowing_is_a_note():
    (finding,) = judged(gymnasium="1.2.0")
    assert finding.status == "note" and "1.4" in finding.todo
    (finding,) = judged(shimmy="2.0.1")
    assert finding.status == "note" and "imageio" in finding.todo
    assert judged(shimmy="2.0.1", imageio="2.38.1") == []


def test_ranges_missing_packages_and_missing_extras():
    asked = (
        "numpy>=1.26", "torch>=2.4", 'ale-py>=0.11; extra == "atari"', 'ruff; extra == "dev"',
        'tomli; python_version < "3.0"',
    )  # fmt: skip
    old, missing, extras = judged(asked, numpy="1.24.4")
    assert old.status == "problem" and "numpy 1.24.4" in old.found and ">=1.26" in old.todo
    assert missing.status == "problem" and "torch is missing" in missing.found
    assert extras.status == "note" and "viper-gym[atari]" in extras.todo
    assert judged(("torch>=2.4",), torch="2.13.0+cpu") == []


def test_dm_control_beside_an_older_mujoco_is_a_problem():
    """`pip install metaworld==3.1.1` replaces mujoco."""
    asks = ["numpy", "mujoco>=3.16.0"]
    old = {"dm-control": "1.0.49", "mujoco": "3.3.0"}
    (finding,) = versions.judge_dm_control(old, asks)
    assert finding.status == "problem" and "3.3.0 is installed" in finding.found
    assert not versions.judge_dm_control({**old, "mujoco": "3.16.0"}, asks)
    assert not versions.judge_dm_control({**old, "dm-control": None}, asks)


def test_the_versions_of_this_environment_are_fine():
    assert "problem" not in statuses(versions.check())


# children


def test_children_that_answer_raise_crash_and_hang():
    assert in_child("math:gcd", 12, 18, timeout=60) == 6
    with pytest.raises(ChildFailed, match="ValueError: math domain error"):
        in_child("math:sqrt", -1, timeout=60)
    with pytest.raises(ChildFailed, match="crashed with SIGABRT"):
        in_child("os:abort", timeout=60)
    began = time.monotonic()
    with pytest.raises(ChildFailed, match="no answer within 1 s"):
        in_child("time:sleep", 100, timeout=1)
    assert time.monotonic() - began < 20


def test_a_check_that_raises_is_a_problem():
    def broken():
        raise ZeroDivisionError("by nothing")

    (finding,) = guarded("mine", broken)
    assert finding.status == "problem" and "ZeroDivisionError: by nothing" in finding.found


# rendering


def test_a_frame_is_drawn_here():
    (finding,) = rendering.check(timeout=120)
    assert finding.status in ("ok", "note") and "ms a step" in finding.found


@pytest.fixture
def installed(monkeypatch):
    """Sets which simulators seem to be installed."""

    def only(*modules: str) -> None:
        monkeypatch.setattr(suites, "find_spec", lambda name: name in modules or None)

    return only


def test_without_dm_control_plain_mujoco_draws(installed):
    installed("mujoco", "robosuite")
    (finding,) = rendering.check(timeout=120)
    assert finding.status in ("ok", "note") and "ms a step" in finding.found
    installed()
    (finding,) = rendering.check(timeout=120)
    assert finding.status == "note" and "mujoco is not installed" in finding.found


def test_broken_gl_is_a_problem_that_names_a_backend_that_works(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    (finding,) = rendering.check(timeout=120)
    assert finding.status == "problem"
    assert "MUJOCO_GL=disable" in finding.found and "RenderingUnavailable" in finding.found
    assert "export MUJOCO_GL=" in finding.todo and "works here" in finding.todo


def test_gl_that_hangs_is_a_problem_that_names_the_libraries():
    (finding,) = rendering.check(timeout=0.05)
    assert finding.status == "problem" and "no answer within 0.05 s" in finding.found
    assert "libegl1" in finding.todo


# the Hub


@contextmanager
def server(status: int):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("status", "expected"), [(200, "ok"), (503, "note")])
def test_a_hub_that_answers(status, expected):
    with server(status) as endpoint:
        assert statuses(hub.check_reach(endpoint, offline=False, timeout=60)) == [expected]


def test_a_hub_that_never_answers_is_noted_soon():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        (finding,) = hub.check_reach(endpoint, offline=False, timeout=60)
    assert finding.status == "note" and "out of reach" in finding.found
    assert time.monotonic() - began < 20


def test_being_offline_is_a_note_and_nothing_is_asked():
    (finding,) = hub.check_reach("http://nowhere.invalid", offline=True, timeout=0.0)
    assert finding.status == "note" and "HF_HUB_OFFLINE" in finding.found


def test_the_cache_is_measured(tmp_path):
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "blobs" / "a").write_bytes(bytes(3_000_000))
    (finding,) = hub.check_cache(tmp_path / "hub")
    assert finding.status in ("ok", "note") and "3 MB" in finding.found
    assert "0 MB" in hub.check_cache(tmp_path / "none")[0].found
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that root cannot write to")
def test_a_cache_that_cannot_be_written_is_a_problem_unless_offline():
    cache = Path("/proc/self/cache")
    (finding,) = hub.check_cache(cache)
    assert finding.status == "problem" and "HF_HOME" in finding.todo
    assert statuses(hub.check_cache(cache, needed=False)) == ["note"]


# compute


def test_this_machine_computes():
    found = compute.check(timeout=120)
    assert found[0].status == "ok" and ("bf16" in found[0].found or "fp32" in found[0].found)


def test_wrong_products_idle_gpus_and_too_many_threads_are_told():
    sane = {
        "device": "cpu", "gpu": None, "cuda_build": None, "dtype": "bf16", "amx": True,
        "avx512_bf16": True, "threads": 2, "cpus": 2, "error": 0.002,
    }  # fmt: skip
    assert statuses(compute.judge(sane)) == ["ok"]
    for error in (0.5, float("nan")):
        assert statuses(compute.judge({**sane, "error": error})) == ["problem"]
    crowded = compute.judge({**sane, "cuda_build": "12.8", "threads": 8})
    assert statuses(crowded) == ["ok", "note", "note"]
    assert "OMP_NUM_THREADS=2" in crowded[2].todo


# the reward


def test_the_bundled_checkpoint_pays_the_expert_here():
    assert statuses(reward.check(timeout=300)) == ["ok"]


def test_without_dm_control_a_reward_is_tried_in_meta_world(installed):
    pytest.importorskip("metaworld", reason="needs the extra 'metaworld'")
    installed("metaworld", "mujoco")
    (finding,) = reward.check(timeout=300)
    assert finding.status == "ok" and "closing the door earns" in finding.found


def test_without_any_suite_no_reward_is_tried(installed):
    installed("mujoco")
    (finding,) = reward.check(timeout=300)
    assert finding.status == "note" and "not tried" in finding.found


def test_a_damaged_checkpoint_is_a_problem(tmp_path):
    """Weights of the right shapes, some of them shuffled: it loads, and pays for nothing."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundled_folder("dmc"), folder)
    path = folder / "video_model.safetensors"
    weights = load_file(path)
    weights["head.weight"] = weights["head.weight"].flip(0).contiguous()
    save_file(weights, path)
    (finding,) = reward.check(timeout=300, folder=str(folder))
    assert finding.status == "problem" and "balancing earns" in finding.found


def test_a_checkpoint_that_does_not_load_is_a_problem(tmp_path):
    (finding,) = reward.check(timeout=300, folder=str(tmp_path))
    assert finding.status == "problem" and "CheckpointError" in finding.found


def test_levels_on_the_wrong_side_and_noise_are_told():
    assert statuses(reward.judge(0.9, -0.5, 0.0)) == ["ok"]
    assert statuses(reward.judge(0.9, 0.8, 0.0)) == ["problem"]
    assert statuses(reward.judge(0.1, -0.5, 0.0)) == ["problem"]
    assert statuses(reward.judge(float("nan"), -0.5, 0.0)) == ["problem"]
    assert statuses(reward.judge(0.9, -0.5, 0.2)) == ["note"]
