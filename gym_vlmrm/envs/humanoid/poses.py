"""Reference poses of the humanoid: every leg pose with every arm pose, natural variants, and paths between poses.

Configurations are Gymnasium's qpos (24,): metres, quaternion (w, x, y, z), radians (see `kinematics`).
"""

from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from gym_vlmrm.envs.humanoid.arms import ARM_POSES, Arms, arm_points, mirror_arm, solve_arm
from gym_vlmrm.envs.humanoid.kinematics import (
    LIMITS,
    NQ,
    Floats,
    clip_joints,
    joint_vector,
    lowest_point,
    mirror,
    set_down,
    settle,
    to_quaternion,
    to_rotation,
    turn,
)
from gym_vlmrm.envs.humanoid.legs import LEG_FAMILIES, LEG_POSES, Family, Range
from gym_vlmrm.envs.humanoid.reach import LEFT_ARM, RIGHT_ARM, arm_targets, hold, other_side
from gym_vlmrm.errors import VLMRMError, did_you_mean

__all__ = [
    "ARM_POSES",
    "GOAL_POSES",
    "LEG_POSES",
    "can_combine",
    "mirror",
    "pose_from_families",
    "pose_path",
    "random_pose",
    "reference_pose",
    "set_down",
]

GOAL_POSES: dict[str, tuple[str, str]] = {
    "kneeling": ("kneeling", "down"),
    "lotus": ("lotus", "down"),
    "standing": ("standing", "down"),
    "arms-raised": ("standing", "raised"),
    "splits": ("splits", "down"),
    "hands-on-hips": ("standing", "hands_on_hips"),
    "one-leg": ("one_leg_left", "down"),
    "arms-crossed": ("standing", "crossed"),
}
"""Built-in task to the legs and arms of the reference pose that shows its goal."""
LEG_NOISE = 0.04
"""Standard deviation of the legs' joint noise in variants [rad]."""
MAX_ARM_ERROR = 0.16
"""Farthest [m] that floor and legs may keep a hand from its place before the arm pose is no longer itself."""
MAX_KNEE_ERROR = 0.08
"""The same for hands on knees [m], which count only where they arrive."""
_MIRRORED_LEGS = {"one_leg_right": "one_leg_left"}


def reference_pose(
    legs: str,
    arms: str = "down",
    *,
    rng: np.random.Generator | None = None,
    variation: float = 1.0,
    yaw: float = 0.0,
) -> Floats:
    """Return a body that holds a leg pose and an arm pose, set down on the floor.

    Args:
        legs: one of `LEG_POSES`.
        arms: one of `ARM_POSES`. Legs that rest on their hands (all fours, plank, handstand) take ``down`` only.
        rng: draws a natural variant; without it the pose is the canonical one.
        variation: scale of ranges and joint noise of variants; 0 leaves only the choice of family and side.
        yaw: heading [rad]; 0 faces +x.

    Returns:
        qpos (24,), pelvis over the origin.

    Raises:
        VLMRMError: no such pose, or legs and arms that exclude each other.
    """
    _check(legs, LEG_POSES, "leg pose")
    _check(arms, ARM_POSES, "arm pose")
    if legs in _MIRRORED_LEGS:
        flipped = mirror(reference_pose(_MIRRORED_LEGS[legs], other_side(arms), rng=rng, variation=variation))
        return turn(flipped, Rotation.from_euler("z", yaw))
    return pose_from_families(LEG_FAMILIES[legs], arms, rng=rng, variation=variation, yaw=yaw)


def pose_from_families(
    families: tuple[Family, ...],
    arms: str | tuple[Arms, ...] = "down",
    *,
    rng: np.random.Generator | None = None,
    variation: float = 1.0,
    yaw: float = 0.0,
) -> Floats:
    """Return a body (24,) in one of `families`, or its canonical one without `rng`; arguments as `reference_pose`."""
    family = families[0] if rng is None else families[rng.integers(len(families))]
    flip = rng is not None and family.either_side and rng.random() < 0.5
    if family.arms:
        if arms != "down":
            raise VLMRMError(
                f"arms {arms!r} cannot be combined with legs that rest on their hands; leave arms at 'down'"
            )
        arms = family.arms
    arms = family.hanging if arms == "down" else arms
    if flip and isinstance(arms, str):
        arms = other_side(arms)
    qpos = np.zeros(NQ)
    qpos[3:7] = _orientation(family, rng, variation)
    qpos[7:] = _legs(family, rng, variation)
    if family.arms:
        hold(qpos, arms, rng, variation, clear=False)
    if family.supports:
        qpos = settle(qpos, family.supports, balanced=family.balanced)
    if not family.arms:
        qpos = set_down(qpos, lift=_draw(family.lift, rng, variation), arms=False)
        hold(qpos, arms, rng, variation)
    qpos = mirror(qpos) if flip else qpos
    qpos = turn(qpos, Rotation.from_euler("z", yaw))
    return qpos if lowest_point(qpos) > 0.02 else set_down(qpos)


