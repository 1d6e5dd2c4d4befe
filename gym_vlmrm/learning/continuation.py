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

FIRST_ENDS = 64
"""Ends of the first episodes: what the untrained policy earns. Until they are there, no episode goes on."""
LATE_ENDS = 256
"""The latest ends, of which the best are what can be earned so far."""
BEST = 0.9
"""Quantile of the latest ends that counts as the best."""


class Continuation:
    """Decides for each episode that ran out of time. Equal rewards give equal decisions."""

    def __init__(self, spec: ContinuationSpec, seed: int) -> None:
        """Take the recipe's numbers; `seed` is of the draws."""
        self.spec = spec
        self._random = np.random.default_rng([seed, 0xC0])
        self._first: list[float] = []
        self._late: collections.deque[float] = collections.deque(maxlen=LATE_ENDS)

    @property
    def level(self) -> float:
        """Mean reward of its last frames from which an episode has ended well; infinite until that can be told."""
        if len(self._first) < FIRST_ENDS:
            return float("inf")
        low, high = float(np.mean(self._first)), float(np.quantile(np.array(self._late), BEST))
        return low + self.spec.level * (high - low) if high > low else float("inf")

    def __call__(self, ends: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which of the episodes go on.

        Args:
            ends: mean reward (E,) of the last frames of each episode that ran out of time now.
        """
        for end in ends:
            if len(self._first) < FIRST_ENDS:
                self._first.append(float(end))
            self._late.append(float(end))
        drawn = self._random.random(len(ends)) < self.spec.probability
        return np.asarray(drawn & (ends >= self.level), np.bool_)

    def state(self) -> dict[str, Any]:
        """Return what decisions depend on."""
        return {"first": np.array(self._first), "late": np.array(self._late), "random": random_state(self._random)}

    def put_state(self, state: dict[str, Any]) -> None:
        """Decide as after `state`; raises KeyError, TypeError or ValueError where it is none."""
        self._first = [float(end) for end in state["first"]]
        self._late = collections.deque((float(end) for end in state["late"]), maxlen=LATE_ENDS)
        self._random = put_random_state(self._random, state["random"])
