"""What the humanoid does with its arms: targets for hands and elbows, reached by inverse kinematics.

Everything here is in the torso frame [m]: x forward, y left, z up. Targets are written for the right arm; a left arm is
solved as the mirror image of a right one. An arm is three hinges (shoulder1, shoulder2, elbow), so targets are wishes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from scipy.optimize import least_squares

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.poses.kinematics import LIMITS

__all__ = [
    "ARM_POSES",
    "ARM_TARGETS",
    "SHOULDER",
    "Arms",
    "Obstacles",
    "Place",
    "Target",
    "arm_points",
    "mirror_arm",
    "solve_arm",
]

Place: TypeAlias = tuple[float, float, float]

SHOULDER = np.array([0.0, -0.17, 0.06])
UPPER, LOWER = np.array([0.18, -0.18, -0.18]), np.array([0.18, 0.18, 0.18])
AXIS1, AXIS2 = np.array([2.0, 1.0, 1.0]) / np.sqrt(6.0), np.array([0.0, -1.0, 1.0]) / np.sqrt(2.0)
ARM_RADIUS = 0.04
"""Radius of upper arm and hand [m]; the lower arm is slightly thinner."""
STUCK = 0.02
"""Depth [m] in floor or flesh from which a solution is sought from other starts too."""
_LOW, _HIGH = LIMITS[11:14].T
_STARTS = np.deg2rad([[0, 0, -40], [40, -40, -20], [-70, 0, -60], [-50, -40, -60], [45, 0, 10], [-60, 50, 0]])
_ALONG = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


@dataclass(frozen=True)
class Target:
    """Where a right hand and (optionally) elbow should be, torso frame [m]."""

    hand: Place
    elbow: Place | None = None
    elbow_weight: float = 0.3
    """How much a metre at the elbow counts against a metre at the hand."""


@dataclass(frozen=True)
class Arms:
    """One way to hold both arms; `left` is written as if it were a right arm and defaults to the mirror image."""

    right: Target
    left: Target | None = None


@dataclass(frozen=True)
class Obstacles:
    """What an arm must not enter, in the frame of a right arm: capsules and the floor."""

    starts: Floats
    ends: Floats
    radii: Floats
    up: Floats
    """World's up in this frame (3,)."""
    height: float
    """Height of the torso's origin above the floor [m]."""

    def depth(self, arm: Floats) -> Floats:
        """Return how deep 5 places from elbow to hand are in the floor, then in the nearest capsule (10,) [m]."""
        _, elbow, hand = arm
        places = elbow + _ALONG[:, None] * (hand - elbow)
        floor = ARM_RADIUS - (places @ self.up + self.height)
        axis = self.ends - self.starts
        away = places[:, None] - self.starts
        share = np.clip((away * axis).sum(-1) / (axis * axis).sum(-1), 0.0, 1.0)
        distance = np.linalg.norm(away - share[..., None] * axis, axis=-1)
        flesh = (self.radii + ARM_RADIUS - distance).max(axis=1)
        flesh[0] -= 0.02  # the elbow of a hanging arm rests against the ribs
        depths: Floats = np.maximum(np.concatenate([floor, flesh]), 0.0)
        return depths


def arm_points(angles: Floats) -> Floats:
    """Return shoulder, elbow and hand (3, 3) [m] of a right arm with joint angles (3,) [rad]."""
    upper = _turning(AXIS1, angles[0]) @ _turning(AXIS2, angles[1])
    elbow = SHOULDER + upper @ UPPER
    hand = elbow + upper @ _turning(AXIS2, angles[2]) @ LOWER
    return np.asarray(np.stack([SHOULDER, elbow, hand]))


def _turning(axis: Floats, angle: float) -> Floats:
    x, y, z = axis
    across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turning: Floats = np.eye(3) + np.sin(angle) * across + (1.0 - np.cos(angle)) * (across @ across)
    return turning


def mirror_arm(angles: Floats) -> Floats:
    """Turn right arm angles (3,) into those of the mirrored left arm, or back."""
    return np.asarray(angles * np.array([-1.0, -1.0, 1.0]))


def solve_arm(target: Target, obstacles: Obstacles | None = None) -> Floats:
    """Return the right arm's angles (3,) [rad] whose hand and elbow come closest to `target`."""
    if obstacles is None:
        return np.array(_solve_free(target))
    angles, cost = _least_squares(target, _solve_free(target), obstacles)
    if obstacles.depth(arm_points(angles)).max() > STUCK:
        others = (_least_squares(target, start, obstacles) for start in _STARTS)
        angles, _ = min([(angles, cost), *others], key=lambda solution: solution[1])
    return angles


@lru_cache(maxsize=256)
def _solve_free(target: Target) -> Floats:
    solutions = [_least_squares(target, start, None) for start in _STARTS]
    return min(solutions, key=lambda solution: solution[1])[0]


def _least_squares(target: Target, start: Floats, obstacles: Obstacles | None) -> tuple[Floats, float]:
    def residuals(angles: Floats) -> Floats:
        arm = arm_points(angles)
        parts = [arm[2] - target.hand]
        if target.elbow is not None:
            parts.append((arm[1] - target.elbow) * target.elbow_weight)
        if obstacles is not None:
            parts += [4.0 * obstacles.depth(arm), 0.05 * (angles - start)]
        return np.concatenate(parts)

    inside = np.clip(start, _LOW + 1e-3, _HIGH - 1e-3)
    fit = least_squares(residuals, inside, bounds=(_LOW, _HIGH), xtol=1e-4, ftol=1e-4, max_nfev=40)
    return np.asarray(fit.x, dtype=float), float(fit.cost)


