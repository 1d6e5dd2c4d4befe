"""Infos of a world that trains or judges an agent: the verdicts, and which actions are allowed."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from numpy.typing import NDArray

from gym_vlmrm.errors import TaskError

__all__ = ["OnlyVerdicts", "action_mask", "mask_parts"]

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


def _name(env: gym.Env[Any, Any]) -> str:
    return env.unwrapped.spec.id if env.unwrapped.spec else type(env.unwrapped).__name__


def action_mask(env: gym.Env[Any, Any]) -> NDArray[np.bool_] | None:
    """Return which choices (K,) the environment allows now, part by part, or ``None`` where it does not say.

    Raises:
        TaskError: what it says does not fit its action space.
    """
    parts = mask_parts(env.action_space)
    if not parts or not env.has_wrapper_attr(MASKS):
        return None
    said: Any = env.get_wrapper_attr(MASKS)()
    name = _name(env)
    try:
        mask = np.concatenate([np.ravel(part) for part in said]).astype(np.bool_)  # parts may differ in length
    except (TypeError, ValueError):
        raise TaskError(
            f"action_masks() of env '{name}' is {type(said).__name__}; {sum(parts)} values are needed"
        ) from None
    if mask.size != sum(parts):
        raise TaskError(f"action_masks() of env '{name}' has {mask.size} values; {sum(parts)} are needed")
    return mask


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
        """Reset the environment.

        Raises:
            TaskError: the observation does not fit the observation space.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        space = self.env.observation_space
        try:
            concatenate(space, [observation], create_empty_array(space, n=1))  # type: ignore[arg-type]
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise TaskError(
                f"env '{_name(self.env)}' gives an observation that does not fit its observation space "
                f"({' '.join(str(error).split())})"
            ) from None
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
