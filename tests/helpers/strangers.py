"""Environments that other people might have written, well or badly; ``strangers:Name-v0`` works in worker processes."""

import functools
import signal
from collections import deque
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv

SIDE = 24


class Fine(gym.Env[Any, Any]):
    """Behaves well; what it returns can be chosen."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        render_mode: str | None = None,
        reward: Any = 0.5,
        info: Any = None,
        picture: str = "moving",
        truncate_after: int = 0,
    ) -> None:
        self.render_mode, self.picture, self.truncate_after = render_mode, picture, truncate_after
        self.reward, self.info = reward, {} if info is None else info
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.count = self.resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count, self.resets = 0, self.resets + 1
        return self.observe(), {}

    def observe(self) -> Any:
        return np.array([self.count % 7 / 7, self.resets % 5 / 5], np.float32)

    def step(self, action: Any) -> Any:
        self.count += 1
        truncated = 0 < self.truncate_after <= self.count
        return self.observe(), self.reward, False, truncated, dict(self.info)

    def render(self) -> Any:
        if self.picture == "empty":
            return np.zeros((0, SIDE, 3), np.uint8)
        if self.picture == "strip":
            return np.zeros((1, 50_000, 3), np.uint8)
        frame = np.zeros((SIDE, SIDE, 3), np.uint8)
        if self.picture in ("moving", "still"):
            frame[: SIDE // 2] = 200
        if self.picture == "moving":
            frame[self.count % SIDE] = 255
        return frame


class Clumsy(Fine):
    """Fails where it is told to."""

    def __init__(
        self, render_mode: str | None = None, fail: str = "", error: type[BaseException] = RuntimeError
    ) -> None:
        super().__init__(render_mode)
        self.fail, self.error = fail, error
        self._maybe("init")
        if fail == "spaces":
            self.action_space = None  # type: ignore[assignment]

    def _maybe(self, place: str) -> None:
        if self.fail == place:
            raise self.error("the wheel\n  came off")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._maybe("reset")
        return super().reset(seed=seed) if self.fail != "old reset" else self.observe()

    def step(self, action: Any) -> Any:
        self._maybe("step")
        result = super().step(action)
        return result if self.fail != "old step" else (*result[:2], False, {})

    def render(self) -> Any:
        self._maybe("render")
        return super().render()

    def close(self) -> None:
        self._maybe("close")

    def action_masks(self) -> Any:
        self._maybe("masks")
        return np.ones(2, bool)


class Outcast(BaseException):
    """No Exception."""


class Alarm(Exception):
    """Sounds when it is made: whoever has set a handler hears it within the environment."""

    def __init__(self, *words: str) -> None:
        super().__init__(*words)
        signal.raise_signal(signal.SIGALRM)


class Odd(Fine):
    """Well until its fourth step; then one of its answers, named by what is odd about it, is another."""

    def __init__(
        self,
        render_mode: str | None = None,
        space: str = "Box",
        observation: str = "",
        ended: str = "",
        masks: str = "",
        at: int = 4,
    ) -> None:
        super().__init__(render_mode)
        self.observation_space = SPACES[space]
        self.space, self.odd, self.ended, self.at = space, observation, ended, at
        if masks:
            self.action_masks = MASKS[masks]

    def observe(self) -> Any:
        if self.odd and self.count >= self.at:
            return SEEN[self.odd]
        self.observation_space.seed(self.count)
        return self.observation_space.sample()

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        if not self.ended:
            return observation, reward, False, False, info
        return observation, reward, *ENDS[self.ended](self.count >= self.at), info


def _refuse() -> Any:
    raise RuntimeError("no\n masks")


SPACES: dict[str, Any] = {
    "Box": spaces.Box(-1, 1, (2,), np.float32),
    "Dict": spaces.Dict(a=spaces.Box(-1, 1, (2,), np.float32), b=spaces.Discrete(3)),
    "Tuple": spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(3)]),
    "MultiBinary": spaces.MultiBinary(3),
    "no Tuple": spaces.Tuple([]),
    "no Dict": spaces.Dict({}),
    "no Box": spaces.Box(-1, 1, (0,), np.float32),
    "nothing deep": spaces.Dict(a=spaces.Tuple([spaces.Tuple([]), spaces.Discrete(2)]), b=spaces.Discrete(2)),
    "some nothing": spaces.Dict(a=spaces.Box(-1, 1, (2, 0), np.float32), b=spaces.Box(-1, 1, (2,), np.float32)),
    "odd keys": spaces.Dict(
        {
            "a.b": spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)]),
            "pop": spaces.Discrete(3),
            "": spaces.Box(-1, 1, (2,), np.float64),
            "fine": spaces.Box(0, 255, (40, 40, 3), np.uint8),
        }
    ),
    "numbered": spaces.Dict({1: spaces.Discrete(3), 2: spaces.Box(-1, 1, (2,), np.float32)}),
    "mixed keys": spaces.Dict({1: spaces.Discrete(3), "1": spaces.Box(-1, 1, (2,), np.float32)}),
    "keys of tuples": spaces.Dict({(1, 2): spaces.Discrete(3)}),
}
SEEN: dict[str, Any] = {
    "None": None,
    "word": "hello",
    "list": [0.25, -0.5],
    "floats": np.array([0.25, -0.5], np.float64),
    "shape": np.zeros(3, np.float32),
    "ragged": [[0.1], [0.1, 0.2]],
    "complex": np.zeros(2, complex),
    "masked": np.ma.masked_array([0.1, 0.2], [False, True]),
    "key": {"a": np.zeros(2, np.float32)},
    "more keys": {"b": 1, "a": np.zeros(2, np.float32), "c": "more"},
    "part": {"a": np.zeros((2, 1), np.float32), "b": 1},
    "fraction": {"a": np.zeros(2, np.float32), "b": 1.5},
    "short": (1,),
    "fives": np.array([5, 0, 1], np.int8),
    "deep fives": (1, np.array([5, 0, 1], np.int8)),
    "deep seven": (7, np.array([1, 0, 1], np.int8)),
}
ENDS: dict[str, Any] = {
    "arrays": lambda end: (np.array([False]), np.array([end])),
    "lists": lambda end: ([False], [end]),
    "numpy": lambda end: (np.bool_(False), np.bool_(end)),
    "numbers": lambda end: (0, float(end)),
    "words": lambda end: ("False", "False"),
    "two": lambda end: (np.array([False, True]), False),
    "None": lambda end: (None, end),
    "count": lambda end: (False, 2),
}
MASKS: dict[str, Any] = {
    "array": np.array([True, False]),
    "raises": _refuse,
    "partial": functools.partial(_refuse),
    "dict": lambda: {"a": 1, "b": 2},
    "None": lambda: None,
    "long": lambda: [True, False, True],
    "words": lambda: ["True", "False"],
    "logits": lambda: [0.0, -np.inf],
    "numbers": lambda: [1, 0.0],
}


class BareAssert(Fine):
    def __init__(self, render_mode: str | None = None) -> None:
        assert render_mode is None


class NoAsset(Fine):
    def __init__(self, render_mode: str | None = None) -> None:
        open("/nowhere/scene.xml")  # noqa: SIM115


class WrongVersion(Fine):
    def __init__(self, render_mode: str | None = None) -> None:
        raise ImportError("mujoco 2.1.0 is needed, but 4.0.0 is installed")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


class Silent(Fine):
    def __init__(self, render_mode: str | None = None) -> None:
        raise Mute


class Holder(gym.Env[Any, Any]):
    """Holds a MuJoCo environment, as PointMaze does."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}
    inner: ClassVar[Any] = ReacherEnv

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.kept = self.keep(self.inner(render_mode=render_mode))
        self.observation_space = self.get().observation_space
        self.action_space = self.get().action_space

    def keep(self, env: Any) -> Any:
        return env

    def get(self) -> Any:
        return self.kept

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.get().reset(seed=seed)

    def step(self, action: Any) -> Any:
        return self.get().step(action)

    def render(self) -> Any:
        return self.get().render()

    def close(self) -> None:
        self.get().close()


