"""Random poses of Gymnasium's MuJoCo bodies, and which states an exploration keeps."""

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.worlds.anywhere import LIFT, put_anywhere
from gym_vlmrm.worlds.explore import Explorer

BODIES = ["Ant-v5", "HalfCheetah-v5", "Hopper-v5", "InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5"]


@pytest.mark.parametrize("name", BODIES)
def test_poses_differ_and_stand_in_no_floor(name: str) -> None:
    env: Any = gym.make(name, disable_env_checker=True)
    rng, poses = np.random.default_rng(0), []
    for _ in range(12):
        env.reset(seed=0)
        assert put_anywhere(env, rng)
        data = env.unwrapped.data
        assert np.isfinite(data.qpos).all()
        if name in ("Ant-v5", "HalfCheetah-v5", "Hopper-v5"):
            assert data.ncon == 0 or min(contact.dist for contact in data.contact) > -2 * LIFT
        poses.append(np.array(data.qpos))
    assert min(np.abs(a - b).max() for a, b in itertools.pairwise(poses)) > 1e-3
    env.reset(seed=0)
    put_anywhere(env, np.random.default_rng(0))
    np.testing.assert_array_equal(env.unwrapped.data.qpos, poses[0])  # equal draws, equal poses
    env.close()


def test_other_worlds_stay_as_they_are() -> None:
    env = gym.make("Pendulum-v1")
    before, _ = env.reset(seed=0)
    assert not put_anywhere(env, np.random.default_rng(0))
    np.testing.assert_array_equal(env.unwrapped._get_obs(), before)  # type: ignore[attr-defined]


def test_an_exploration_finds_a_cheetah_on_its_back() -> None:
    """Random play alone does not come there in as many frames."""
    task = load_task("cheetah-back")
    explorer = Explorer(task, task.captions, 16, 0)
    sights = explorer.explore(60)
    explorer.close()
    assert len(sights) == 60
    rule = task.success_rule
    assert rule is not None
    assert any(rule.holds(sight.quantities) for sight in sights)
