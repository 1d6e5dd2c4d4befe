"""Verdicts: quantities mean what they say, rules hold where they should and nowhere else, and end with the episode."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from each_world import ONE_OF_EACH_WORLD
from make_pictures import MORE_POSES

from gym_vlmrm.task.catalog import builtin_tasks, load_task
from gym_vlmrm.task.rules import Rule
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.humanoid.quantities import QUANTITIES
from gym_vlmrm.worlds.poses.poses import GOAL_POSES, reference_pose
from gym_vlmrm.worlds.world import make_world

POSED = [name for name, task in builtin_tasks().items() if task.env.id == "Humanoid-v5" and not task.reward.sees_films]
OTHER_POSES = [
    ("squatting", "down"), ("half_kneeling", "down"), ("sitting_legs_forward", "down"), ("all_fours", "down"),
    ("plank", "down"), ("lying_back", "down"), ("lying_front", "down"), ("lying_side", "down"), ("handstand", "down"),
    ("bending_forward", "down"), ("jumping", "down"), ("bridge", "down"),
]  # fmt: skip


def rule(name: str) -> Rule:
    found = load_task(name).success_rule
    assert found is not None
    return found


@pytest.fixture(scope="module")
def humanoid() -> Any:
    env = HumanoidScene(render_size=32)
    env.reset(seed=0)
    yield env
    env.close()


def judge(env: HumanoidScene, qpos: np.ndarray) -> dict[str, float]:
    env.set_state(np.asarray(qpos), np.zeros(env.model.nv))
    return env.quantities()


def test_every_humanoid_task_of_a_pose_has_a_reference_pose() -> None:
    assert set(POSED) == GOAL_POSES.keys() | MORE_POSES.keys()


@pytest.mark.parametrize("name", MORE_POSES)
def test_a_pose_that_is_none_of_the_papers_fulfils_its_rule_and_no_other(humanoid: HumanoidScene, name: str) -> None:
    values = judge(humanoid, reference_pose(*MORE_POSES[name]))
    holding = {other for other in POSED if rule(other).holds(values)}
    assert holding == {name} | ({"kneeling"} if name == "heel-sitting" else set())


@pytest.mark.parametrize("name", GOAL_POSES)
def test_a_pose_fulfils_its_own_rule_and_only_that(humanoid: HumanoidScene, name: str) -> None:
    values = judge(humanoid, reference_pose(*GOAL_POSES[name]))
    holding = {other for other in GOAL_POSES if rule(other).holds(values)}
    standing = {"standing"} if GOAL_POSES[name][0] == "standing" else set()
    assert holding == {name} | standing


@pytest.mark.parametrize("name", GOAL_POSES)
def test_a_pose_fulfils_its_rule_with_noise_in_the_joints(humanoid: HumanoidScene, name: str) -> None:
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(40):
        qpos = np.array(reference_pose(*GOAL_POSES[name], rng=rng))
        qpos[7:] += rng.normal(0, 0.05, 17)
        verdicts.append(rule(name).holds(judge(humanoid, qpos)))
    assert np.mean(verdicts) > 0.75


@pytest.mark.parametrize("pose", OTHER_POSES, ids=lambda pose: pose[0])
def test_other_poses_fulfil_no_rule(humanoid: HumanoidScene, pose: tuple[str, str]) -> None:
    values = judge(humanoid, reference_pose(*pose))
    assert [name for name in GOAL_POSES if rule(name).holds(values)] == []


@pytest.mark.parametrize("arms", ["hands_on_head", "praying", "hands_on_chest", "t_pose", "forward", "left_raised"])
def test_a_stander_with_other_arms_merely_stands(humanoid: HumanoidScene, arms: str) -> None:
    values = judge(humanoid, reference_pose("standing", arms))
    assert [name for name in GOAL_POSES if rule(name).holds(values)] == ["standing"]


def test_quantities_are_the_documented_ones(humanoid: HumanoidScene) -> None:
    values = judge(humanoid, humanoid.init_qpos)
    assert set(values) == set(QUANTITIES)
    assert len(QUANTITIES) == len(set(QUANTITIES))
    assert all(type(value) is float and math.isfinite(value) for value in values.values())


def test_quantities_of_the_upright_humanoid(humanoid: HumanoidScene) -> None:
    values = judge(humanoid, humanoid.init_qpos)
    assert values["torso_up"] == pytest.approx(1, abs=1e-3)
    assert values["torso_height"] == pytest.approx(1.4)
    assert values["head_height"] == pytest.approx(1.59)
    assert values["left_knee_bend"] == values["right_knee_bend"] == 0
    assert values["feet_contacts"] == values["knees_contacts"] == values["pelvis_contact"] == 0
    assert values["left_hand_left"] == pytest.approx(-values["right_hand_left"])
    assert values["left_hand_left"] > 0
    qpos = humanoid.init_qpos.copy()
    qpos[2], qpos[3:7] = 0.0, [0, 1, 0, 0]
    assert judge(humanoid, qpos)["torso_up"] == pytest.approx(-1, abs=1e-3)


def test_quantities_do_not_depend_on_where_the_humanoid_stands_and_faces(humanoid: HumanoidScene) -> None:
    qpos = np.array(reference_pose("standing", "hands_on_hips"))
    here = judge(humanoid, qpos)
    qpos[:2] += (3.0, -2.0)
    there = judge(humanoid, qpos)
    turned = judge(humanoid, reference_pose("standing", "hands_on_hips", yaw=1.0))
    for name in QUANTITIES:
        assert there[name] == pytest.approx(here[name], abs=1e-6), name
        assert turned[name] == pytest.approx(here[name], abs=1e-3), name


def test_contacts_of_a_kneeler(humanoid: HumanoidScene) -> None:
    qpos = np.array(reference_pose("kneeling"))
    qpos[2] -= 0.01
    values = judge(humanoid, qpos)
    assert (values["knees_contacts"], values["pelvis_contact"]) == (2, 0)
    assert values["least_knee_bend"] > 60


@pytest.mark.parametrize("name", ONE_OF_EACH_WORLD)
def test_no_builtin_task_ends_before_its_time(name: str) -> None:
    task = load_task(name)
    env = make_world(task, render_size=32)
    env.reset(seed=0)
    assert task.env.max_episode_steps is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(task.env.max_episode_steps):
            _, _, terminated, truncated, _ = env.step(env.action_space.high if hasattr(env.action_space, "high") else 1)
            assert not terminated
            assert not truncated
    env.close()


def test_cartpole_quantities_and_rule() -> None:
    env = make_world(load_task("cartpole"), render_size=32)
    env.reset(seed=0)
    below: Any = env.unwrapped
    for state, angle, good in (
        ((0, 0, 0, 0), 0, True),
        ((0, 0, 0.1 + 4 * math.pi, 0), math.degrees(0.1), True),
        ((0, 0, math.pi - 0.01, 0), 180 - math.degrees(0.01), False),
        ((0, 0, -3 * math.pi / 2, 0), 90, False),
        ((2.5, 0, 0, 0), 0, False),
    ):
        below.state = np.array(state, float)
        values = below.quantities()
        assert values["pole_angle"] == pytest.approx(angle)
        assert bool(values["within_bounds"]) is good
        assert rule("cartpole").holds(values) is good
    env.close()


def test_a_fallen_pole_swings_on_and_counts_again_when_it_is_back() -> None:
    env = make_world(load_task("cartpole"), render_size=32)
    env.reset(seed=0)
    below: Any = env.unwrapped
    below.state = np.array([0.0, 0.0, 1.0, 0.0])
    _, reward, terminated, _, info = env.step(0)
    assert (reward, terminated, info["success"]) == (0.0, False, False)
    below.state = np.array([0.0, 0.0, 0.0, 0.0])
    _, reward, _, _, info = env.step(0)
    assert (reward, info["success"]) == (1.0, True)
    env.close()


def test_cartpole_terminates_unless_told_otherwise() -> None:
    from gym_vlmrm.worlds.cartpole import CartPoleScene

    env = CartPoleScene()
    env.reset(seed=0)
    env.state = np.array([0.0, 0.0, 1.0, 0.0])
    assert env.step(0)[2] is True


def test_the_summit_holds_the_car_under_reverse_thrust_until_reset() -> None:
    env = make_world(load_task("mountain-car"), render_size=32)
    env.reset(seed=0)
    below: Any = env.unwrapped
    below.state = np.array([0.44, 0.05], np.float32)
    observation, _, terminated, _, info = env.step(np.array([1.0], np.float32))
    held = observation[0]
    assert held >= 0.45
    assert (observation[1], terminated, info["success"]) == (0.0, False, True)
    for _ in range(20):
        observation, _, terminated, _, info = env.step(np.array([-1.0], np.float32))
        assert (observation[0], observation[1], terminated, info["success"]) == (held, 0.0, False, True)
        assert env.observation_space.contains(observation)
    env.reset(seed=1)
    assert not env.step(np.array([0.0], np.float32))[4]["success"]
    env.close()


def test_the_mountain_cars_own_rules_hold_without_absorption() -> None:
    from gym_vlmrm.worlds.mountain_car import MountainCarScene

    env = MountainCarScene()
    env.reset(seed=0)
    env.state = np.array([0.44, 0.05], np.float32)
    observation, reward, terminated, _, _ = env.step(np.array([1.0], np.float32))
    assert terminated
    assert reward > 99
    assert observation[1] > 0
