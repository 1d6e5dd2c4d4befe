"""Worlds whose episodes go on, and whose infos have the same keys always."""

from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.worlds.world import make_world


def task(**env: Any) -> Any:
    return task_from_dict(
        {"id": "Test/Mine-v0", "env": env, "reward": {"goal": "x", "model": "brightness"}, "success": "obs[1] > 9"}
    )


def test_an_episode_goes_on_after_the_environments_own_end() -> None:
    ends = []
    for terminate in (True, False):
        world = make_world(task(id="InvertedPendulum-v5", terminate=terminate, max_episode_steps=40), render_size=32)
        world.reset(seed=0)
        ends.append([bool(world.step(np.array([3.0], np.float32))[2]) for _ in range(40)])
        world.close()
    assert any(ends[0])
    assert not any(ends[1])


def test_what_is_not_written_is_not_told() -> None:
    assert "terminate" not in task(id="Ant-v5").model_dump()["env"]
    assert task(id="Ant-v5", terminate=False).model_dump()["env"]["terminate"] is False


def test_infos_of_mujoco_environments_have_the_same_keys_always() -> None:
    world, plain = make_world(task(id="Hopper-v5"), render_size=32), gym.make("Hopper-v5")
    first, info = world.reset(seed=3)
    np.testing.assert_array_equal(first, plain.reset(seed=3)[0])  # the look ahead leaves no trace
    action = np.full(3, 0.5, np.float32)
    observation, reward, _, _, later = world.step(action)
    expected = plain.step(action)
    np.testing.assert_array_equal(observation, expected[0])
    assert reward == expected[1]
    assert info.keys() == later.keys() == {*expected[4], "task_reward", "success"}
    assert all(isinstance(value, np.generic | np.ndarray) for value in [*info.values(), *later.values()])
    world.close()
    plain.close()


def test_seeds_are_drawn_anew_where_none_is_given() -> None:
    states = []
    for _ in range(2):
        world = make_world(task(id="Hopper-v5"), render_size=32)
        states.append(world.reset()[0])
        world.close()
    assert np.abs(states[0] - states[1]).max() > 0
