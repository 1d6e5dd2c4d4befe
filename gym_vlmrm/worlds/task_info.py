"""A wrapper that reports a task's own verdicts in ``info`` and leaves everything else alone."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import ResetNeededError, WorldError
from gym_vlmrm.task.rules import quantity_names
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.answers import one_number
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.readings import Readings
from gym_vlmrm.worlds.state import WorldState, put_state, state_of

__all__ = ["TaskInfo", "task_reward"]


class TaskInfo(HiddenWrapper):
    """Adds ``task_reward`` (float64) and, where the task has a rule, ``success`` (numpy's bool) to every ``info``.

    Both are there after a reset as well, as many libraries ask for constant keys: nothing was paid yet (0.0), and
    ``success`` judges the first state. A rule that reads of ``info`` what only a step brings does not hold before one.

    ``task_reward`` is the environment's own reward. An array or list of one number is that number; none at all (None)
    is NaN; NaN and infinities stay what they are. Where the task has no rule, an ``info["success"]`` is the
    environment's own: it is passed on untouched and nothing here reads it. A rule may read it as ``info.success``.

    A copy (pickled, or by `copy.deepcopy`) is built anew by `rebuild` and put into the state that this one is in. Where
    that state cannot be told (see `gym_vlmrm.worlds.state`), the copy refuses to go on before it is reset.
    """

    counters = ()

    def __init__(self, env: gym.Env[Any, Any], task: TaskSpec, rebuild: Callable[[], gym.Env[Any, Any]]) -> None:
        """Wrap `env`; `rebuild` makes the whole again, this wrapper included.

        Raises:
            TaskError: the rule of success reads a quantity that the environment does not have.
        """
        super().__init__(env)
        self._env_id = task.env.id
        self._rule, self._rebuild = task.success_rule, rebuild
        self._was_reset = False
        self.has_lost_its_state = False
        """Whether this is a copy that must be reset before it is used."""
        names = [] if self._rule is None else quantity_names(self._rule)
        self.read_quantities = Readings(env, names, task_id=task.id, written=task.success)
        """Returns at least those quantities that the rule reads (see `Readings`)."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, and say what the rule says of its first state."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._was_reset, self.has_lost_its_state = True, False
        success = {} if self._rule is None else {"success": np.bool_(self._judge_first(observation, info))}
        return observation, {**info, "task_reward": np.float64(0.0), **success}

    def _judge_first(self, observation: Any, info: Mapping[str, Any]) -> bool:
        if self._rule is None or not self.read_quantities.complete(info):
            return False
        return bool(self._rule.holds(self.read_quantities(observation, info)))

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and say how the environment itself values and the task's rule judges the new state.

        The reward that is returned is a number too, the environment's own where it already was one.

        Raises:
            TaskError: the rule reads a value of ``info`` that is missing or is no number.
            WorldError: the reward is not one number.
            ResetNeededError: this is a copy without the state of its original.
        """
        self._check_state()
        observation, reward, terminated, truncated, info = self.env.step(action)
        number = task_reward(reward, self._env_id)
        info = {**info, "task_reward": np.float64(number)}
        if not isinstance(reward, float | int | np.floating | np.integer | np.bool_):
            reward = number
        if self._rule is not None:
            info["success"] = np.bool_(self._rule.holds(self.read_quantities(observation, info)))
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """Draw the environment; raises ResetNeededError as `step` does."""
        self._check_state()
        return self.env.render()

    def _check_state(self) -> None:
        if self.has_lost_its_state:
            raise ResetNeededError(
                f"the state of environment '{self._env_id}' cannot be copied, as it has no get_state and set_state; "
                "this copy of it begins anew: call reset() first"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        state = state_of(self) if self._was_reset else None
        lost = self._was_reset and state is None
        return _restore, (self._rebuild, self.spec, self.action_space, state, lost)

    def __deepcopy__(self, memo: dict[int, Any]) -> "TaskInfo":
        make, arguments = self.__reduce__()
        copied: TaskInfo = make(*copy.deepcopy(arguments, memo))
        return copied


def task_reward(reward: Any, env_id: str) -> float:
    """Return an environment's own reward as a number (see `TaskInfo`).

    Raises:
        WorldError: it is several numbers, or none.
    """
    number = math.nan if reward is None else one_number(reward)
    if number is None:
        message = f"environment '{env_id}' rewards a step by {shorten(repr(reward))}, which is not one number"
        raise WorldError(message, field=("env", "id"))
    return number


def _restore(
    rebuild: "Callable[[], TaskInfo]", spec: Any, action_space: Any, state: WorldState | None, lost: bool
) -> TaskInfo:
    env = rebuild()
    env.has_lost_its_state = lost
    env.unwrapped.spec, env.unwrapped.action_space = spec, action_space
    if state is not None:
        put_state(env, state)
    return env
