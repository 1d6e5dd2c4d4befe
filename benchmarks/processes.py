"""Processor time and resident memory of this process and those that it started."""

import contextlib
import os
import threading
import time
from collections.abc import Collection, Iterator

import psutil

__all__ = ["Peak", "cpu_seconds", "proportional_megabytes", "resident_megabytes", "started", "with_servers"]

PERIOD = 0.2


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@contextlib.contextmanager
def started() -> Iterator[list[int]]:
    """Give a list that holds, after the block, the ids of the processes that were started in it."""
    before, found = _children(), list[int]()
    yield found
    found.extend(_children() - before)


def cpu_seconds(pids: Collection[int]) -> float:
    """Return the processor time of this process and of those given [s]."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return time.process_time() + float(sum(spent.user + spent.system for spent in times))


def resident_megabytes(leave_out: Collection[int] = ()) -> float:
    """Return the resident memory [MB] of this process and its descendants; `leave_out` are process ids."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += 0 if process.pid in leave_out else process.memory_info().rss
    return total / 1e6


def with_servers(serving: str) -> set[int]:
    """Return the ids of this process, of its descendants, and of servers of the same folder.

    Args:
        serving: part of the command line of servers, which are nobody's descendants; ``XDG_RUNTIME_DIR`` is theirs.
    """
    here = psutil.Process()
    everybody = {here.pid, *(process.pid for process in here.children(recursive=True))}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            same = process.environ().get("XDG_RUNTIME_DIR") == os.environ.get("XDG_RUNTIME_DIR")
            if same and any(serving in part for part in process.cmdline()):
                everybody.add(process.pid)
    return everybody


def proportional_megabytes(pids: Collection[int]) -> float:
    """Return the PSS [MiB] of processes: pages that several of them use count once, divided among them."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_full_info().pss / 2**20
    return total


class Peak:
    """Watches memory while the block runs."""

    def __init__(self, leave_out: Collection[int] = ()) -> None:
        self.leave_out = frozenset(leave_out)
        self.megabytes = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, resident_megabytes(self.leave_out))
            if self._end.wait(PERIOD):
                return

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
