"""Processor time and resident memory of this process and those that it started."""

import contextlib
import threading
import time
from collections.abc import Collection, Iterator

import psutil

__all__ = ["Peak", "cpu_seconds", "resident_megabytes", "started"]

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
