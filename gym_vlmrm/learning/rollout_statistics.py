"""Means over the latest steps of a training."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.learning.late_rewards import ScoredSteps
from gym_vlmrm.learning.vec_env import PoolSteps

__all__ = ["RolloutStatistics", "finite_mean"]


def finite_mean(values: NDArray[np.floating[Any]]) -> float | None:
    """Mean of all values, or ``None`` where they have none that is a finite number."""
    with np.errstate(invalid="ignore"):  # of inf - inf
        mean = float(values.mean())
    return mean if math.isfinite(mean) else None


class RolloutStatistics:
    """Means per step over everything since the last `take`; rewards are counted when they become known."""

    def __init__(self, num_envs: int) -> None:
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def _add(self, name: str, total: float, count: int) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._counts[name] = self._counts.get(name, 0) + count

    def add_rewards(self, steps: ScoredSteps) -> None:
        """Count VLM rewards that became known."""
        if steps.rewards.size:
            self._add("rollout/vlm_reward", float(steps.rewards.sum(dtype=np.float64)), steps.rewards.size)
        if steps.seen is not None and steps.seen.size:
            self._add("rollout/success_seen", float(steps.seen.sum()), steps.seen.size)
        for name, values in steps.parts.items():
            if values.size:
                self._add(f"reward_parts/{name}", float(values.sum()), values.size)

    def add_step(self, steps: PoolSteps) -> None:
        """Count one vector step."""
        with np.errstate(invalid="ignore"):
            self._add("rollout/task_reward", float(steps.task_rewards.sum()), steps.num_envs)
        if steps.successes is not None:
            self._add("rollout/success", float(steps.successes.sum()), steps.num_envs)
        if steps.continued is not None and steps.out_of_time.any():
            self._add("rollout/continued", float(steps.continued.sum()), int(steps.out_of_time.sum()))
        self._lengths += 1
        for index in np.flatnonzero(steps.dones):
            self._add("rollout/episode_length", float(self._lengths[index]), 1)
            self._lengths[index] = 0

    def begin_episodes(self) -> None:
        """Forget the episodes that are under way."""
        self._lengths[:] = 0

    def state(self) -> dict[str, Any]:
        """Return what was counted, and the length of each episode so far."""
        return {"lengths": self._lengths.copy(), "sums": dict(self._sums), "counts": dict(self._counts)}

    def put_state(self, state: dict[str, Any]) -> None:
        """Count on from what `state` returned; raises KeyError, TypeError or ValueError where it is none."""
        self._lengths[:] = state["lengths"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def means(self) -> dict[str, float]:
        """Means by name, of what was counted since the last `take`; those that are not finite are left out."""
        return {name: total / self._counts[name] for name, total in self._sums.items() if math.isfinite(total)}

    def take(self) -> dict[str, float]:
        """Return the means and begin anew."""
        means = self.means()
        self._clear()
        return means
