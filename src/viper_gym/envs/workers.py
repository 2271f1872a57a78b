"""Where episodes are played: in this process, in several, or on the machines of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Protocol, TypeVar

from viper_gym.errors import TrainingError, require_positive
from viper_gym.optional import require

ATTEMPTS = 3  # of a job that takes its process down
Job = TypeVar("Job")


class Workers(Protocol):
    """Calls a function on jobs; the answers come in the order of the jobs."""

    @property
    def size(self) -> int:
        """Jobs that are done at a time."""
        ...

    def map(self, function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[Any]: ...


class InProcess:
    """No other process at all."""

    size = 1

    def map(self, function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[Any]:
        """One after the other."""
        return map(function, jobs)


class Processes:
    """Processes of this machine; one that dies is replaced, and its jobs are played again.

    They are spawned, because forking after rendering hangs.

    Raises:
        TrainingError: not one process or more.
    """

    def __init__(self, number: int):
        require_positive(workers=number)
        self.size, self._pool = number, _spawned(number)

    def map(self, function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[Any]:
        """Side by side.

        Raises:
            TrainingError: processes died `ATTEMPTS` times without an answer between.
        """
        left, died = list(jobs), 0
        while left:
            try:  # a pool whose process died while idle says so when it is given work
                futures = [self._pool.submit(function, job) for job in left]
                for future in futures:
                    answer = future.result()
                    del left[0]
                    died = 0
                    yield answer
            except BrokenProcessPool as error:
                died += 1
                if died == ATTEMPTS:
                    raise TrainingError(
                        f"worker processes died {ATTEMPTS} times on {left[0]} (out of memory?). "
                        "Run again with fewer workers; what is done is kept"
                    ) from error
                self._pool.shutdown(wait=False)
                self._pool = _spawned(self.size)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


class RayCluster:
    """The machines of a Ray cluster, which must share the folder that episodes are written to.

    Joins the cluster that RAY_ADDRESS names or `ray start` began here, else starts one on this
    machine. Ray replaces workers that die.

    Raises:
        DependencyNotInstalled: ray is missing.
    """

    def __init__(self) -> None:
        self._ray: Any = require("ray", extra="ray")
        if not self._ray.is_initialized():
            self._ray.init(log_to_driver=False, include_dashboard=False)

    def map(self, function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[Any]:
        """Side by side, each job on one CPU.

        Raises:
            TrainingError: Ray could not play it (a worker lost again and again, no memory, …).
        """
        remote = self._ray.remote(num_cpus=1, max_retries=ATTEMPTS)(function)
        for reference in [remote.remote(job) for job in jobs]:
            try:
                yield self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error  # a full disk keeps its errno there only
            except self._ray.exceptions.RayError as error:
                raise TrainingError(
                    f"Ray could not play an episode: {error}. What is done is kept; run again"
                ) from error

    @property
    def size(self) -> int:
        """CPUs of the cluster."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))


def _spawned(number: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """In a worker: a parent that was killed cannot say so, and its jobs would be played on."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
