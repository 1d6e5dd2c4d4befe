"""A reward that knows the truth: what an ideal, graded reward for a task would be."""

from collections.abc import Sequence

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.rules import quantity_scales, shortfalls
from gym_vlmrm.task.spec import TaskSpec

__all__ = ["OracleReward"]


class OracleReward:
    """1 inside the goal, falling smoothly with what the rule of success lacks; reads states, not frames."""

    name = "oracle"

    def __init__(self, task: TaskSpec, scales: dict[str, float] | None = None, frame_size: int = 32) -> None:
        """Prepare the oracle of a task.

        Args:
            task: a task with a rule of success.
            scales: standard deviation of each quantity of the rule; those of the first states asked about if not given.
            frame_size: side of the frames that it lets others see [px].

        Raises:
            TaskError: the task has no rule of success.
        """
        if task.success_rule is None:
            raise TaskError(f"task '{task.id}' has no 'success:' rule, so nothing is known of its goal")
        self.rule, self.scales, self.frame_size = task.success_rule, scales, frame_size

    def of_states(self, quantities: Sequence[dict[str, float]]) -> Floats:
        """Return the rewards (N,) of states, given by their named quantities."""
        self.scales = self.scales or quantity_scales(self.rule, quantities)
        return np.asarray(np.exp(-shortfalls(self.rule, quantities, self.scales)))
