"""How the episodes that are under way go, by the last few rewards of each."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lately", "Moments"]


class Moments(NamedTuple):
    """Mean rewards of a few scored frames of each environment's episode; NaN where none was scored yet."""

    end: NDArray[np.float64]
    """Of the last ones (N,)."""
    best: NDArray[np.float64]
    """Of those in a row that earned most (N,)."""


class Lately:
    """Remembers the last few scores of each environment's episode, and the best that their mean has been."""

    def __init__(self, num_envs: int, remembered: int) -> None:
        self._scores = np.full((num_envs, remembered), np.nan)
        self._best = np.full(num_envs, np.nan)
        self._over = np.zeros(num_envs, np.bool_)  # whether the next step begins another episode

    def add(self, rows: Iterable[tuple[NDArray[np.bool_], NDArray[np.bool_]]], scores: NDArray[np.float32]) -> None:
        """Take in steps, each as what was scored and what ended (N,), and the scores of all that was, in order."""
        used = 0
        for scored, dones in rows:
            self._scores[self._over], self._best[self._over] = np.nan, np.nan
            count = int(scored.sum())
            if count:
                self._scores[scored, :-1] = self._scores[scored, 1:]
                self._scores[scored, -1] = scores[used : used + count]
                self._best = np.fmax(self._best, self._scores.mean(axis=1))  # of as many as that, or NaN
                used += count
            self._over = dones

    def moments(self) -> Moments:
        """Return how the episodes go; of fewer scores than are remembered, all count."""
        known = ~np.isnan(self._scores)
        sums, counts = np.where(known, self._scores, 0.0).sum(axis=1), known.sum(axis=1)
        end = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return Moments(end, np.fmax(self._best, end))

    def copy(self) -> "Lately":
        """Return one that goes its own way."""
        other = Lately(*self._scores.shape)
        other.put_state(self.state())
        return other

    def forget(self) -> None:
        """Begin new episodes."""
        self._scores[:], self._best[:], self._over = np.nan, np.nan, np.zeros(len(self._scores), np.bool_)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that is remembered."""
        return {"scores": self._scores.copy(), "best": self._best.copy(), "over": self._over.copy()}

    def put_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Remember what `state` returned; raises KeyError or ValueError where it is none."""
        self._scores[:], self._best[:] = state["scores"], state["best"]
        self._over = np.array(state["over"], np.bool_)
