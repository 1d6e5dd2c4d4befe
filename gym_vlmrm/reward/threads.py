"""How many threads torch takes: the number belongs to the process, so whoever changes it puts it back.

Nothing here knows reward models; who calls them, and from how many threads of Python, is `gym_vlmrm.reward.scoring`.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = [
    "kept_torch_threads",
    "on_one_thread",
    "one_torch_thread",
    "survive_forks",
    "take_torch_threads",
    "threads_of_one_call",
]

_STARTING = threading.Lock()
_before: list[int] = []  # what `one_torch_thread` found, outermost first


def survive_forks() -> None:
    """Give torch one thread in every process that is forked from this one from now on; called once torch is imported.

    OpenMP's threads are not copied by a fork, and the first layer that wants them waits for ever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_take_one_after_fork)


def _take_one_after_fork() -> None:
    global _STARTING
    _STARTING = threading.Lock()  # another thread of the parent may have held it
    _before.clear()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@contextlib.contextmanager
def kept_torch_threads() -> Iterator[None]:
    """Give torch back the number of threads that it had, whatever the block sets."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """Run a short call with one thread of torch, in a process whose other computations keep theirs.

    Two microseconds, so that it may stand around every call. A thread that computes for the first time ever within
    another one's block keeps one thread.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or torch.get_num_threads() == 1:
        yield
        return
    with kept_torch_threads():
        torch.set_num_threads(1)
        yield


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run the block with one thread of torch; scoring threads take what they need (see `threads_of_one_call`).

    Policies are small, and beside busy environments a second thread slows small networks down many times.
    """
    import torch

    with kept_torch_threads():
        _before.append(torch.get_num_threads())
        torch.set_num_threads(1)
        try:
            yield
        finally:
            _before.pop()


def threads_of_one_call() -> int | None:
    """Threads of torch for a reward model that scores one batch at a time: those outside `one_torch_thread`."""
    return _before[0] if _before else None


def take_torch_threads(count: int) -> None:
    """Give this thread `count` threads of torch, and leave the number that other threads get as it was."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    with _STARTING:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        # That also set what threads start with that are yet to come; the lock keeps another one from reading it.
        restore = threading.Thread(target=torch.set_num_threads, args=(before,))
        restore.start()
        restore.join()
