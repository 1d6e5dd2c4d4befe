"""A world whose pictures and rewards say which environment, episode and step they belong to: a shuffled batch shows."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.worlds.frames import FrameObservation

LIMIT = 5
SIZE = 4
NUM_ENVS = 3


class CountingWorld(gym.Env[Any, Any]):
    """Environment i, in every second episode, terminates after ``2 + i`` steps; else the time limit ends it."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, index: int, discrete: bool = True) -> None:
        self.index, self.episode, self.count = index, -1, 0
        self.observation_space = spaces.Box(-100, 100, (3,), np.float32)
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._state(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        terminated = self.episode % 2 == 1 and self.count == 2 + self.index
        return self._state(), 0.0, terminated, False, {"task_reward": 0.5 * self.count, "success": self.count % 2 == 0}

    def render(self) -> Any:
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        frame[0, 0] = self.index, self.episode % 256, self.count
        return frame

    def _state(self) -> Any:
        return np.array([self.index, self.episode % 8, self.count], np.float32) / 4


class Numbered(CountingWorld):
    """A counting world that takes its number from its seed, so that one function builds all of a pool."""

    def __init__(self) -> None:
        super().__init__(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.index = seed
        return super().reset(seed=seed)


def framed(every: int) -> gym.Env[Any, Any]:
    """Build a `Numbered` with its pictures; it stands here so that worker processes import no test file."""
    return FrameObservation(TimeLimit(Numbered(), LIMIT), SIZE, every)


class CountingReward:
    """Reads from a frame what `CountingWorld` wrote there."""

    name = "counting"
    frame_size = SIZE

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, frames: Any) -> Any:
        self.batches.append(len(frames))
        index, episode, count = frames[:, 0, 0].T.astype(np.float32)
        return (index + 0.125 * (episode % 4) + 0.01 * count).astype(np.float32)


def counting_pool(discrete: bool = True, every: int = 1, num_envs: int = NUM_ENVS) -> Any:
    def make(index: int) -> Any:
        return lambda: FrameObservation(TimeLimit(CountingWorld(index, discrete), LIMIT), SIZE, every)

    return SyncVectorEnv([make(index) for index in range(num_envs)], autoreset_mode=AutoresetMode.SAME_STEP)