class DeepHolder(Holder):
    """The same inside wrappers, a dict and an object that is no environment."""

    class Simulation:
        def __init__(self, env: Any) -> None:
            self.parts = {"robot": [gym.wrappers.OrderEnforcing(env)]}

    def keep(self, env: Any) -> Any:
        return self.Simulation(env)

    def get(self) -> Any:
        return self.kept.parts["robot"][0]


class LateHolder(Holder):
    """Makes a new simulation at every reset."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.kept.close()
        self.kept = self.inner(render_mode=self.render_mode)
        return super().reset(seed=seed)


class LazyHolder(Holder):
    """Makes its renderer for the first picture."""

    def render(self) -> Any:
        if not hasattr(self, "artist"):
            self.artist = MujocoRenderer(self.kept.model, self.kept.data, None, 32, 32)
        return self.artist.render("rgb_array")


class TwoArtists(Holder):
    """Draws in `step` already, as environments do that observe pictures; by two renderers."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.other = InvertedPendulumEnv(render_mode=render_mode)
        self.seen: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.other.reset(seed=seed)
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        result = super().step(action)
        self.seen = np.concatenate([self.kept.render(), self.other.render()])  # type: ignore[list-item]
        return result

    def render(self) -> Any:
        return self.seen


class Slot:
    __slots__ = ("env",)

    def __init__(self, env: Any) -> None:
        self.env = env

    def give(self) -> Any:
        return self.env


