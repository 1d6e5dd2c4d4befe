"""How wrong the network is, told from frames asked at random, and whether that lasts."""

import collections
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAMES", "ErrorWatch"]

FRAMES = 64
"""Latest frames asked at random whose error counts, and how many in a row must find it too large."""


class ErrorWatch:
    """Root mean square error over the latest frames asked at random, in standard deviations of the judge's rewards.

    Chance alone picks those frames and the network has not learned from them, so that their mean square error is an
    unbiased estimate of what the network's answers have. The standard deviation is that of all frames asked at random,
    or of the latest ones where it is larger: rewards that have begun to rise spread more than those of the beginning.
    """

    def __init__(self, limit: float) -> None:
        """Begin; `limit` is what the error must not exceed for long."""
        self.limit = limit
        self._squares: collections.deque[float] = collections.deque(maxlen=FRAMES)
        self._latest: collections.deque[float] = collections.deque(maxlen=FRAMES)
        self._count, self._mean, self._spread = 0, 0.0, 0.0
        self._streak = 0

    def add(self, predicted: NDArray[np.floating[Any]], told: NDArray[np.floating[Any]]) -> None:
        """Take in what the network predicted of frames asked at random (N,), and what the judge told (N,)."""
        for guess, truth in zip(predicted.tolist(), told.tolist(), strict=True):
            self._squares.append((guess - truth) ** 2)
            self._latest.append(truth)
            self._count += 1
            away = truth - self._mean
            self._mean += away / self._count
            self._spread += away * (truth - self._mean)
            large = self.error is not None and self.error > self.limit
            self._streak = self._streak + 1 if large else 0

    @property
    def error(self) -> float | None:
        """The error; ``None`` while too few frames tell, or the judge's rewards have no spread."""
        spread = max(math.sqrt(self._spread / self._count), float(np.std(self._latest))) if self._count else 0.0
        if len(self._squares) < FRAMES or spread < 1e-6:
            return None
        return math.sqrt(sum(self._squares) / FRAMES) / spread

    @property
    def lasts(self) -> bool:
        """Whether the error was too large at `FRAMES` frames in a row."""
        return self._streak >= FRAMES

    def state(self) -> dict[str, Any]:
        """Return what it goes by."""
        counted = [self._count, self._mean, self._spread, self._streak]
        return {"squares": list(self._squares), "latest": list(self._latest), "counted": counted}

    def put_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`; where the error had lasted too long, somebody wants to go on, and patience begins anew.

        Raises:
            KeyError, TypeError, ValueError: it is no such state.
        """
        count, mean, spread, streak = state["counted"]
        squares, latest = (collections.deque(map(float, state[key]), maxlen=FRAMES) for key in ("squares", "latest"))
        if len(squares) != len(latest):
            raise ValueError("errors of other frames than rewards")
        self._squares, self._latest = squares, latest
        self._count, self._mean, self._spread = int(count), float(mean), float(spread)
        self._streak = int(streak) if int(streak) < FRAMES else 0
