"""Arms on a body: holds an arm pose without reaching through the floor, the trunk or the legs."""

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.poses.arms import (
    ARM_TARGETS,
    SHOULDER,
    Arms,
    Obstacles,
    Target,
    arm_points,
    mirror_arm,
    solve_arm,
)
from gym_vlmrm.worlds.poses.kinematics import LIMITS, POINTS, forward

__all__ = ["LEFT_ARM", "RIGHT_ARM", "arm_targets", "hold", "other_side"]

RIGHT_ARM, LEFT_ARM = slice(18, 21), slice(21, 24)
"""Where each arm's three joints stand in qpos."""
ARM_NOISE = 0.06
"""Standard deviation of the arms' joint noise in variants [rad]."""
TOLERANCE = 0.015
"""Depth [m] to which an arm may sink into floor or flesh before it is moved away."""
_CAPSULES = ("torso1", "uwaist", "lwaist", "butt", "right_thigh1", "right_shin1", "left_thigh1", "left_shin1")
_FLIP = np.array([1.0, -1.0, 1.0])
_MIRRORED = {"right_raised": "left_raised", "right_hand_on_hip": "left_hand_on_hip"}


def other_side(arms: str) -> str:
    """Return the arm pose that is the mirror image of `arms`."""
    swaps = {**_MIRRORED, **{value: key for key, value in _MIRRORED.items()}}
    return swaps.get(arms, arms)


def arm_targets(qpos: Floats, arms: str | tuple[Arms, ...]) -> tuple[Arms, ...]:
    """Return the ways to hold the arm pose `arms` on the body `qpos` (24,), canonical one first."""
    if not isinstance(arms, str):
        return arms
    if arms == "hands_on_knees":
        return (_on_knees(qpos),)
    if arms in _MIRRORED:
        return tuple(Arms(pair.left or pair.right, pair.right) for pair in ARM_TARGETS[_MIRRORED[arms]])
    return ARM_TARGETS[arms]


def hold(
    qpos: Floats, arms: str | tuple[Arms, ...], rng: np.random.Generator | None, variation: float, clear: bool = True
) -> None:
    """Set the arm joints of `qpos` in place; `clear` keeps them out of the floor and the body."""
    options = arm_targets(qpos, arms)
    pair = options[0] if rng is None else options[rng.integers(len(options))]
    for target, part, left in ((pair.right, RIGHT_ARM, False), (pair.left or pair.right, LEFT_ARM, True)):
        angles = solve_arm(target)
        if rng is not None:
            low, high = LIMITS[11:14].T
            angles = np.clip(angles + rng.normal(0.0, ARM_NOISE * variation, 3), low, high)
        if clear:
            obstacles = _obstacles(qpos, left)
            if obstacles.depth(arm_points(angles)).max() > TOLERANCE:
                angles = solve_arm(target, obstacles)
        qpos[part] = mirror_arm(angles) if left else angles


def _torso_frame(qpos: Floats) -> tuple[Floats, Floats]:
    data = forward(qpos)
    return data.body("torso").xpos.copy(), data.body("torso").xmat.reshape(3, 3).copy()


def _obstacles(qpos: Floats, left: bool) -> Obstacles:
    origin, frame = _torso_frame(qpos)
    data = forward(qpos)
    model = data.model
    ids = [model.geom(name).id for name in _CAPSULES]
    centres = (data.geom_xpos[ids] - origin) @ frame
    axes = data.geom_xmat[ids].reshape(-1, 3, 3)[:, :, 2] @ frame * model.geom_size[ids, 1:2]
    head = np.array([[0.0, 0.0, 0.19]])
    flip = _FLIP if left else np.ones(3)
    return Obstacles(
        starts=np.concatenate([centres - axes, head - 0.001]) * flip,
        ends=np.concatenate([centres + axes, head + 0.001]) * flip,
        radii=np.append(model.geom_size[ids, 0], 0.09),
        up=frame[2] * flip,
        height=float(origin[2]),
    )


def _on_knees(qpos: Floats) -> Arms:
    origin, frame = _torso_frame(qpos)
    data = forward(qpos)
    wishes = []
    for side, flip in (("right", np.ones(3)), ("left", _FLIP)):
        knee, hip = data.body(f"{side}_shin").xpos, data.body(f"{side}_thigh").xpos
        place = ((knee + 0.12 * (hip - knee) - origin) @ frame) * flip
        toward = SHOULDER - place
        hand = place + toward / np.linalg.norm(toward) * (POINTS["right_knee"][2] + 0.045)
        wishes.append(Target((float(hand[0]), float(hand[1]), float(hand[2]))))
    return Arms(wishes[0], wishes[1])
