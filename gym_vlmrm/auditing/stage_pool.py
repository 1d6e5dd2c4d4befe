"""Many stages in worker processes: states and episodes are dealt out, what was seen comes back in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.stage import Seen, Stage, episode_length, join_seen
from gym_vlmrm.errors import WorkerError
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.pools.processes import (
    DEFAULT_TIMEOUT,
    adopt_registrations,
    begin_worker,
    end_processes,
    in_main_thread,
    pack_registrations,
    patience,
    starting_workers,
    too_slow,
    wait_patiently,
    worker_context,
)

__all__ = ["StagePool"]

CHUNK = 24
"""States that a worker draws at a time."""
FAREWELL = 5.0
"""Longest wait for the executor's own thread once its workers are gone [s]."""
_stage: Stage | Exception | None = None


def _open(registrations: bytes, task: TaskSpec, size: int, of_main_thread: bool) -> None:
    global _stage
    begin_worker(of_main_thread=of_main_thread, heeds_sigterm=True)
    try:
        adopt_registrations(registrations)
        _stage = Stage(task, size)
    except Exception as error:
        _stage = error  # the first job raises it where the parent hears of it


def _opened() -> Stage:
    if isinstance(_stage, Exception):
        raise _stage
    assert _stage is not None
    return _stage


def _show(states: Floats, draw: bool) -> Seen:
    return _opened().show(states, draw)


def _roll(seed: int, stride: int, hold: int) -> Seen:
    return _opened().roll(seed, stride, hold=hold)


def _roll_here(stage: Stage, seed: int, stride: int, hold: int) -> Seen:
    return stage.roll(seed, stride, hold=hold)


class StagePool:
    """Stages in worker processes, one per core; with one worker everything stays in this process."""

    def __init__(self, task: TaskSpec, size: int, workers: int | None = None) -> None:
        """Start the workers.

        Args:
            task: a task with a rule of success.
            size: side of the frames [px].
            workers: processes; one per usable core if not given.

        Raises:
            TaskError, RenderingError: as `Stage` and its world do, here or in `show` and `roll`.
        """
        self.task, self.size = task, size
        self._stage: Stage | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._processes: set[Any] = set()
        workers = workers or usable_cores()
        if workers == 1:
            self._stage = Stage(task, size)
            return
        # A job is up to an episode, at a second a step.
        self._patience = patience(default=DEFAULT_TIMEOUT + episode_length(task))
        arguments = (pack_registrations(), task, size, in_main_thread())
        self._executor = ProcessPoolExecutor(workers, worker_context(), _open, arguments)
        self._submit(_show, [(np.zeros((0, 0)), False)] * workers)  # each starts one process while none is idle
        self._processes |= set(self._executor._processes.values())  # the executor forgets them when one dies

    def __enter__(self) -> "StagePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers."""
        if self._executor is not None:
            self._end(self._executor)
            self._executor = None
        if self._stage is not None:
            self._stage.world.close()

    def _end(self, executor: ProcessPoolExecutor) -> None:
        # Workers keep nothing that is worth waiting for, and waiting for one that hangs would never end.
        processes = self._processes | set((executor._processes or {}).values())
        manager: Any = executor._executor_manager_thread
        executor.shutdown(wait=False, cancel_futures=True)
        end_processes(processes)
        if manager is not None:  # it closes the pipe by which Python's exit would wake it: not both at once
            manager.join(FAREWELL)

    def show(self, states: Floats, *, draw: bool = True, on_done: Callable[[int], None] | None = None) -> Seen:
        """Show states (N, D), N > 0; `on_done` is told how many are finished."""
        chunks = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)]
        return join_seen(list(self._map(_show, Stage.show, [(chunk, draw) for chunk in chunks], on_done)))

    def roll(
        self,
        seeds: Sequence[int],
        stride: int,
        *,
        holds: Sequence[int] = (1,),
        on_done: Callable[[int], None] | None = None,
    ) -> list[Seen]:
        """Play one random episode per seed and show every `stride`-th state of each.

        Actions are held for so many steps as `holds` says, whose numbers the episodes take in turn.
        """
        jobs = [(seed, stride, holds[index % len(holds)]) for index, seed in enumerate(seeds)]
        return list(self._map(_roll, _roll_here, jobs, on_done))

    def _map(
        self,
        remote: Callable[..., Seen],
        local: Callable[..., Seen],
        jobs: Sequence[tuple[Any, ...]],
        on_done: Callable[[int], None] | None,
    ) -> Iterator[Seen]:
        futures = [] if self._stage is not None else self._submit(remote, jobs)
        finished = 0
        for index, job in enumerate(jobs):
            seen = self._result(futures[index], remote.__name__) if futures else local(self._stage, *job)
            finished += len(seen)
            if on_done is not None:
                on_done(finished)
            yield seen

    def _submit(self, remote: Callable[..., Seen], jobs: Sequence[tuple[Any, ...]]) -> list[Future[Seen]]:
        if self._executor is None:
            raise WorkerError("the processes that draw frames are closed")
        try:
            with starting_workers():
                return [self._executor.submit(remote, *job) for job in jobs]
        except BrokenProcessPool:
            raise self._death() from None
        except OSError:
            # One that died at once: the executor closes its pipes while the next one is about to be given them.
            if not self._executor._broken:
                raise
            raise self._death() from None

    def _result(self, future: Future[Seen], job: str) -> Seen:
        if wait_patiently(lambda seconds: wait([future], seconds).done, self._patience) is None:
            self.close()
            raise too_slow("a process that draws frames", job.strip("_"), self._patience)
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._death() from None

    def _death(self) -> WorkerError:
        self.close()
        return WorkerError("a process that draws frames has died; is there enough memory?")
