"""Infos of a world that trains or judges an agent: the verdicts, and which actions are allowed."""

from collections.abc import Mapping, Set
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gym_vlmrm.errors import TaskError, VLMRMError, WorldError
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.answers import hides_numbers
from gym_vlmrm.worlds.guard import describe

__all__ = ["OnlyVerdicts", "action_mask", "mask_parts"]

_ID = ("env", "id")
MASKS = "action_masks"
"""Method of an environment that says which actions are allowed, as sb3-contrib names it."""


def mask_parts(action_space: spaces.Space[Any]) -> list[int]:
    """Return the number of choices of each part of an action; empty where actions cannot be masked."""
    if isinstance(action_space, spaces.Discrete):
        return [int(action_space.n)]
    if isinstance(action_space, spaces.MultiDiscrete):
        return [int(n) for n in action_space.nvec.ravel()]
    if isinstance(action_space, spaces.MultiBinary):
        return [2] * int(np.prod(action_space.shape))
    return []


def action_mask(env: gym.Env[Any, Any]) -> NDArray[np.bool_] | None:
    """Return which choices (K,) the environment allows now, part by part, or ``None`` where it does not say.

    Raises:
        TaskError: what it says does not fit its action space, or is no method.
        WorldError: the method failed.
    """
    parts = mask_parts(env.action_space)
    if not parts or not env.has_wrapper_attr(MASKS):
        return None
    method: Any = env.get_wrapper_attr(MASKS)
    name = env.unwrapped.spec.id if env.unwrapped.spec else type(env.unwrapped).__name__
    if not callable(method):
        raise TaskError(f"{MASKS} of environment '{name}' is {type(method).__name__} and not a method", field=_ID)
    try:
        said = method()
    except VLMRMError:
        raise
    except Exception as error:
        message = f"environment '{name}' failed when it was asked for {MASKS}(): {describe(error)}"
        raise WorldError(message, field=_ID) from error
    needed = f"{sum(parts)} values, each True or False, are needed"
    choices = _flat(said)
    if choices is None:
        raise TaskError(f"{MASKS}() of environment '{name}' is {shorten(repr(said), 100)}; {needed}", field=_ID)
    if choices.size != sum(parts):
        raise TaskError(f"{MASKS}() of environment '{name}' has {choices.size} values; {needed}", field=_ID)
    return choices.astype(np.bool_)


def _flat(said: Any) -> NDArray[Any] | None:
    """Zeros and ones (K,) of a mask whose parts may differ in length, or ``None`` where it is no such thing."""
    if isinstance(said, str | bytes | Mapping | Set) or hides_numbers(said):
        return None  # numpy would iterate over keys
    try:
        flat = np.concatenate([np.ravel(part) for part in said])
    except Exception:  # whatever a stranger's object does when it is read
        return None
    return flat if flat.dtype.kind in "biuf" and np.isin(flat, (0, 1)).all() else None


class OnlyVerdicts(gym.Wrapper[Any, Any, Any, Any]):
    """Leaves ``task_reward`` and, where the task has a rule, ``success`` in ``info``; adds ``action_mask`` (K,) if any.

    What else an environment says there need not have one type and shape, which vector environments want, and its own
    ``success`` is not the task's. After the end of an episode the mask allows everything, as nobody asks for it.
    """

    counters = ()

    def __init__(self, env: gym.Env[Any, Any], *, judged: bool) -> None:
        """Wrap `env`; `judged` says whether the task has a rule of success."""
        super().__init__(env)
        self._keys = ("task_reward", "success") if judged else ("task_reward",)
        self._parts = mask_parts(env.action_space)
        self.masked = bool(self._parts) and env.has_wrapper_attr(MASKS)
        """Whether the environment says which actions are allowed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; raises TaskError as `action_mask` does."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._reduced(info, ended=False)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._reduced(info, ended=terminated or truncated)

    def _reduced(self, info: dict[str, Any], *, ended: bool) -> dict[str, Any]:
        reduced = {key: info[key] for key in self._keys if key in info}
        if not self.masked:
            return reduced
        return {**reduced, "action_mask": np.ones(sum(self._parts), np.bool_) if ended else action_mask(self.env)}
