"""The state of a world, stored and put into another one of the same task: both go on alike, pictures included."""

import enum
import pickle
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from thorough import sample

from gym_vlmrm.errors import RenderingError, TaskError, WorldError
from gym_vlmrm.task.spec import EnvSpec, TaskSpec
from gym_vlmrm.tensors import load_state, save_state
from gym_vlmrm.worlds.state import put_random_state, put_state, random_state, state_of
from gym_vlmrm.worlds.world import make_world

FAMILIES = ("classic_control", "toy_text", "mujoco")
GYMNASIUM = sorted(
    name
    for name, spec in gym.registry.items()
    if any(str(spec.entry_point).startswith(f"gymnasium.envs.{family}") for family in FAMILIES)
)


def made(env_id: str) -> Any:
    task = TaskSpec(id="Any/World-v0", env=EnvSpec(id=env_id), reward={"goal": "x", "model": "brightness"})  # type: ignore[arg-type]
    return make_world(task, render_size=16, limited=True, frames=True, every=2, verdicts=True)


def same(left: Any, right: Any) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_equal(one, other)


def go_on_alike(one: Any, other: Any) -> None:
    """Bring `one` somewhere, put `other` there, and compare what both do."""
    one.reset(seed=5)
    other.reset(seed=77)
    one.action_space.seed(0)
    actions = [one.action_space.sample() for _ in range(30)]
    for action in actions[:7]:
        if any(one.step(action)[2:4]):
            one.reset()
    state = pickle.loads(pickle.dumps(state_of(one)))
    assert state is not None
    other.world_state = state
    for action in actions[7:]:
        results = [world.step(action) for world in (one, other)]
        same(*results)
        np.testing.assert_array_equal(one.render(), other.render())
        if any(results[0][2:4]):
            same(one.reset(), other.reset())
    same(one.reset(), other.reset())
    np.testing.assert_array_equal(one.render(), other.render())


@pytest.mark.slow
@pytest.mark.parametrize("env_id", sample(GYMNASIUM, "Acrobot-v1", "Ant-v5", "FrozenLake-v1", "Reacher-v5"))
@pytest.mark.filterwarnings("ignore")
def test_gymnasiums_own_environments_go_on(env_id: str) -> None:
    try:
        worlds = made(env_id), made(env_id)
    except (RenderingError, TaskError) as error:
        pytest.skip(str(error))  # of versions that Gymnasium no longer brings, or that lack a package
    go_on_alike(*worlds)
    for world in worlds:
        world.close()


@pytest.mark.parametrize("env_id", ["Pusher-v5", "Taxi-v4", "Blackjack-v1"])
def test_a_sample_of_them(env_id: str) -> None:
    """Pusher's camera is aimed by the first picture; Taxi and Blackjack remember what was done and drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test_gymnasiums_own_environments_go_on(env_id)


class Own(gym.Env[Any, Any]):
    """A world that tells its own state: the very array that it goes on with."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space = spaces.Box(-9, 9, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, fault: str = "") -> None:
        self.render_mode, self.fault = render_mode, fault
        self.place = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place[:] = self.np_random.uniform(-1, 1, 2)
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += self.np_random.normal(0, 0.1, 2) + 0.1 * action
        return self.place.copy(), 0.0, False, False, {}

    def render(self) -> Any:
        return np.full((8, 8, 3), np.clip(100 + 50 * self.place[0], 0, 255), np.uint8)

    def get_state(self) -> Any:
        if self.fault == "refuses":
            raise NotImplementedError
        return {"place": object() if self.fault == "foreign" else self.place}

    def set_state(self, state: Any) -> None:
        if self.fault == "breaks":
            raise ZeroDivisionError("by me")
        self.place = state["place"]


def test_a_state_that_an_environment_tells_is_a_copy() -> None:
    one, other = Own(), Own()
    one.reset(seed=1)
    state = state_of(one)
    assert state is not None
    before = state["world"]["place"].copy()
    put_state(other, state)
    for env in (one, other):
        env.step(1)
    np.testing.assert_array_equal(state["world"]["place"], before)
    np.testing.assert_array_equal(one.place, other.place)


