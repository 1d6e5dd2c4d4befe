"""Whether an episode whose time is over goes on or begins anew, by the reward model's word alone.

An episode that ends well is one that the reward model still values at its end. To go on from there is what teaches an
agent to *hold* what it has reached: episodes that always begin anew never show it what comes after their last step, and
longer ones show it mostly what comes after a fall.
"""

import collections
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.task.spec import ContinuationSpec
from gym_vlmrm.worlds.state import put_random_state, random_state

__all__ = ["Continuation"]

FIRST = 4
"""Episodes of each environment whose ends say what the untrained policy earns. Until then no episode goes on."""
LATEST = 16
"""Latest episodes per environment, whose best moments say what can be earned so far."""
BEST = 0.9
"""Quantile of those moments that counts."""


class Continuation:
    """Decides for each episode that ran out of time. Equal rewards give equal decisions."""

    def __init__(self, spec: ContinuationSpec, num_envs: int, seed: int) -> None:
        """Take the recipe's numbers; `seed` is of the draws."""
        self.spec = spec
        self._random = np.random.default_rng([seed, 0xC0])
        self._firsts = FIRST * num_envs
        self._first: list[float] = []
        self._best: collections.deque[float] = collections.deque(maxlen=LATEST * num_envs)

    @property
    def level(self) -> float:
        """Mean reward of its last frames from which an episode has ended well; infinite until that can be told."""
        if len(self._first) < self._firsts:
            return float("inf")
        low, high = float(np.mean(self._first)), float(np.quantile(np.array(self._best), BEST))
        return low + self.spec.level * (high - low) if high > low else float("inf")

    def __call__(self, ends: NDArray[np.floating[Any]], best: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which of the episodes that ran out of time now go on.

        Args:
            ends: mean reward (E,) of the last frames of each of them.
            best: the highest that this mean has been in the episode (E,).
        """
        for end, moment in zip(ends, best, strict=True):
            if np.isfinite(end) and np.isfinite(moment):
                if len(self._first) < self._firsts:
                    self._first.append(float(end))
                self._best.append(float(moment))
        drawn = self._random.random(len(ends)) < self.spec.probability
        return np.asarray(drawn & np.isfinite(ends) & (ends >= self.level), np.bool_)

    def state(self) -> dict[str, Any]:
        """Return what decisions depend on."""
        moments = {"first": np.array(self._first), "best": np.array(self._best)}
        return {**moments, "random": random_state(self._random)}

    def put_state(self, state: dict[str, Any]) -> None:
        """Decide as after `state`; raises KeyError, TypeError or ValueError where it is none."""
        self._first = [float(end) for end in state["first"]]
        self._best = collections.deque((float(moment) for moment in state["best"]), maxlen=self._best.maxlen)
        self._random = put_random_state(self._random, state["random"])
