"""The humanoid's reference poses: physically possible, on the floor, and judged right by the tasks' own rules."""

import mujoco
import numpy as np
import pytest

from gym_vlmrm.catalog import load_task
from gym_vlmrm.envs.humanoid import kinematics
from gym_vlmrm.envs.humanoid.legs import LEG_FAMILIES
from gym_vlmrm.envs.humanoid.near_misses import NEAR_MISSES, near_miss_pose, near_misses
from gym_vlmrm.envs.humanoid.poses import (
    ARM_POSES,
    GOAL_POSES,
    LEG_POSES,
    can_combine,
    mirror,
    pose_path,
    random_pose,
    reference_pose,
    set_down,
)
from gym_vlmrm.envs.humanoid.state import quantities
from gym_vlmrm.errors import VLMRMError

GOALS = {task: {pair} for task, pair in GOAL_POSES.items()}
GOALS["one-leg"] = {("one_leg_left", "down"), ("one_leg_right", "down")}
STANDING = {"standing", "wide_stance", "stepping"}
"""Legs that a person would call standing."""
ALSO_RIGHT = {
    "kneeling": {"kneeling", "heel_sitting"},
    "lotus": {"lotus"},
    "splits": {"splits"},
    "one-leg": {"one_leg_left", "one_leg_right", "high_kick"},
}
PAIRS = [(legs, arms) for legs in LEG_POSES for arms in ARM_POSES if can_combine(legs, arms)]


@pytest.fixture(scope="module")
def measure():
    model = kinematics.forward(reference_pose("standing")).model
    data = mujoco.MjData(model)

    def measured(qpos):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        return quantities(model, data)

    return measured


@pytest.fixture(scope="module")
def canonical(measure):
    return {pair: measure(reference_pose(*pair)) for pair in PAIRS}


def within_limits(qpos):
    low, high = kinematics.LIMITS.T
    return np.all(qpos[7:] >= low - 1e-9) and np.all(qpos[7:] <= high + 1e-9)


def test_joint_tables_agree_with_gymnasiums_model():
    model = kinematics.forward(reference_pose("standing")).model
    names = [model.joint(i).name for i in range(1, model.njnt)]
    assert tuple(names) == kinematics.JOINTS
    np.testing.assert_allclose(model.jnt_range[1:], kinematics.LIMITS)
    assert set(LEG_FAMILIES) == set(LEG_POSES) - {"one_leg_right"}


@pytest.mark.parametrize("legs", LEG_POSES)
def test_every_leg_pose_is_possible_and_on_the_floor(legs, rng):
    for arms in (arms for arms in ARM_POSES if can_combine(legs, arms)):
        for qpos in (reference_pose(legs, arms), reference_pose(legs, arms, rng=rng, yaw=1.0)):
            assert qpos.shape == (24,)
            assert within_limits(qpos)
            assert np.linalg.norm(qpos[3:7]) == pytest.approx(1.0)
            np.testing.assert_allclose(kinematics.forward(qpos).body("pelvis").xpos[:2], 0.0, atol=1e-6)
            lowest = kinematics.lowest_point(qpos)
            assert 0.15 <= lowest <= 0.5 if legs == "jumping" else abs(lowest) < 1e-6


@pytest.mark.parametrize("legs", sorted(set(LEG_POSES) - {"handstand"}))
def test_arms_do_not_hold_the_body_off_the_floor(legs, rng):
    arms = [arms for arms in ARM_POSES if can_combine(legs, arms)]
    gaps = [kinematics.lowest_point(reference_pose(legs, a, rng=r), arms=False) for a in arms for r in (None, rng)]
    assert legs == "jumping" or np.quantile(gaps, 0.9) < 0.03


def test_canonical_poses_hardly_penetrate_themselves():
    model = kinematics.forward(reference_pose("standing")).model
    data = mujoco.MjData(model)
    for legs, arms in PAIRS:
        data.qpos[:] = reference_pose(legs, arms)
        mujoco.mj_forward(model, data)
        assert data.contact.dist.min(initial=0.0) > -0.03, (legs, arms)


@pytest.mark.parametrize("task", GOALS)
def test_goals_meet_their_rule_and_variants_mostly_do(task, measure, rng):
    rule = load_task(task).success_rule
    for legs, arms in GOALS[task]:
        assert rule.holds(measure(reference_pose(legs, arms)))
        hits = [rule.holds(measure(reference_pose(legs, arms, rng=rng))) for _ in range(100)]
        assert np.mean(hits) >= 0.9


