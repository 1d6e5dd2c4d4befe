"""Who acts: a trained policy, greedily, or chance."""

import copy
import os
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gym_vlmrm.learning.adapter import Adapter, check_fit
from gym_vlmrm.worlds.verdicts import action_mask, mask_parts

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Agent", "RandomAgent", "TrainedAgent", "live_agent"]


class Agent(Protocol):
    """Something that acts in N environments at once."""

    def restart(self) -> None:
        """Forget everything about the episodes so far."""

    def act(self, observations: Any, starts: NDArray[np.bool_], masks: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Return the environment's actions (N, ...) for N of its observations, batched as their space says.

        Args:
            observations: as a vector environment gives them.
            starts: (N,) marks the first observation of an episode.
            masks: (N, K) which actions are allowed, if the environment says so.

        Raises:
            TrainingError: an observation or an action is not finite.
        """
        ...


class RandomAgent:
    """Draws actions uniformly from the action space."""

    def __init__(self, action_space: spaces.Space[Any], num_envs: int, seed: int, *, masked: bool = False) -> None:
        """Draw for `num_envs` environments, if `masked` among allowed actions only."""
        self._spaces = [copy.deepcopy(action_space) for _ in range(num_envs)]
        self._seed, self._masked = seed, masked
        self.restart()

    def restart(self) -> None:
        """Begin the sequence of actions again."""
        for index, space in enumerate(self._spaces):
            space.seed(self._seed + index)

    def act(self, observations: Any, starts: NDArray[np.bool_], masks: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Return actions (N, ...)."""
        if self._masked and masks is not None:
            return np.array([_allowed(space, mask) for space, mask in zip(self._spaces, masks, strict=True)])
        return np.array([space.sample() for space in self._spaces])


def _allowed(space: Any, mask: NDArray[np.bool_]) -> Any:
    """Draw an action whose parts the mask allows; a part that allows nothing is drawn freely."""
    choices = np.split(mask, np.cumsum(mask_parts(space))[:-1])
    drawn = [space.np_random.choice(np.flatnonzero(part) if part.any() else len(part)) for part in choices]
    start = 0 if isinstance(space, spaces.MultiBinary) else space.start
    return (np.array(drawn).reshape(space.shape) + start).astype(space.dtype)


class TrainedAgent:
    """Acts greedily by an algorithm's policy."""

    def __init__(self, model: "BaseAlgorithm", adapter: Adapter, origin: str | os.PathLike[str] = "policy") -> None:
        """Act by a model in an environment of the adapter's spaces; `origin` is where the policy lies."""
        self.model, self.adapter, self.origin = model, adapter, origin
        self.masked = type(model).__name__ == "MaskablePPO"
        """Whether the policy asks which actions are allowed."""
        self._memory: Any = None

    def enter(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], env_id: str) -> None:
        """Act in an environment of these spaces from now on.

        Raises:
            RunError: the policy was trained for others.
            TrainingError: no policy can read such observations or take such actions.
        """
        adapter = Adapter(observation_space, action_space, env_id)
        check_fit(self.adapter, adapter, self.origin)
        self.adapter = adapter

    def restart(self) -> None:
        """Forget the memory of recurrent policies."""
        self._memory = None

    def act(self, observations: Any, starts: NDArray[np.bool_], masks: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Return actions (N, ...) for N observations; raises TrainingError where either is not finite."""
        actions, self._memory = self.predict(observations, self._memory, starts, masks)
        return actions

    def predict(
        self,
        observations: Any,
        memory: Any = None,
        starts: NDArray[np.bool_] | None = None,
        masks: NDArray[np.bool_] | None = None,
        *,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], Any]:
        """Return actions (N, ...) for N observations, and the memory of recurrent policies; raises as `act` does."""
        states: Any = self.adapter.states(observations)
        normalizer = self.model.get_vec_normalize_env()
        if normalizer is not None:
            states = normalizer.normalize_obs(states)
        options = {"action_masks": masks} if self.masked else {}
        actions, memory = self.model.predict(states, memory, starts, deterministic=deterministic, **options)
        return self.adapter.actions(actions), memory

    def act_alone(self, observation: Any, world: gym.Env[Any, Any]) -> Any:
        """Return the action for one observation of one environment that `enter` named."""
        mask = action_mask(world) if self.masked else None
        masks = None if mask is None else mask[None]
        return self.act(self.adapter.batch_of_one(observation), np.zeros(1, np.bool_), masks)[0]


def live_agent(model: "BaseAlgorithm") -> TrainedAgent:
    """The policy of an algorithm in training, with the normalisation as it stands."""
    env: Any = model.get_env()
    return TrainedAgent(model, env.unwrapped.adapter)
