"""One environment, rewarded by a reward model."""

import contextlib
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.reward.memory import VectorStep, memory_of
from gym_vlmrm.reward.protocol import RewardModel, is_small, signals_of
from gym_vlmrm.reward.threads import on_one_thread
from gym_vlmrm.task.parts import PLAIN_SHOTS, Shots
from gym_vlmrm.worlds.cameras import take_pictures
from gym_vlmrm.worlds.frames import is_scored, refused_hindsight, turn_of
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.task_info import task_reward
from gym_vlmrm.wrappers.transitions import with_parts

__all__ = ["BuiltVLMReward", "VLMReward"]


class VLMReward(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces the reward of each step by the reward model's score of the frame that the step led to.

    ``info["task_reward"]`` (float64) keeps the environment's own reward, 0.0 after a reset. `render` shows the frame
    that the reward saw. Of a reward made of parts ``info["reward_parts"]`` has what each is worth now (float64), by
    name, and ``info["success_seen"]`` (numpy's bool) whether the judge itself sees the goal reached, if it was asked.
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
        self.training_steps: float = 0
        """Steps of training made, by which weights fade: whoever trains sets it, or ``inf`` for the last weights."""
        self._step = 0
        self._memory = memory_of(reward_model, 1)
        self._shots: Shots = getattr(reward_model, "shots", PLAIN_SHOTS)

    compute_reward = refused_hindsight

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and forget the held reward."""
        self._step = 0
        observation, info = self.env.reset(seed=seed, options=options)
        self._memory.begin(_FIRST, self._signals() if self._memory.begins else None, self.training_steps)
        return observation, self._with_parts({**info, "task_reward": np.float64(0.0)})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment; the reward is the reward model's.

        Raises:
            ModelError: the model cannot score the frame.
            RenderingError, WorldError: the environment cannot draw, or fails.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        own = task_reward(reward, type(self.env.unwrapped).__name__)
        self._step += 1
        scored = is_scored(self._step, self.every)
        signals = self._signals() if scored else _NONE
        step = VectorStep(
            np.array([scored]), signals, _YES, np.array([terminated]), np.array([own]), self.training_steps
        )
        paid = float(self._memory.step(step)[0])
        return observation, paid, terminated, truncated, self._with_parts({**info, "task_reward": np.float64(own)})

    def _signals(self) -> NDArray[np.float32]:
        """What the model tells of the present state, (1,) or (1, W)."""
        pictures = take_pictures(self.env, self._shots, turn_of(self._step, self.every))
        with on_one_thread() if is_small(self.reward_model) else contextlib.nullcontext():
            return signals_of(self.reward_model, np.asarray(pictures)[None])

    def _with_parts(self, info: dict[str, Any]) -> dict[str, Any]:
        return with_parts(info, self._memory, 0)


_FIRST = np.array([0])
_YES = np.array([True])
_NONE = np.zeros(0, np.float32)


class BuiltVLMReward(HiddenWrapper, VLMReward):
    """The `VLMReward` that an entry point applies: part of what the ID names."""