@pytest.mark.parametrize("task", GOALS)
def test_no_other_canonical_pose_meets_the_rule(task, canonical):
    rule = load_task(task).success_rule
    winners = {pair for pair, measured in canonical.items() if rule.holds(measured)}
    if task in ("arms-raised", "hands-on-hips", "arms-crossed"):
        arms = {arms for _, arms in GOALS[task]}
        assert {legs for legs, _ in winners} <= STANDING
        assert {arm for _, arm in winners} == arms
    else:
        assert {legs for legs, _ in winners} <= ALSO_RIGHT.get(task, STANDING)


@pytest.mark.parametrize("task", GOALS)
def test_near_misses_miss(task, measure, rng):
    rule = load_task(task).success_rule
    assert len(near_misses(task)) >= 5
    hits = {name: sum(rule.holds(measure(near_miss_pose(name, rng))) for _ in range(20)) for name in near_misses(task)}
    assert {name: count for name, count in hits.items() if count > 2} == {}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_are_possible(name, rng):
    for qpos in (near_miss_pose(name), near_miss_pose(name, rng)):
        assert within_limits(qpos)
        assert kinematics.lowest_point(qpos) > -1e-6


def test_left_and_right_are_the_humanoids_own(measure):
    left, right = measure(reference_pose("one_leg_left")), measure(reference_pose("one_leg_right"))
    assert left["right_foot_height"] > 0.3 > 0.1 > left["left_foot_height"]
    assert right["left_foot_height"] > 0.3 > 0.1 > right["right_foot_height"]
    raised = measure(reference_pose("standing", "left_raised"))
    assert raised["left_hand_height"] > raised["head_height"] > raised["right_hand_height"]
    raised = measure(reference_pose("standing", "right_raised"))
    assert raised["right_hand_height"] > raised["head_height"] > raised["left_hand_height"]


def test_mirror_twice_is_identity_and_keeps_heights(measure, rng):
    for qpos in (random_pose(rng) for _ in range(20)):
        image = mirror(qpos)
        np.testing.assert_allclose(mirror(image), qpos)
        before, after = measure(qpos), measure(image)
        for part in ("foot", "hand", "knee"):
            assert after[f"left_{part}_height"] == pytest.approx(before[f"right_{part}_height"])
            assert after[f"right_{part}_height"] == pytest.approx(before[f"left_{part}_height"])


def test_yaw_turns_the_body_and_nothing_else(measure):
    straight, turned = reference_pose("lunge", "forward"), reference_pose("lunge", "forward", yaw=np.pi / 2)
    np.testing.assert_allclose(turned[7:], straight[7:])
    assert measure(turned)["head_height"] == pytest.approx(measure(straight)["head_height"])
    ahead = kinematics.forward(turned).body("torso").xmat.reshape(3, 3)[:, 0]
    assert ahead[1] > 0.8


def test_equal_seeds_draw_equal_poses():
    draws = [reference_pose("lotus", "praying", rng=np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_path_runs_from_start_to_end_on_the_floor():
    start, end = reference_pose("standing"), reference_pose("lying_back")
    path = pose_path(start, end, 9)
    assert path.shape == (9, 24)
    np.testing.assert_allclose(path[[0, -1], 7:], [start[7:], end[7:]])
    assert abs(path[-1, 3:7] @ end[3:7]) == pytest.approx(1.0)
    np.testing.assert_allclose([kinematics.lowest_point(qpos) for qpos in path], 0.0, atol=1e-9)


def test_random_poses_are_possible_and_never_below_the_floor(rng):
    drawn = [random_pose(rng) for _ in range(50)]
    heights = [kinematics.lowest_point(qpos) for qpos in drawn]
    assert all(within_limits(qpos) for qpos in drawn)
    assert min(heights) > -1e-9
    assert max(heights) <= 0.3 + 1e-9


def test_set_down_measures_the_surface(measure):
    qpos = reference_pose("standing")
    qpos[2] += 1.0
    assert measure(set_down(qpos))["lower_foot_height"] == pytest.approx(0.075)
    assert qpos[2] > 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference_pose("kneelin"), "did you mean 'kneeling'"),
        (lambda: reference_pose("standing", "croxed"), "did you mean 'crossed'"),
        (lambda: reference_pose("plank", "raised"), "leave arms at 'down'"),
        (lambda: near_misses("cartpole"), "no near misses"),
        (lambda: near_miss_pose("bent_ove"), "did you mean 'bent_over'"),
    ],
)
def test_wrong_names_are_explained(call, message):
    with pytest.raises(VLMRMError, match=message):
        call()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
