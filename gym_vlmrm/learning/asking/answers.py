"""Which states of a rollout the judge is asked about, and what the others are worth.

What suits of the literature: the disagreement of an ensemble says what to ask (Christiano et al. 2017), and a network
of the state needs no picture (MVR, arXiv 2603.01694; it learns an order of states, while here the reward itself is
learned, so that what was asked can be paid as the judge said). What both lack: the highest answers are always checked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.learning.asking.ensemble import Ensemble, Floats32
from gym_vlmrm.learning.asking.watch import ErrorWatch
from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.worlds.state import put_random_state, random_state

__all__ = ["WARM_UP", "Answers", "Quotas"]

WARM_UP = 256
"""Frames that are asked before the network answers for any; they come on top of the share."""
UPDATES_PER_FRAME = 2
"""Updates of the network for each frame that it has not learned from."""

Judge = Callable[[NDArray[np.intp]], Floats32]
"""Draws and judges the states at some places (K,) of a rollout; returns their rewards (K,)."""


class Quotas:
    """How many states of a rollout are asked: at random, in doubt, and because they promise most."""

    def __init__(self, share: float) -> None:
        self.share, self._credit, self._turn = share, 0.0, 0

    def of(self, states: int) -> tuple[int, int, int]:
        """Return the three numbers for a rollout of so many states; what is left over counts next time."""
        if not states:
            return 0, 0, 0
        promising = max(1, round(self.share * states / 3))
        self._credit += self.share * states - promising
        others = max(0, int(self._credit + 1e-9))
        self._credit -= others
        half, odd = divmod(others, 2)
        at_random = half + (odd and self._turn)
        if odd:
            self._turn = 1 - self._turn
        return at_random, others - at_random, promising

    def state(self) -> list[float]:
        """Return what is left over."""
        return [self._credit, self._turn]

    def put_state(self, state: list[float]) -> None:
        """Go on from `state`; raises TypeError or ValueError where it is none."""
        credit, turn = state
        if not abs(credit) < 1e9 or turn not in (0, 1):
            raise ValueError("no quotas")
        self._credit, self._turn = float(credit), int(turn)


class Answers:
    """Answers for the judge, or asks it. Equal states and rewards give equal answers, to the bit on one CPU."""

    def __init__(self, spec: AskSpec, width: int, seed: int) -> None:
        """Begin without any knowledge of states of `width` numbers; `seed` is that of the run."""
        self._random = np.random.default_rng([seed, 0xA5])
        self.ensemble = Ensemble(width, self._random)
        self.quotas, self.watch = Quotas(spec.share), ErrorWatch(spec.stop_above)
        self._unlearned = 0
        self.asked = 0
        """Frames asked so far."""

    def __call__(self, states: Floats32, askable: NDArray[np.bool_], judge: Judge) -> tuple[Floats32, NDArray[np.intp]]:
        """Return rewards (N,) of the states (N, D) of a rollout, and the places (K,) of those that the judge gave.

        Frames asked at random are not learned from before the others are answered, so that they say how wrong those
        answers are. After that the highest answers are asked. No answer that remains is above all that the judge gave.

        Args:
            states: all that would be scored, in order.
            askable: which of them can be drawn (N,).
            judge: asked at most twice.
        """
        self.ensemble.see(states)
        young = len(self.ensemble) < WARM_UP
        at_random, in_doubt, promising = self.quotas.of(len(states))
        if young:
            at_random, in_doubt = max(at_random + in_doubt, WARM_UP - len(self.ensemble)), 0
        free = np.flatnonzero(askable)
        chance = np.sort(self._random.choice(free, min(at_random, len(free)), replace=False))
        free = np.setdiff1d(free, chance)
        doubt = self._in_doubt(states, free, in_doubt)
        free = np.setdiff1d(free, doubt)
        told = judge(np.concatenate([chance, doubt]))
        by_chance, of_doubt = told[: len(chance)], told[len(chance) :]
        self._remember(states[doubt], of_doubt)
        if young:
            self._remember(states[chance], by_chance)
        self.ensemble.learn(int(UPDATES_PER_FRAME * self._unlearned))
        self._unlearned = 0
        rewards = self.ensemble.predict(states).mean(0)
        if not young:
            self.watch.add(rewards[chance], by_chance)
            self._remember(states[chance], by_chance)
        best = np.sort(free[np.argsort(-rewards[free], kind="stable")[:promising]])
        of_best = judge(best)
        self._remember(states[best], of_best)
        places = np.concatenate([chance, doubt, best])
        judged = np.concatenate([told, of_best])
        if len(judged):
            rewards = np.minimum(rewards, judged.max())
        rewards[places] = judged
        self.asked += len(places)
        return rewards, places

    def guess(self, states: Floats32) -> Floats32:
        """Return what states (N, D) are worth by the network alone; NaN before it has learned. Nothing is changed."""
        if not len(self.ensemble):
            return np.full(len(states), np.nan, np.float32)
        guesses: Floats32 = self.ensemble.predict(states).mean(0)
        return guesses

    def _in_doubt(self, states: Floats32, free: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Draw places without replacement, by the variance of what the networks say (Efraimidis and Spirakis 2006).

        The largest ones alone would be neighbours in time that say the same.
        """
        if not count or not len(free):
            return free[:0]
        variance = self.ensemble.predict(states[free]).var(0).astype(np.float64) + 1e-12
        keys = np.log(self._random.random(len(free)) + 1e-300) / variance
        return np.sort(free[np.argsort(-keys, kind="stable")[:count]])

    def _remember(self, states: Floats32, rewards: Floats32) -> None:
        self.ensemble.remember(states, rewards)
        self._unlearned += len(states)

    def state(self) -> dict[str, Any]:
        """Return all that answers depend on, as plain data."""
        return {
            "ensemble": self.ensemble.state(),
            "quotas": self.quotas.state(),
            "watch": self.watch.state(),
            "unlearned": self._unlearned,
            "asked": self.asked,
            "random": random_state(self._random),
        }

    def put_state(self, state: dict[str, Any]) -> None:
        """Answer as after `state`; raises KeyError, TypeError or ValueError where it is none."""
        self.ensemble.put_state(state["ensemble"])
        self.quotas.put_state(state["quotas"])
        self.watch.put_state(state["watch"])
        self._unlearned, self.asked = int(state["unlearned"]), int(state["asked"])
        if not 0 <= self._unlearned <= len(self.ensemble) == self.asked:
            raise ValueError("another number of frames than are remembered")
        if put_random_state(self._random, state["random"]) is not self._random:
            raise ValueError("another generator")
