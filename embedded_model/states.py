"""States to render: poses, near misses, paths, anything the joints allow, and what physics makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.poses.kinematics import set_down, turn
from gym_vlmrm.worlds.poses.near_misses import NEAR_MISSES, near_miss_pose
from gym_vlmrm.worlds.poses.poses import ARM_POSES, LEG_POSES, can_combine, pose_path, random_pose, reference_pose
from gym_vlmrm.worlds.poses.survey import BODY_SPACE

__all__ = [
    "HELD_OUT_PAIRS",
    "SHARES",
    "HumanoidStates",
    "cartpole_states",
    "combinations",
    "humanoid_states",
    "mountain_car_states",
    "turned",
]
HELD_OUT_PAIRS = frozenset(
    {
        *(("kneeling", arms) for arms in ("crossed", "raised", "hands_on_hips", "t_pose")),
        *(("half_kneeling", arms) for arms in ("raised", "crossed", "forward")),
        *(("squatting", arms) for arms in ("forward", "hands_on_head", "raised")),
        *(("wide_stance", arms) for arms in ("hands_on_hips", "t_pose", "raised")),
        *(("lotus", arms) for arms in ("raised", "praying", "t_pose")),
        *(("splits", arms) for arms in ("raised", "forward", "t_pose")),
        *(("one_leg_left", arms) for arms in ("t_pose", "raised")),
        *(("one_leg_right", arms) for arms in ("t_pose", "raised")),
        *(("lunge", arms) for arms in ("hands_on_hips", "raised")),
        *(("sitting_legs_forward", arms) for arms in ("crossed", "forward")),
        *(("heel_sitting", arms) for arms in ("praying", "hands_on_head")),
    }
)
"""Leg and arm poses that are never rendered or captioned together: they test composition."""

SHARES = {"pose": 0.36, "near_miss": 0.09, "path": 0.09, "random": 0.08, "sought": 0.12, "physics": 0.26}
ROLLOUT_STEPS, ROLLOUT_STRIDE = 60, 4
GAIN, DAMPING = 1.2, 0.12
"""Proportional [1/rad] and derivative [s/rad] gain of the controller that holds poses; it acts in units of control."""


@dataclass(frozen=True)
class HumanoidStates:
    """Bodies and what is known of how they came about."""

    qpos: Floats
    """(N, 24) configurations."""
    source: NDArray[np.str_]
    """(N,) one of `SHARES`."""
    legs: NDArray[np.str_]
    """(N,) leg pose that was asked for; empty where there was none."""
    arms: NDArray[np.str_]
    """(N,) the same for the arms."""


def combinations(*, held_out: bool) -> list[tuple[str, str]]:
    """Return every pair of a leg and an arm pose that a body can take; those held out of training, or the others."""
    pairs = [(legs, arms) for legs in LEG_POSES for arms in ARM_POSES if can_combine(legs, arms)]
    return [pair for pair in pairs if (pair in HELD_OUT_PAIRS) == held_out]


def humanoid_states(count: int, seed: int, *, held_out: bool = False) -> HumanoidStates:
    """Draw humanoid states in the proportions of `SHARES`; `held_out` draws poses of the held-out pairs instead.

    Args:
        count: number of states N.
        seed: equal seeds draw equal states.
        held_out: only ``pose`` states, only of pairs that training never sees.
    """
    rng = np.random.default_rng(seed)
    pairs = combinations(held_out=held_out)
    rows: list[tuple[Floats, str, str, str]] = []
    if held_out:
        rows = [_pose(pairs[i % len(pairs)], rng) for i in range(count)]
    else:
        for _ in range(round(count * SHARES["pose"])):
            rows.append(_pose(_draw_pair(pairs, rng), rng))
        for _ in range(round(count * SHARES["near_miss"])):
            rows.append((near_miss_pose(rng.choice(list(NEAR_MISSES)), rng, variation=1.2), "near_miss", "", ""))
        for _ in range(round(count * SHARES["path"])):
            start, end = (_pose(_draw_pair(pairs, rng), rng)[0] for _ in range(2))
            rows.append((pose_path(start, end, 21)[rng.integers(1, 20)], "path", "", ""))
        for _ in range(round(count * SHARES["random"])):
            rows.append((_disturbed(rng, pairs), "random", "", ""))
        for _ in range(round(count * SHARES["sought"])):
            rows.append((_sought(rng, pairs), "sought", "", ""))
        rollouts = _physics(rng, pairs)
        rows += [(next(rollouts), "physics", "", "") for _ in range(count - len(rows))]
    order = rng.permutation(len(rows))
    qpos, source, legs, arms = (np.array([rows[i][k] for i in order]) for k in range(4))
    return HumanoidStates(turned(qpos, rng), source, legs, arms)


GOAL_LEGS = ("standing", "kneeling", "lotus", "splits", "one_leg_left", "one_leg_right")


def _draw_pair(pairs: list[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    """Draw a pair; the legs of the built-in goals come three times as often as chance."""
    goals = [pair for pair in pairs if pair[0] in GOAL_LEGS]
    chosen = goals if rng.random() < 0.45 else pairs
    return chosen[rng.integers(len(chosen))]


def _pose(pair: tuple[str, str], rng: np.random.Generator) -> tuple[Floats, str, str, str]:
    variation = rng.choice([0.5, 1.0, 1.5, 2.0])
    return reference_pose(*pair, rng=rng, variation=variation), "pose", *pair


def _disturbed(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Floats:
    """Return a body with every joint thrown anywhere, or a pose in which only some joints are."""
    wild = random_pose(rng)
    if rng.random() < 0.5:
        return wild
    pose = _pose(_draw_pair(pairs, rng), rng)[0]
    kept = rng.random(17) < rng.uniform(0.2, 0.9)
    pose[7:] = np.where(kept, pose[7:], wild[7:])
    return set_down(pose)


def _sought(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Floats:
    """Return a body on the way from anywhere to a pose, as a search for the pose passes it: tilted, lifted, twisted."""
    space = BODY_SPACE
    yaw = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi))
    goal = space.encode(turn(_pose(_draw_pair(pairs, rng), rng)[0], yaw)[None])[0]
    share, noise = rng.beta(2, 1), rng.choice([0.02, 0.05, 0.1])
    point = share * goal + (1 - share) * rng.random(space.dimension) + rng.normal(0, noise, space.dimension)
    return np.asarray(space.decode(np.clip(point, 0, 1)[None])[0])


def turned(qpos: Floats, rng: np.random.Generator) -> Floats:
    """Turn bodies about the vertical, most of them little, and move them about."""
    count = len(qpos)
    yaw = np.where(rng.random(count) < 0.65, rng.normal(0, 0.3, count), rng.uniform(-np.pi, np.pi, count))
    turns = np.stack([np.cos(yaw / 2), np.zeros(count), np.zeros(count), np.sin(yaw / 2)], axis=1)
    turned = qpos.copy()
    for row, spin in zip(turned, turns, strict=True):
        mujoco.mju_mulQuat(row[3:7], spin, row[3:7].copy())
        c, s = 1 - 2 * spin[3] ** 2, 2 * spin[0] * spin[3]
        row[:2] = np.array([[c, -s], [s, c]]) @ row[:2] + rng.normal(0, 0.15, 2)
    return turned


def _physics(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Iterator[Floats]:
    """Yield states of rollouts that start in a pose and hold it, move to another, shake or go limp."""
    env = HumanoidScene(terminate_when_unhealthy=False)
    env.reset(seed=int(rng.integers(2**31)))
    while True:
        start = _pose(_draw_pair(pairs, rng), rng)[0]
        if rng.random() < 0.4:
            start = env.init_qpos + rng.uniform(-0.01, 0.01, env.init_qpos.shape)
        goal = _pose(_draw_pair(pairs, rng), rng)[0] if rng.random() < 0.6 else start
        strength = rng.choice([0.0, 0.5, 1.0])
        shake = rng.choice([0.0, 0.1, 0.4])
        env.set_state(start, rng.normal(0, 0.1, env.model.nv))  # type: ignore[no-untyped-call]
        phase = rng.integers(ROLLOUT_STRIDE)
        for step in range(ROLLOUT_STEPS):
            action = strength * _hold(env, goal) + shake * rng.uniform(-1, 1, env.model.nu)
            env.step(action)
            if step % ROLLOUT_STRIDE == phase:
                yield _centred(env.data.qpos)


def _hold(env: HumanoidScene, goal: Floats) -> Floats:
    joints = env.model.actuator_trnid[:, 0]
    positions, speeds = env.model.jnt_qposadr[joints], env.model.jnt_dofadr[joints]
    control = GAIN * (goal[positions] - env.data.qpos[positions]) - DAMPING * env.data.qvel[speeds]
    assert isinstance(env.action_space, Box)
    return np.asarray(np.clip(control, env.action_space.low, env.action_space.high))


def _centred(qpos: Floats) -> Floats:
    centred = qpos.copy()
    centred[:2] = np.clip(centred[:2], -0.6, 0.6)
    return centred


def cartpole_states(count: int, seed: int) -> Floats:
    """Draw cart positions [m] and pole angles [rad], (N, 2); half of the poles lean less than 25 degrees."""
    rng = np.random.default_rng(seed)
    angle = np.where(rng.random(count) < 0.5, rng.uniform(-0.44, 0.44, count), rng.uniform(-np.pi, np.pi, count))
    return np.stack([rng.uniform(-3.0, 3.0, count), angle], axis=1)


def mountain_car_states(count: int, seed: int) -> Floats:
    """Draw car positions [m], (N, 1)."""
    return np.random.default_rng(seed).uniform(-1.2, 0.6, (count, 1))
