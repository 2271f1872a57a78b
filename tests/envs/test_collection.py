"""Workers that die are replaced, a full disk is named, and nothing is recorded twice or torn."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from viper_gym.data.episodes import Episode
from viper_gym.envs.collect import _ENVS, collect, read_index
from viper_gym.envs.workers import ATTEMPTS, InProcess, Processes, RayCluster
from viper_gym.errors import DependencyNotInstalled, TrainingError, UnknownTask


def die_once(marker: str) -> str:
    """Takes its process down the first time it is called for a marker that ends in "x"."""
    path = Path(marker)
    if path.name.endswith("x") and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def always_die(job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def number_of(job: int) -> int:
    return job


def test_a_worker_that_dies_is_replaced_and_no_job_is_lost(tmp_path):
    jobs = [str(tmp_path / name) for name in ("a", "b", "cx", "d", "e", "fx", "g")]
    with Processes(2) as workers:
        assert list(workers.map(die_once, jobs)) == ["a", "b", "cx", "d", "e", "fx", "g"]
        assert list(workers.map(number_of, [3, 1, 2])) == [3, 1, 2]
    assert list(InProcess().map(number_of, [3, 1, 2])) == [3, 1, 2]


def process_of(job: int) -> int:
    return os.getpid()


def test_a_worker_that_dies_while_it_is_idle_is_replaced():
    with Processes(1) as workers:
        (worker,) = workers.map(process_of, [0])
        os.kill(worker, signal.SIGKILL)
        time.sleep(1)  # until the pool has noticed
        assert list(workers.map(number_of, [3, 1, 2])) == [3, 1, 2]


def test_workers_that_die_again_and_again_are_an_error():
    with (
        Processes(1) as workers,
        pytest.raises(TrainingError, match=f"died {ATTEMPTS} times on 7"),
    ):
        list(workers.map(always_die, [7]))


SLEEPER = """
import time
from viper_gym.envs.workers import Processes
if __name__ == "__main__":
    with Processes(1) as workers:
        list(workers.map(time.sleep, [120]))
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the worker in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    with subprocess.Popen([sys.executable, str(tmp_path / "sleeper.py")]) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            deadline, workers = time.monotonic() + 60, list[Path]()
            while not workers or not _is_listening(workers[0]):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
                found = [Path(f"/proc/{child}") for child in children.read_text().split()]
                workers = [p for p in found if b"spawn_main" in (p / "cmdline").read_bytes()]
        finally:
            process.kill()
    while _is_running(workers[0]):
        assert time.monotonic() < deadline, "the worker sleeps on"
        time.sleep(0.1)


