"""Who acts: a trained policy, greedily, or chance."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Agent", "RandomAgent", "TrainedAgent", "live_agent"]


class Agent(Protocol):
    """Something that acts in N environments at once."""

    def restart(self) -> None:
        """Forget everything about the episodes so far."""

    def act(self, states: NDArray[Any], starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Return actions (N, ...) for states (N, ...); `starts` (N,) marks the first state of an episode."""
        ...


class RandomAgent:
    """Draws actions uniformly from the action space."""

    def __init__(self, action_space: spaces.Space[Any], num_envs: int, seed: int) -> None:
        self._spaces = [copy.deepcopy(action_space) for _ in range(num_envs)]
        self._seed = seed
        self.restart()

    def restart(self) -> None:
        """Begin the sequence of actions again."""
        for index, space in enumerate(self._spaces):
            space.seed(self._seed + index)

    def act(self, states: NDArray[Any], starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Return actions (N, ...)."""
        return np.array([space.sample() for space in self._spaces])


class TrainedAgent:
    """Acts greedily by an algorithm's policy."""

    def __init__(self, model: "BaseAlgorithm", normalize: Callable[[NDArray[Any]], NDArray[Any]] | None = None) -> None:
        self.model = model
        self.normalize = normalize
        self._memory: Any = None

    def restart(self) -> None:
        """Forget the memory of recurrent policies."""
        self._memory = None

    def act(self, states: NDArray[Any], starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Return actions (N, ...) for states (N, ...) as the environment gives them."""
        seen = states if self.normalize is None else self.normalize(states)
        actions, self._memory = self.model.predict(seen, self._memory, starts, deterministic=True)
        return actions


def live_agent(model: "BaseAlgorithm") -> TrainedAgent:
    """The policy of an algorithm in training, with the normalisation as it stands."""
    normalizer: Any = model.get_vec_normalize_env()
    return TrainedAgent(model, None if normalizer is None else normalizer.normalize_obs)
