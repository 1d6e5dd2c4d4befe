"""One environment, rewarded by a reward model."""

import contextlib
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.reward.protocol import RewardModel, score
from gym_vlmrm.reward.threads import on_one_thread
from gym_vlmrm.worlds.frames import is_scored, refused_hindsight
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.task_info import task_reward

__all__ = ["BuiltVLMReward", "VLMReward"]


class VLMReward(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the reward of each step by the reward model's score of the frame that the step led to.

    ``info["task_reward"]`` (float64) keeps the environment's own reward, 0.0 after a reset. `render` shows the frame
    that the reward saw.
    """

    def __init__(self, env: gym.Env[Any, Any], reward_model: RewardModel, every: int = 1) -> None:
        """Wrap an environment whose `render` returns uint8 RGB frames (H, W, 3).

        Args:
            env: the environment; its render mode must be ``rgb_array``.
            reward_model: scores frames.
            every: score every k-th frame of an episode and hold the reward in between.
        """
        super().__init__(env)
        self.reward_model = reward_model
        self.every = every
        self._step = 0
        self._held = 0.0

    compute_reward = refused_hindsight

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and forget the held reward."""
        self._step, self._held = 0, 0.0
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "task_reward": np.float64(0.0)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; the reward is the reward model's.

        Raises:
            ModelError: the model cannot score the frame.
            RenderingError, WorldError: the environment cannot draw, or fails.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "task_reward": np.float64(task_reward(reward, type(self.env.unwrapped).__name__))}
        self._step += 1
        if is_scored(self._step, self.every):
            frames = np.asarray(self.env.render())[None]  # (1, H, W, 3)
            with on_one_thread() if getattr(self.reward_model, "small", False) else contextlib.nullcontext():
                self._held = float(score(self.reward_model, frames)[0])
        return observation, self._held, terminated, truncated, info


class BuiltVLMReward(HiddenWrapper, VLMReward):
    """The `VLMReward` that an entry point applies: part of what the ID names."""