def _is_running(worker: Path) -> bool:
    """Not gone, nor dead and waiting for whoever inherited it."""
    try:
        return (worker / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_listening(worker: Path) -> bool:
    """Its main thread, and the one that waits for the parent to end."""
    return len(list((worker / "task").iterdir())) > 1


COLLECT = [
    sys.executable, "-m", "viper_gym", "collect", "--tasks", "cartpole_swingup",
    "--behaviour", "random", "--seed", "7",
]  # fmt: skip


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the worker in /proc")
def test_a_worker_killed_while_it_plays(tmp_path):
    command = [*COLLECT, "--episodes", "6", "--workers", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        index = tmp_path / "cartpole_swingup" / "random" / "index.jsonl"
        deadline = time.monotonic() + 120
        while not index.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        [worker] = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
        os.kill(int(worker), signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output.decode()
    assert [line["seed"] for line in read_index(index)] == list(range(7, 13))
    for path in index.parent.glob("*.npz"):
        assert Episode.load(path).frames.shape == (501, 64, 64, 3)
    assert not list(index.parent.glob("*.tmp"))


def test_no_room_is_an_error_and_what_is_recorded_stays(tmp_path):
    [kept] = collect("cartpole_swingup", "random", 1, tmp_path, first_seed=7, workers=0)
    before = kept.read_bytes()
    command = [*COLLECT, "--episodes", "2", "--workers", "0", "--out", str(tmp_path)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        # files of more than 20 kB cannot be written: an episode has more
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    message = " ".join(done.stderr.replace("│", " ").split())
    assert "cannot write to" in message and "make room" in message
    assert [p.name for p in kept.parent.iterdir() if p.suffix != ".jsonl"] == [kept.name]
    assert kept.read_bytes() == before
    lines = [json.loads(x) for x in (kept.parent / "index.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [7]
    assert len(collect("cartpole_swingup", "random", 2, tmp_path, first_seed=7, workers=0)) == 2


def test_ranges_of_seeds_in_one_folder_stay_apart(tmp_path):
    """Rejected and kept episodes of another range neither count nor come back."""
    folder = tmp_path / "cartpole_swingup" / "random"
    folder.mkdir(parents=True)
    audit, rejected = 300_000, range(100_000, 100_045)
    lines = [{"seed": seed, "kept": False} for seed in rejected] + [{"seed": audit, "kept": True}]
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / f"episode_{audit:07d}.npz").touch()
    for first_seed in (150_000, 200_000):
        [path] = collect(
            "cartpole_swingup", "random", 1, tmp_path, first_seed=first_seed, workers=0
        )
        assert path.name == f"episode_{first_seed:07d}.npz"


def test_a_range_of_seeds_that_is_used_up_is_an_error(tmp_path):
    options = {"first_seed": 199_999, "workers": 0}
    assert len(collect("cartpole_swingup", "random", 1, tmp_path, **options)) == 1
    with pytest.raises(TrainingError, match="199999 to 199999 are used up, and 1 of 2"):
        collect("cartpole_swingup", "random", 2, tmp_path, **options)


def test_ray_plays_the_same_episodes(tmp_path):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    paths = [
        collect("cartpole_swingup", "random", 2, tmp_path / name, first_seed=7, workers=workers)
        for name, workers in (("here", 0), ("ray", RayCluster()))
    ]
    for here, there in zip(*paths, strict=True):
        assert (Episode.load(here).frames == Episode.load(there).frames).all()


def test_without_ray_the_pip_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyNotInstalled, match=r"viper-gym\[ray\]"):
        RayCluster()


class Elsewhere:
    """A machine that does not share the folder."""

    size = 1

    def map(self, function, jobs):
        return ({"seed": job.seed, "kept": True} for job in jobs)


def test_machines_that_do_not_share_the_folder_are_told(tmp_path):
    with pytest.raises(TrainingError, match="machines have to share that folder"):
        collect("cartpole_swingup", "random", 1, tmp_path, first_seed=7, workers=Elsewhere())


@pytest.mark.parametrize(("size", "given"), [(1, [8, 8, 4]), (3, [12, 8]), (64, [20])])
def test_every_worker_is_given_several_episodes_at_once(tmp_path, size, given):
    batches = []

    class Many:
        def map(self, function, these):
            batches.append(len(these))
            for job in these:
                (Path(job.folder) / f"episode_{job.seed:07d}.npz").touch()
                yield {"seed": job.seed, "kept": True}

    Many.size = size
    collect("cartpole_swingup", "random", 20, tmp_path, first_seed=7, workers=Many())
    assert batches == given


def test_a_ray_worker_that_is_lost_is_named():
    cluster = RayCluster.__new__(RayCluster)  # without a cluster: what its answers are made of

    class RayError(Exception): ...

    class RayTaskError(RayError): ...

    def lost(reference):
        raise RayError("the node died")

    class Remote:
        remote = staticmethod(lambda job: job)

    cluster._ray = SimpleNamespace(
        remote=lambda **_: lambda function: Remote,
        get=lost,
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError),
    )
    with pytest.raises(TrainingError, match="Ray could not play an episode: the node died"):
        list(cluster.map(print, [1]))


def test_a_task_without_an_expert_leaves_no_folder(tmp_path):
    with pytest.raises(UnknownTask, match="dmc task 'acrobot_swingup' has no expert"):
        collect("acrobot_swingup", "diverse", 1, tmp_path, first_seed=7, workers=0)
    assert not list(tmp_path.iterdir())


def test_one_environment_is_open_at_a_time(tmp_path):
    for task in ("cartpole_swingup", "cup_catch", "cartpole_swingup"):
        [path] = collect(task, "zero", 1, tmp_path / task, first_seed=7, workers=0)
        assert [key[:2] for key in _ENVS] == [("dmc", task)]
        path.unlink()


def test_what_is_there_already_is_counted_at_the_start(tmp_path):
    there, new = [], []
    for episodes in (1, 2):
        collect(
            "cartpole_swingup", "random", episodes, tmp_path, first_seed=7, workers=0,
            on_resume=there.append, on_episode=new.append,
        )  # fmt: skip
    assert there == [0, 1] and len(new) == 2


def test_a_misspelt_task_leaves_no_folder(tmp_path):
    with pytest.raises(UnknownTask, match="unknown dmc task 'swingup'; expected one of"):
        collect("swingup", "random", 1, tmp_path, first_seed=7, workers=0)
    assert not list(tmp_path.iterdir())


def test_a_job_runs_in_whatever_folder_a_worker_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = []

    class Notes(Elsewhere):
        def map(self, function, these):
            jobs.extend(these)
            return super().map(function, these)

    with pytest.raises(TrainingError):
        collect("cartpole_swingup", "random", 1, Path("data"), first_seed=7, workers=Notes())
    assert Path(jobs[0].folder) == tmp_path / "data" / "cartpole_swingup" / "random"


def test_a_full_disk_on_a_machine_of_the_cluster_is_named(tmp_path):
    class TaskError(Exception):
        cause = OSError(28, "No space left on device")

    class Ray:  # the real one is an extra; its error hides the errno in `cause`
        exceptions = type("exceptions", (), {"RayTaskError": TaskError, "RayError": TaskError})

        @staticmethod
        def cluster_resources():
            return {"CPU": 2.0}

        @staticmethod
        def remote(**_):
            return lambda function: type("f", (), {"remote": staticmethod(lambda job: job)})

        @staticmethod
        def get(reference):
            raise TaskError

    cluster = RayCluster.__new__(RayCluster)
    cluster._ray = Ray
    with pytest.raises(TrainingError, match=r"cannot write to .*No space left.* is kept"):
        collect("cartpole_swingup", "random", 1, tmp_path, first_seed=7, workers=cluster)