@pytest.mark.parametrize("fault", ["refuses", "foreign"])
def test_an_environment_that_cannot_tell_its_state_counts_as_foreign(fault: str) -> None:
    env = Own(fault=fault)
    env.reset(seed=1)
    assert state_of(env) is None


def test_an_environment_that_cannot_be_put_back_is_one_line() -> None:
    env = Own(fault="breaks")
    env.reset(seed=1)
    with pytest.raises(WorldError, match="ZeroDivisionError: by me"):
        put_state(env, state_of(env) or {})


class Point(NamedTuple):
    x: float


class Mode(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize(
    "place",
    [
        Point(1.0), Mode.A, Counter(a=1), np.str_("a"), np.longdouble(1), np.ma.masked_array([1.0], [True]),
        np.array([1.0], ">f4"), {np.str_("a"): 1}, 10**5000,
    ],
    ids=lambda place: type(place).__name__,
)  # fmt: skip
def test_what_would_come_back_as_something_else_is_no_state(place: Any) -> None:
    env = Own()
    env.reset(seed=1)
    env.place = place
    assert state_of(env) is None
    env.place = nested = [0]
    nested.append(nested)  # type: ignore[arg-type]
    assert state_of(env) is None


def test_a_generator_that_nobody_knows_is_no_state() -> None:
    env = Own()
    env.reset(seed=1)
    env._np_random = np.random.RandomState(1)  # type: ignore[assignment]
    assert state_of(env) is None


@pytest.mark.parametrize(("kind", "key"), [("MT19937", "pos"), ("Philox", "buffer_pos")])
@pytest.mark.parametrize("place", [-500_000_000, 700_000_000])
def test_a_generator_does_not_read_beyond_its_stock(kind: str, key: str, place: int) -> None:
    """Numpy would: the process ends with a segmentation fault."""
    generator = np.random.Generator(getattr(np.random, kind)(1))
    state = random_state(generator)
    put_random_state(generator, state)
    (state["state"] if key == "pos" else state)[key] = place
    with pytest.raises(ValueError, match=f"in the stock of {kind}"):
        put_random_state(generator, state)


def test_a_state_names_no_picture_elsewhere(tmp_path: Path) -> None:
    env = gym.make("Blackjack-v1")
    env.reset(seed=1)
    state = state_of(env)
    assert state is not None
    save_state(tmp_path / "a.safetensors", state)
    assert load_state(tmp_path / "a.safetensors") == state
    state["world"]["dealer_top_card_suit"] = "../../secret"
    with pytest.raises(WorldError, match="secret"):
        put_state(env, state)


class _OwnHopper(HopperEnv):
    """Somebody's own: nobody can know what it keeps beside MuJoCo."""


def test_of_somebodys_own_mujoco_world_only_physics_is_told_and_only_roughly() -> None:
    env = _OwnHopper(render_mode="rgb_array")
    env.reset(seed=3)
    for _ in range(5):
        env.step(env.action_space.sample())
    assert state_of(env) is None
    state = state_of(env, roughly=True)
    assert state is not None
    before = env._get_obs()
    env.step(env.action_space.sample())
    put_state(env, state, roughly=True)
    np.testing.assert_array_equal(env._get_obs(), before)
    with pytest.raises(WorldError):
        put_state(env, state)
    env.close()


class _Ball(gym.Env[Any, Any]):
    """Somebody's own, with MuJoCo below and nothing of Gymnasium's between, as the robots of Gymnasium-Robotics are."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(1)

    def __init__(self) -> None:
        fall = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
        self.model = mujoco.MjModel.from_xml_string(fall)
        self.data = mujoco.MjData(self.model)

    def step(self, action: Any) -> Any:
        mujoco.mj_step(self.model, self.data)
        return self.data.qpos[2:3].copy(), 0.0, False, False, {}


def test_of_a_world_that_has_mujoco_below_physics_is_told_roughly() -> None:
    env = _Ball()
    for _ in range(5):
        env.step(0)
    assert state_of(env) is None
    state = state_of(env, roughly=True)
    assert state is not None
    after = [env.step(0)[0] for _ in range(3)]
    put_state(env, state, roughly=True)
    np.testing.assert_array_equal([env.step(0)[0] for _ in range(3)], after)
