"""A wrapper that remembers, within an episode, those quantities that a rule of success reads of several states."""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.past import LookBack, look_back
from gym_vlmrm.task.rules import quantity_names
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.readings import Readings

__all__ = ["Remembering", "remembering"]


class Remembering(HiddenWrapper):
    """Keeps the last values of an episode, as part of the world's state, and changes nothing.

    It remembers nothing over a reset. Where the rule reads of ``info`` what only a step brings, it begins with the
    first step.
    """

    counters = ("past",)

    def __init__(self, env: gym.Env[Any, Any], task: TaskSpec, looks: list[LookBack]) -> None:
        """Wrap `env`; `looks` is what the task's rule asks of several states.

        Raises:
            TaskError: it asks for a quantity that the environment does not have.
        """
        super().__init__(env)
        self._names = list(dict.fromkeys(look.name for look in looks))
        self._longest = max(look.states for look in looks)
        self._read = Readings(env, self._names, task_id=task.id, written=task.success)
        self._past = np.empty((0, len(self._names)))

    @property
    def past(self) -> Floats:
        """Values (T, N) of the last T states, the present one among them, oldest first; none before the first."""
        return self._past

    @past.setter
    def past(self, past: Floats) -> None:
        past = np.array(past, np.float64)
        if past.ndim != 2 or past.shape[1] != len(self._names) or len(past) > self._longest:
            raise ValueError(f"{past.shape} values of the states before, not (T, {len(self._names)})")
        self._past = past

    def look_back(self, look: LookBack) -> float:
        """Return one number of the last states; there must be some."""
        return look.of(self._past[:, self._names.index(look.name)])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, and forget."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._past = self._past[:0]
        if self._read.complete(info):
            self._note(observation, info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and remember; raises TaskError where ``info`` lacks what the rule reads."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._note(observation, info)
        return observation, reward, terminated, truncated, info

    def _note(self, observation: Any, info: Mapping[str, Any]) -> None:
        values = self._read(observation, info)
        row = [[values[name] for name in self._names]]
        # A new array each time: states that were told keep theirs.
        self._past = np.concatenate((self._past[-(self._longest - 1) :], row))


def remembering(env: gym.Env[Any, Any], task: TaskSpec) -> gym.Env[Any, Any]:
    """Wrap an environment where its task's rule looks at several states; raises TaskError as `Remembering` does."""
    rule = task.success_rule
    found = [] if rule is None else [look_back(name) for name in quantity_names(rule)]
    looks = [look for look in found if look is not None]
    return Remembering(env, task, looks) if looks else env