_HANG = Target((0.06, -0.24, -0.49), (-0.1, -0.25, -0.22))
_UP = Target((0.2, -0.42, 0.47), (0.02, -0.38, 0.27))
_HIP = Target((0.02, -0.19, -0.29), (-0.12, -0.36, -0.12))

ARM_TARGETS: dict[str, tuple[Arms, ...]] = {
    "down": (Arms(_HANG), Arms(Target((0.0, -0.23, -0.5), (-0.12, -0.25, -0.22))), Arms(Target((0.1, -0.3, -0.45)))),
    "raised": (
        Arms(_UP),
        Arms(Target((0.3, -0.32, 0.47), (0.12, -0.32, 0.3))),
        Arms(Target((0.1, -0.6, 0.42), (0.0, -0.4, 0.25))),
        Arms(_UP, Target((0.3, -0.32, 0.47), (0.12, -0.32, 0.3))),
    ),
    "left_raised": (
        Arms(_HANG, _UP),
        Arms(Target((0.0, -0.23, -0.5)), Target((0.3, -0.32, 0.47), (0.12, -0.32, 0.3))),
        Arms(_HANG, Target((0.1, -0.6, 0.42), (0.0, -0.4, 0.25))),
    ),
    "t_pose": (Arms(Target((0.0, -0.78, 0.06), (-0.02, -0.48, 0.06))), Arms(Target((0.05, -0.77, 0.1)))),
    "forward": (
        Arms(Target((0.6, -0.17, 0.06), (0.3, -0.22, 0.02))),
        Arms(Target((0.57, -0.26, 0.0), (0.3, -0.26, 0.0))),
        Arms(Target((0.56, -0.13, 0.16), (0.29, -0.2, 0.1))),
    ),
    "hands_on_hips": (
        Arms(_HIP),
        Arms(Target((0.06, -0.18, -0.32), (-0.15, -0.33, -0.12))),
        Arms(Target((-0.02, -0.2, -0.25), (-0.15, -0.33, -0.12))),
    ),
    "left_hand_on_hip": (Arms(_HANG, _HIP), Arms(Target((0.0, -0.23, -0.5)), Target((0.06, -0.18, -0.32)))),
    "crossed": (
        Arms(Target((0.31, 0.05, -0.01), (0.1, -0.08, -0.2)), Target((0.31, 0.05, -0.2), (0.09, -0.08, -0.22))),
        Arms(Target((0.31, 0.05, -0.2), (0.09, -0.08, -0.22)), Target((0.31, 0.05, -0.01), (0.1, -0.08, -0.2))),
        Arms(Target((0.3, 0.07, -0.08), (0.09, -0.08, -0.2)), Target((0.32, 0.07, -0.25), (0.09, -0.08, -0.22))),
    ),
    "hands_on_head": (
        Arms(Target((0.08, -0.1, 0.28), (-0.02, -0.42, 0.2), 0.15)),
        Arms(Target((0.02, -0.14, 0.25), (0.0, -0.42, 0.2), 0.15)),
    ),
    "praying": (
        Arms(Target((0.26, -0.035, 0.02), (0.09, -0.09, -0.22), 0.1)),
        Arms(Target((0.24, -0.035, 0.08), (0.09, -0.09, -0.22), 0.1)),
    ),
    "hands_on_chest": (
        Arms(Target((0.12, -0.09, 0.0), (-0.05, -0.2, -0.24))),
        Arms(Target((0.13, -0.08, -0.04), (-0.02, -0.18, -0.24))),
    ),
    "flexed": (
        Arms(Target((0.02, -0.38, 0.26), (-0.18, -0.42, 0.06))),
        Arms(Target((0.08, -0.42, 0.28), (-0.12, -0.45, 0.06))),
    ),
    "behind_back": (
        Arms(Target((-0.19, -0.13, -0.32), (-0.24, -0.28, -0.1))),
        Arms(Target((-0.27, -0.2, -0.38), (-0.25, -0.28, -0.1))),
    ),
    "waist_front": (
        Arms(Target((0.2, -0.07, -0.26), (0.0, -0.14, -0.24))),
        Arms(Target((0.16, -0.1, -0.24), (-0.04, -0.17, -0.24))),
    ),
    "hands_touching": (
        Arms(Target((0.34, -0.045, -0.1), (0.1, -0.15, -0.2), 0.1)),
        Arms(Target((0.32, -0.045, -0.2), (0.08, -0.12, -0.22), 0.1)),
        Arms(Target((0.45, -0.05, 0.05))),
    ),
    "raised_halfway": (
        Arms(Target((0.3, -0.6, 0.12))),
        Arms(Target((0.5, -0.4, 0.08))),
        Arms(Target((0.25, -0.35, 0.12), (0.05, -0.4, -0.05))),
    ),
    "overhead": (Arms(Target((0.19, -0.45, 0.52), (0.05, -0.38, 0.28))),),
    "pushing_up": (Arms(Target((0.62, -0.22, 0.06))), Arms(Target((0.59, -0.3, 0.1)))),
}
"""Ways to hold the arms; the first of each is its canonical one."""

ARM_POSES: tuple[str, ...] = (
    *("down", "raised", "left_raised", "right_raised", "t_pose", "forward", "hands_on_hips", "left_hand_on_hip"),
    *("right_hand_on_hip", "crossed", "hands_on_head", "praying", "hands_on_chest", "flexed", "behind_back"),
    "hands_on_knees",
)
"""Names that `reference_pose` takes. ``right_...`` poses mirror ``left_...``; ``hands_on_knees`` follows the legs."""