@lru_cache(maxsize=512)
def can_combine(legs: str, arms: str) -> bool:
    """Say whether the arms can take that pose with these legs, rather than be kept from it by floor or legs."""
    _check(legs, LEG_POSES, "leg pose")
    _check(arms, ARM_POSES, "arm pose")
    if legs in _MIRRORED_LEGS:
        return can_combine(_MIRRORED_LEGS[legs], other_side(arms))
    if LEG_FAMILIES[legs][0].arms or arms == "down":
        return arms == "down"
    held = reference_pose(legs, arms)
    pair = arm_targets(held, arms)[0]
    reached = (arm_points(held[RIGHT_ARM])[2], arm_points(mirror_arm(held[LEFT_ARM]))[2])
    targets = (pair.right, pair.left or pair.right)
    wanted = [t.hand if arms == "hands_on_knees" else arm_points(solve_arm(t))[2] for t in targets]
    allowed = MAX_KNEE_ERROR if arms == "hands_on_knees" else MAX_ARM_ERROR
    return bool(np.linalg.norm(np.subtract(reached, wanted), axis=1).max() < allowed)


def pose_path(start: Floats, end: Floats, n: int) -> Floats:
    """Return `n` configurations (n, 24) on the straight line in joint space from `start` to `end`, each on the floor.

    Root orientation follows the great arc. A pose that is held in the air at either end stays proportionally lifted.
    """
    share = np.linspace(0.0, 1.0, n)
    path = start + share[:, None] * (end - start)
    ends = to_rotation(np.stack([start[3:7], end[3:7]]))
    path[:, 3:7] = to_quaternion(Slerp([0.0, 1.0], ends)(share))
    lifts = [max(0.0, lowest_point(pose)) for pose in (start, end)]
    return np.stack(
        [set_down(pose, lift=lifts[0] + s * (lifts[1] - lifts[0])) for pose, s in zip(path, share, strict=True)]
    )


def random_pose(rng: np.random.Generator) -> Floats:
    """Return any body (24,) the joints allow: near upright or thrown anywhere, on the floor or up to 0.3 m above it."""
    qpos = np.zeros(NQ)
    qpos[7:] = rng.uniform(LIMITS[:, 0], LIMITS[:, 1])
    if rng.random() < 0.5:
        tilt = Rotation.from_rotvec(rng.normal(0.0, 0.35, 3) * (1.0, 1.0, 0.0))
        rotation = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)) * tilt
    else:
        rotation = Rotation.from_quat(rng.normal(size=4))
    qpos[3:7] = to_quaternion(rotation)
    lift = rng.uniform(0.0, 0.3) if rng.random() < 0.3 else 0.0
    return set_down(turn(qpos, Rotation.identity()), lift=lift)


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise VLMRMError(f"{name!r} is no {what}{did_you_mean(name, known)}")


def _draw(value: Range, rng: np.random.Generator | None, variation: float) -> float:
    if not isinstance(value, tuple):
        return float(value)
    low, high = value
    offset = 0.0 if rng is None else rng.uniform(-0.5, 0.5) * min(variation, 1.5)
    return (low + high) / 2 + offset * (high - low)


def _orientation(family: Family, rng: np.random.Generator | None, variation: float) -> Floats:
    pitch, roll = _draw(family.pitch, rng, variation), _draw(family.roll, rng, variation)
    rotation = Rotation.from_euler("x", roll, degrees=True) * Rotation.from_euler("y", pitch, degrees=True)
    return to_quaternion(rotation)


def _legs(family: Family, rng: np.random.Generator | None, variation: float) -> Floats:
    joints = joint_vector({name: _draw(value, rng, variation) for name, value in family.joints.items()})
    if rng is not None:
        for side in ("right", "left"):
            offsets = {f"{side}_{name}": _draw(value, rng, variation) for name, value in family.spread.items()}
            joints += joint_vector(offsets) if offsets else 0.0
        joints[:11] += rng.normal(0.0, LEG_NOISE * variation, 11)
    return clip_joints(joints)
