"""A world that does as it is told; its workers import nothing else that takes time."""

import os
import time
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

__all__ = ["LATE", "SLOW", "Echo", "actions"]

SLOW, LATE = 8, 9
"""Actions: take a moment; sleep for longer than any test waits."""


def actions(number: int) -> Any:
    """Return the same action for two environments."""
    return np.array([number, number])


class Echo(gym.Env[Any, Any]):
    """The reward is the action, which may also ask to be slow."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 99, (1,), np.float32)
        self.action_space = spaces.Discrete(10)
        self.mood = "good"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if options and "reset_mask" not in options:
            raise ValueError(f"no such option: {list(options)}")
        self.drawn = int(self.np_random.integers(99))
        return np.array([self.drawn], np.float32), {}

    def step(self, action: Any) -> Any:
        time.sleep({SLOW: 0.5, LATE: 600}.get(int(action), 0))
        return np.array([action], np.float32), float(action), False, False, {}

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def fail(self) -> None:
        raise LookupError("lost the keys")

    def whatever(self, thing: Any) -> Any:
        return thing
