"""Infos of Gymnasium's MuJoCo environments with the same keys always, and numpy's numbers."""

from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.worlds.hidden import HiddenWrapper

__all__ = ["SteadyInfo"]


class SteadyInfo(HiddenWrapper):
    """Adds to a reset's ``info`` what only a step brings there, as 0.0: many libraries want the same keys always."""

    counters = ()

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment of Gymnasium's own that nobody has reset yet; one step of it shows the keys."""
        super().__init__(env)
        bare = env.unwrapped
        bare.reset(seed=0)
        self._keys = tuple(_of_numpy(bare.step(np.zeros(bare.action_space.shape, bare.action_space.dtype))[4]))
        bare._np_random, bare._np_random_seed = None, None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**dict.fromkeys(self._keys, np.float64(0.0)), **_of_numpy(info)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, _of_numpy(info)


def _of_numpy(info: dict[str, Any]) -> dict[str, Any]:
    return {key: np.float64(value) if isinstance(value, float | int) else value for key, value in info.items()}
