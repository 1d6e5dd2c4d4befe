"""Wall-clock speed beside processor time: the first is what users feel, the second survives a busy machine."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from processes import cpu_seconds

__all__ = ["Loop", "Speed"]


@dataclass(frozen=True)
class Speed:
    """How fast something was."""

    rate: float
    """Steps or frames per second of wall-clock time."""
    cpu: float
    """Processor time of each, over all threads and processes [s]."""


class Loop(ABC):
    """Something that makes environment steps."""

    pids: list[int]
    """Worker processes."""

    def rate(self, seconds: float) -> Speed:
        """Make steps for about so long and say how fast that was."""
        began, spent = time.perf_counter(), cpu_seconds(self.pids)
        count = self._steps(began + seconds)
        elapsed = time.perf_counter() - began
        return Speed(count / elapsed, (cpu_seconds(self.pids) - spent) / count)

    @abstractmethod
    def _steps(self, end: float) -> int:
        """Make steps until the clock `time.perf_counter` shows `end`, at least some; return their number."""

    @abstractmethod
    def close(self) -> None:
        """End the worker processes."""
