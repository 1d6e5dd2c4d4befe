"""Frames scored by several threads beside each other, so that every core works while the environments wait.

How many threads of torch each of them takes is set by `gym_vlmrm.reward.threads`.
"""

import contextlib
import math
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.reward.protocol import RewardModel, is_concurrent, signals_of
from gym_vlmrm.reward.threads import take_torch_threads, threads_of_one_call
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["FreeCores", "ScoringTeam"]

FULL_BATCH = 16
"""Frames of the embedded model from which on larger batches are no faster on a core; smaller ones are slower."""
YIELDING_NICENESS = 5
"""A third of the weight of a thread that does not yield: enough, and not nothing where others keep the machine busy."""


class FreeCores(threading.Semaphore):
    """Lets as many threads work at a time as there are cores that no worker process is busy on."""

    def __init__(self, busy: int) -> None:
        """Begin with so many busy workers; there may be more of them than cores."""
        self._busy, self._cores = busy, usable_cores()
        self._granted = max(0, self._cores - busy)
        super().__init__(self._granted)

    def free_one(self) -> None:
        """A worker is done."""
        self._grant(max(0, self._busy - 1))

    def free_all(self) -> None:
        """All workers are done."""
        self._grant(0)

    def _grant(self, busy: int) -> None:
        self._busy = busy
        more = self._cores - busy - self._granted
        if more > 0:
            self._granted += more
            self.release(more)


class ScoringTeam:
    """Threads that call a reward model.

    A model whose attribute ``concurrent`` is true (its calls may overlap, and run on the CPU) gets one thread per
    core, and each of them one thread of torch: two threads that share a batch wait for each other in every layer, which
    beside busy environments is many times slower than two batches. Any other model gets one thread.
    """

    def __init__(self, reward_model: RewardModel, threads: int | None = None, *, yielding: bool = False) -> None:
        """Prepare the team; its threads start with their first frames.

        Args:
            reward_model: scores frames.
            threads: number of threads; chosen as above if not given.
            yielding: let environments that are still busy go first. Taking turns with them on a core instead, each
                finds the other's data in the processor's caches.
        """
        self.reward_model = reward_model
        self.yielding = yielding
        self.threads = threads or (usable_cores() if is_concurrent(reward_model) else 1)
        self.places: int = getattr(reward_model, "places", 0)
        """Batches that a model which scores elsewhere takes at a time; 0 of one that scores here."""
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def submit(
        self, frames: NDArray[np.uint8], turns: threading.Semaphore | None = None
    ) -> "Future[NDArray[np.float32]]":
        """Score uint8 frames (N, H, W, 3) in the background, once `turns` lets it; the result is their rewards (N,).

        Of a reward made of parts they are the pictures of N steps, and the result its signals (N, W).

        The frames must not be changed before it is there. What calling the team raises, the result raises.
        """
        elsewhere = getattr(self.reward_model, "submit", None)
        if elsewhere is not None:  # it has places of its own to score at, on other machines
            future: Future[NDArray[np.float32]] = elsewhere(frames)
            return future
        if self._executor is None or self._pid != os.getpid():  # a fork copies no threads
            self._pid = os.getpid()
            self._executor = ThreadPoolExecutor(
                self.threads, thread_name_prefix="scoring", initializer=self._start_thread
            )
        return self._executor.submit(self._score, frames, turns)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 frames (N, H, W, 3), split evenly among the threads.

        Raises:
            Whatever the reward model raises, and ModelError where frames are no such pictures or it does not return one
            finite number per frame.
        """
        if self.threads == 1:
            return self._score(frames)
        parts = [self.submit(part) for part in self.split(frames)]
        return np.concatenate([part.result() for part in parts])

    def split(self, frames: NDArray[np.uint8], shares: int = 1) -> list[NDArray[np.uint8]]:
        """Cut a batch into one part per thread; cut by count alone, so equal batches give equal rewards.

        Args:
            frames: (N, H, W, 3).
            shares: how many such batches there are at about the same time: the threads are divided among them, but for
                large ones, whose parts are as fast as they are.
        """
        parts = max(math.ceil(self.threads / shares), len(frames) // FULL_BATCH)
        return np.array_split(frames, min(self.threads, parts, len(frames))) if len(frames) else []

    def _score(self, frames: NDArray[np.uint8], turns: threading.Semaphore | None = None) -> NDArray[np.float32]:
        with turns or contextlib.nullcontext():
            return signals_of(self.reward_model, frames)

    def _start_thread(self) -> None:
        if self.threads == 1:
            # A model that must not be called twice at a time may still share one batch among cores.
            alone = threads_of_one_call()
            if alone is not None and not _on_accelerator(self.reward_model):
                take_torch_threads(alone)
        else:
            take_torch_threads(1)
            if self.yielding and sys.platform == "linux":  # elsewhere niceness is the whole process's
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.nice(0) + YIELDING_NICENESS))

    def close(self) -> None:
        """End the threads; frames that still wait are not scored."""
        if self._executor is not None and self._pid == os.getpid():
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy starts threads of its own.
        return {**vars(self), "_executor": None}


def _on_accelerator(reward_model: RewardModel) -> bool:
    return str(getattr(reward_model, "device", "cpu")).partition(":")[0] != "cpu"