class OddHolder(Holder):
    """Keeps it where no attribute is; the ways are those of `WAYS`."""

    in_class: ClassVar[dict[str, Any]] = {}

    def __init__(self, render_mode: str | None = None, way: str = "slot") -> None:
        self.way = way
        super().__init__(render_mode)

    def keep(self, env: Any) -> Any:
        return WAYS[self.way](env)

    def get(self) -> Any:
        return self.kept()


def _many(env: Any) -> Any:
    grid = {i: {j: {k: {} for k in range(12)} for j in range(12)} for i in range(12)}
    chain = Slot(Slot(Slot(env)))
    return lambda: (grid, chain.env.env.env)[1]


def _in(container: Any, key: Any) -> Any:
    return lambda: container[key]


def _in_class(env: Any) -> Any:
    OddHolder.in_class["env"] = env
    return lambda: OddHolder.in_class["env"]


def _in_module(env: Any) -> Any:
    globals()["KEPT"] = env
    return lambda: globals()["KEPT"]


def _in_set(env: Any) -> Any:
    kept = {env}
    return lambda: next(iter(kept))


WAYS: dict[str, Any] = {
    "slot": lambda env: Slot(env).give,
    "deque": lambda env: _in(deque([env]), 0),
    "big dict": lambda env: _in({**{f"p{i}": i for i in range(20)}, "env": env}, "env"),
    "big list": lambda env: _in([*({"cell": i} for i in range(20)), env], -1),
    "set": _in_set,
    "closure": lambda env: lambda: env,
    "many": _many,
    "partial": lambda env: partial(lambda kept: kept, env),
    "class": _in_class,
    "module": _in_module,
}


def made_by_a_function(**kwargs: Any) -> Any:
    return gym.wrappers.OrderEnforcing(InvertedPendulumEnv(**kwargs))


ALL: dict[str, Any] = {
    "Fine-v0": Fine,
    "Clumsy-v0": Clumsy,
    "Odd-v0": Odd,
    "BareAssert-v0": BareAssert,
    "NoAsset-v0": NoAsset,
    "WrongVersion-v0": WrongVersion,
    "Silent-v0": Silent,
    "Holder-v0": Holder,
    "DeepHolder-v0": DeepHolder,
    "LateHolder-v0": LateHolder,
    "LazyHolder-v0": LazyHolder,
    "TwoArtists-v0": TwoArtists,
    "OddHolder-v0": OddHolder,
    "ByFunction-v0": made_by_a_function,
}
for _name, _class in ALL.items():
    if _name not in gym.registry:
        # As text: worker processes learn of all that is registered, and would import MuJoCo for each of these.
        gym.register(_name, f"strangers:{_class.__name__}", max_episode_steps=20)
