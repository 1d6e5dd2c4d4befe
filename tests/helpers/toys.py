"""Worlds of every observation and action space, strict about the actions that they are given; see `toys:Toy-v0`."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

F4, F8 = np.float32, np.float64

OBSERVATIONS: dict[str, Any] = {
    "Box of float64": spaces.Box(-9, 9, (3,), F8),
    "Box ()": spaces.Box(0, 1, (), F4),
    "Box of int64": spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
    "Box of uint32": spaces.Box(0, 2**32 - 1, (2, 2), np.uint32),
    "Discrete from -2": spaces.Discrete(5, start=-2),
    "MultiDiscrete 2-D from 7": spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[7, 7], [7, 7]]),
    "MultiBinary 2-D": spaces.MultiBinary([2, 3]),
    "picture, channels last": spaces.Box(0, 255, (40, 44, 3), np.uint8),
    "picture, channels first": spaces.Box(0, 255, (3, 40, 44), np.uint8),
    "Tuple": spaces.Tuple([spaces.Discrete(4, start=1), spaces.Box(-1, 1, (2,), F8), spaces.MultiBinary(2)]),
    "Dict": spaces.Dict(
        {
            "observation": spaces.Box(-5, 5, (4,), F8),
            "eye": spaces.Box(0, 255, (40, 44, 3), np.uint8),
            "kind": spaces.Discrete(3, start=1),
            "inner": spaces.Dict({"a": spaces.Box(0, 1, (2,), F4), "b": spaces.Tuple([spaces.Discrete(2)])}),
        }
    ),
    "Dict of odd keys": spaces.Dict(
        {
            "slide cabinet": spaces.Box(-1, 1, (2,), F8),
            "a-b.c": spaces.Dict({"d": spaces.Box(-1, 1, (1,), F4)}),
        }
    ),
    "goal": spaces.Dict({key: spaces.Box(-5, 5, (3,), F8) for key in ("observation", "achieved_goal", "desired_goal")}),
    "words": spaces.Dict({"mission": spaces.Text(9), "x": spaces.Box(0, 1, (2,), F4)}),
    "sequence": spaces.Sequence(spaces.Discrete(3)),
}
ACTIONS: dict[str, Any] = {
    "Discrete": spaces.Discrete(4),
    "Discrete from 3": spaces.Discrete(4, start=3),
    "MultiDiscrete 2-D from 1": spaces.MultiDiscrete([[2, 3], [2, 2]], start=[[1, 1], [1, 1]]),
    "MultiBinary 2-D": spaces.MultiBinary([2, 2]),
    "Box": spaces.Box(-1, 1, (2,), F4),
    "Box of float64": spaces.Box(np.array([-0.001, 0.1]), np.array([0.001, 0.3]), (2,), F8),
    "Box of float16": spaces.Box(-0.1, 0.1, (2,), np.float16),
    "Box ()": spaces.Box(-2, 2, (), F4),
    "Box 2-D": spaces.Box(-2, 2, (2, 3), F4),
    "Box of int64": spaces.Box(0, 3, (2,), np.int64),
    "Box without bounds": spaces.Box(-np.inf, np.inf, (2,), F4),
    "Box without room": spaces.Box(np.zeros(2, F4), np.array([0, 1], F4), (2,), F4),
    "Dict": spaces.Dict({"a": spaces.Discrete(2)}),
}


class ToyWorld(gym.Env[Any, Any]):
    """Observations are drawn from the space; an action outside the space, or one that is forbidden, is an error."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        observation: str = "Box of float64",
        action: str = "Discrete",
        render_mode: str | None = None,
        broken_at: int | None = None,
        success: str = "",
        lies: bool = False,
    ) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observation], ACTIONS[action]
        self.render_mode, self.broken_at, self.success, self.count = render_mode, broken_at, success, 0
        self.lies = lies

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        given = np.asarray(action)
        space = self.action_space
        if isinstance(space, spaces.Box):
            assert (given.dtype, given.shape) == (space.dtype, space.shape)
            assert ((given >= space.low) & (given <= space.high)).all(), (action, space)
        else:
            assert space.contains(action), (action, space)
        self.count += 1
        info = {"success": SAID[self.success][self.count % 2]} if self.success else {}
        return self._observe(), float(self.count), False, False, info

    def render(self) -> Any:
        return np.full((8, 8, 3), 20 * (self.count % 10), np.uint8)

    def compute_reward(self, *_: Any) -> Any:
        raise AssertionError("rewards are made of frames")

    def _observe(self) -> Any:
        observation: Any = self.observation_space.sample()
        if self.lies:
            return np.zeros(17)
        if self.broken_at is not None and self.count == self.broken_at:
            observation = observation.copy()
            observation[1] = np.nan
        return observation


SAID: dict[str, Any] = {
    "text": ("no", "yes"),
    "arrays": (np.zeros(2), np.zeros((3, 1))),
    "mixed": (True, "no"),
    "always": (True, True),
}


class MaskedWorld(ToyWorld):
    """Allows one action at a time: the number of steps so far, part by part."""

    def action_masks(self) -> Any:
        assert self.count < 6, "asked after the end"
        space: Any = self.action_space
        numbers = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.ravel()
        return [np.arange(number) == self.count % number for number in numbers]

    def step(self, action: Any) -> Any:
        masks, start = self.action_masks(), getattr(self.action_space, "start", 0)
        for mask, choice in zip(masks, np.ravel(action - start), strict=True):
            assert mask[choice], "a forbidden action"
        return super().step(action)


gym.register("Toy-v0", "toys:ToyWorld", max_episode_steps=6)
gym.register("MaskedToy-v0", "toys:MaskedWorld", max_episode_steps=6)
