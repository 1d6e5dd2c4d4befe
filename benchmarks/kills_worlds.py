"""A world that cannot tell its state: what `kills.py` trains in to see that it begins anew by rule."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["Foreign"]


class Foreign(gym.Env[NDArray[np.float32], int]):
    """A dot on a line that noise and actions push; it is drawn as a bar."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._place = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Put the dot somewhere near the middle."""
        super().reset(seed=seed)
        self._place = float(self.np_random.uniform(-1, 1))
        return self._observation(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Push the dot; the episode ends where it leaves the picture."""
        self._place += (2 * int(action) - 1) * 0.2 + float(self.np_random.normal(0, 0.1))
        return self._observation(), -abs(self._place), abs(self._place) > 3, False, {}

    def action_masks(self) -> NDArray[np.bool_]:
        """Forbid to leave the picture."""
        return np.array([self._place > -2.5, self._place < 2.5])

    def _observation(self) -> NDArray[np.float32]:
        return np.array([self._place, np.sin(self._place)], np.float32)

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """Draw a white bar."""
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:, : int(np.clip(32 + 10 * self._place, 0, 64))] = 255
        return picture


gym.register("Foreign-v0", Foreign)
