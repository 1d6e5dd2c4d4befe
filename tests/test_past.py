"""Rules that look at the states before: over resets, in every autoreset mode, after a state is put back."""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from gym_vlmrm.errors import TaskError, WorldError
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.past import LONGEST, LookBack, look_back
from gym_vlmrm.task.rules import Comparison, parse_rule, quantity_names
from gym_vlmrm.worlds.continuing import Continuing
from gym_vlmrm.worlds.description import describe_world
from gym_vlmrm.worlds.explore import Explorer
from gym_vlmrm.worlds.past import Remembering
from gym_vlmrm.worlds.scene import can_pose
from gym_vlmrm.worlds.state import put_state, state_of
from gym_vlmrm.worlds.world import make_world, make_worlds

LIMIT = 7
RULE = {
    "any": ["mean(obs[1], 4) > 0.0006", {"all": ["span(car_position, 3) > 0.002", "max(obs[1], 6) < 0", "obs[0] < 0"]}]
}


def task(success: Any = RULE, env: str = "MountainCarContinuous-v0") -> Any:
    written = {
        "id": "Test/Past-v0",
        "env": {"id": env, "max_episode_steps": LIMIT},
        "reward": {"goal": "x", "model": "brightness"},
        "success": success,
    }
    return task_from_dict(written)


def by_hand(seen: Sequence[Any]) -> bool:
    """What `RULE` says of the observations of an episode so far, in plain Python."""
    padded = [seen[0]] * 10 + list(seen)
    speeds, places = [float(row[1]) for row in padded], [float(row[0]) for row in padded]
    last = places[-3:]
    away = max(last) - min(last) > 0.002 and max(speeds[-6:]) < 0 and places[-1] < 0
    return sum(speeds[-4:]) / 4 > 0.0006 or away


# Words ----------------------------------------------------------------------------------------------------------------


def test_a_name_is_read_however_it_is_spaced() -> None:
    rule = parse_rule(" mean( obs[1] ,33 )>=45")
    assert rule == Comparison("mean(obs[1], 33)", ">=", 45.0)
    assert look_back("mean(obs[1], 33)") == LookBack("mean", "obs[1]", 33)
    assert [look_back(name) for name in quantity_names(parse_rule("mean > 1"))] == [None]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mean(x) > 1", "write 'name op number'"),
        ("median(x, 3) > 1", "'mean\\(name, states\\)', and so with min, max and span"),
        ("mean(mean(x, 2), 2) > 1", "is no comparison"),
        ("mean(x, -3) > 1", "is no comparison"),
        ("mean(x, 1) > 1", "looks at 1 states; from 2 to 1,000"),
        (f"mean(x, {LONGEST + 1}) > 1", "looks at 1,001 states"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(source: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rule(source)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), st.integers(2, 12))
def test_numbers_of_several_states(values: list[float], states: int) -> None:
    seen = ([values[0]] * states + values)[-states:]
    column = np.array(values)
    assert LookBack("mean", "x", states).of(column) == pytest.approx(sum(seen) / states, abs=1e-6)
    assert LookBack("min", "x", states).of(column) == min(seen)
    assert LookBack("max", "x", states).of(column) == max(seen)
    assert LookBack("span", "x", states).of(column) == max(seen) - min(seen)


def test_numbers_that_are_none_warn_nobody() -> None:
    assert np.isnan(LookBack("mean", "x", 3).of(np.array([np.inf, -np.inf])))
    assert np.isnan(LookBack("span", "x", 3).of(np.array([np.inf, np.inf])))


def test_a_picture_shows_nothing_of_what_was_before() -> None:
    written = task().model_dump(exclude_unset=True)
    with pytest.raises(TaskError, match="which a picture does not show") as caught:
        task_from_dict({**written, "captions": [{"say": "fast", "when": "mean(car_velocity, 3) > 0"}]})
    assert "\n" not in str(caught.value)


def test_an_unknown_quantity_is_found_where_it_stands() -> None:
    with pytest.raises(TaskError, match="reads 'car_sped', which this environment does not have") as caught:
        make_world(task({"all": ["obs[0] < 9", "mean(car_sped, 3) > 0"]}), render_size=16)
    assert caught.value.field == ("success", "all", 1)


# Worlds ---------------------------------------------------------------------------------------------------------------


def test_a_world_whose_rule_looks_at_one_state_remembers_nothing() -> None:
    world: Any = make_world(task("obs[0] > 0"), render_size=16)
    while isinstance(world, gym.Wrapper):
        assert not isinstance(world, Remembering)
        world = world.env


def test_no_single_state_is_a_success_of_such_a_rule() -> None:
    assert can_pose(task("car_position > 0"))
    assert not can_pose(task("mean(car_position, 2) > 0"))
    explorer = Explorer(task("mean(car_position, 2) > -9"), [], 16, 0)
    assert not explorer.can_pose
    assert all(sight.success for sight in explorer.follow(lambda _: np.array([1.0], np.float32), 3, 2))
    explorer.close()


def test_one_world_judges_each_episode_by_itself() -> None:
    world = make_world(task(), render_size=16, limited=True)
    verdicts = []
    for episode in range(3):
        observation, info = world.reset(seed=episode)
        seen = [observation]
        assert info["success"] == by_hand(seen)
        for step in range(LIMIT):
            observation, _, _, truncated, info = world.step(np.array([(-1.0) ** episode], np.float32))
            seen.append(observation)
            assert info["success"] == by_hand(seen), (episode, step)
            read = world.get_wrapper_attr("read_quantities")(observation, info)  # asking again changes nothing
            assert read["mean(obs[1], 4)"] == pytest.approx(np.mean(([seen[0][1]] * 4 + [o[1] for o in seen])[-4:]))
            verdicts.append(bool(info["success"]))
        assert truncated
    world.close()
    assert 0 < sum(verdicts) < len(verdicts)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_worlds_of_a_pool_judge_each_episode_by_itself(mode: AutoresetMode) -> None:
    envs = make_worlds(task(), 2, render_size=16, frames=False, workers=1, autoreset_mode=mode)
    observations, infos = envs.reset(seed=3)
    seen = [[row.copy()] for row in observations]
    assert list(infos["success"]) == [by_hand(rows) for rows in seen]
    ended, verdicts = np.zeros(2, np.bool_), []
    for step in range(3 * LIMIT):
        actions = np.array([[1.0], [-1.0 if step < 10 else 1.0]], np.float32)
        observations, _, terminated, truncated, infos = envs.step(actions)
        begun, ended = ended & (mode is AutoresetMode.NEXT_STEP), terminated | truncated
        if mode is AutoresetMode.SAME_STEP and ended.any():
            for row in np.flatnonzero(ended):
                assert infos["final_info"]["success"][row] == by_hand([*seen[row], infos["final_obs"][row]])
            begun = ended
        for row in range(2):
            seen[row] = [observations[row].copy()] if begun[row] else [*seen[row], observations[row].copy()]
        assert list(infos["success"]) == [by_hand(rows) for rows in seen], step
        verdicts += list(infos["success"])
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, infos = envs.reset(options={"reset_mask": ended.copy()})
            for row in np.flatnonzero(ended):
                seen[row] = [observations[row].copy()]
                assert infos["success"][row] == by_hand(seen[row])
    envs.close()
    assert 0 < sum(verdicts) < len(verdicts)


def test_a_state_that_is_put_back_brings_its_past() -> None:
    world = make_world(task(), render_size=16, limited=True)
    observation, _ = world.reset(seed=0)
    seen = [observation]
    for _ in range(4):
        seen.append(world.step(np.array([1.0], np.float32))[0])
    state = state_of(world)
    assert state is not None
    for other in (make_world(task(), render_size=16, limited=True), world):
        other.reset(seed=9)
        other.step(np.array([-1.0], np.float32))
        put_state(other, state)
        observation, _, _, _, info = other.step(np.array([1.0], np.float32))
        assert info["success"] == by_hand([*seen, observation])
        kept = [[row[1], row[0]] for row in [*seen, observation]][-6:]
        np.testing.assert_allclose(other.get_wrapper_attr("past"), kept, rtol=1e-6)
    for layer in state["layers"]:
        if "past" in layer:
            layer["past"] = np.zeros((LONGEST, 2))
    with pytest.raises(WorldError, match="is not that of such a world"):
        put_state(world, state)
    world.close()


def test_an_episode_that_goes_on_keeps_its_past() -> None:
    world = make_world(task(), render_size=16, limited=True, verdicts=True, wrap=Continuing)
    observation, _ = world.reset(seed=1)
    seen, truncated = [observation], False
    while not truncated:
        observation, _, _, truncated, _ = world.step(np.array([1.0], np.float32))
        seen.append(observation)
    world.reset()
    world.set_wrapper_attr("goes_on", True)
    for _ in range(3):
        observation, _, _, _, info = world.step(np.array([1.0], np.float32))
        seen.append(observation)
        assert info["success"] == by_hand(seen)
    world.close()


class Counting(gym.Env[Any, Any]):
    """Tells its step in ``info``, and nothing after a reset."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.count = render_mode, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return 0, 0.0, False, False, {"count": self.count} if action else {}

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)


def test_what_only_steps_tell_is_remembered_from_the_first_step() -> None:
    gym.register("Test/Counting-v0", Counting)
    try:
        asked = task("mean(info.count, 3) > 1.5", "Test/Counting-v0")
        world = make_world(asked, render_size=4)
        _, info = world.reset(seed=0)
        verdicts = [bool(info["success"])] + [bool(world.step(1)[4]["success"]) for _ in range(4)]
        assert verdicts == [False, False, False, True, True]  # means 1, 4/3, 2, 3
        with pytest.raises(TaskError, match=r"reads 'info\.count', which a step's info lacks"):
            world.step(0)
        assert describe_world(asked).success is None
    finally:
        gym.registry.pop("Test/Counting-v0")
