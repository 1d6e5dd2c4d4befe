"""Bodies that almost reach a goal of the built-in tasks and must not count as success."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import VLMRMError, did_you_mean
from gym_vlmrm.worlds.poses.legs import LEG_FAMILIES, Family
from gym_vlmrm.worlds.poses.poses import pose_from_families

__all__ = ["NEAR_MISSES", "NearMiss", "near_miss_pose", "near_misses"]

_FEET = ("right_foot", "left_foot")
_AIR = (0.2, 0.5)


@dataclass(frozen=True)
class NearMiss:
    """A set of bodies that misses the goals of some tasks by one thing."""

    tasks: tuple[str, ...]
    """Keys of the tasks that it almost reaches."""
    legs: tuple[Family, ...]
    arms: tuple[str, ...] = ("down",)
    """Arm poses to draw from (names of `arms.ARM_TARGETS` or ``right_...`` mirror images)."""


def near_misses(task_key: str) -> list[str]:
    """Return the names of a humanoid task's near misses.

    Raises:
        VLMRMError: no near misses are known for `task_key`, such as ``arms-raised``.
    """
    key = task_key.replace("_", "-")
    names = [name for name, miss in NEAR_MISSES.items() if key in miss.tasks]
    if not names:
        known = {task for miss in NEAR_MISSES.values() for task in miss.tasks}
        raise VLMRMError(f"no near misses of task {task_key!r}{did_you_mean(key, known)}")
    return names


def near_miss_pose(
    name: str, rng: np.random.Generator | None = None, *, variation: float = 1.0, yaw: float = 0.0
) -> Floats:
    """Return qpos (24,) of the near miss `name`: a variant drawn by `rng`, or the canonical one; `yaw` in [rad].

    Raises:
        VLMRMError: no such near miss.
    """
    if name not in NEAR_MISSES:
        raise VLMRMError(f"{name!r} is no near miss{did_you_mean(name, NEAR_MISSES)}")
    miss = NEAR_MISSES[name]
    arms = miss.arms[0] if rng is None else miss.arms[rng.integers(len(miss.arms))]
    return pose_from_families(miss.legs, arms, rng=rng, variation=variation, yaw=yaw)


def _like(legs: str | Sequence[str], **changes: Any) -> tuple[Family, ...]:
    """Return the families of one or more leg poses with some of their fields replaced."""
    names = [legs] if isinstance(legs, str) else legs
    return tuple(replace(family, **changes) for name in names for family in LEG_FAMILIES[name])


_LOW_SQUAT = (
    Family({"hip_y": (-60, -45), "hip_x": (-10, 0), "knee": (-105, -90), "abdomen_y": (-10, 5)}, _FEET, True),
)
_NARROW_STRADDLE = (
    Family(
        {"abdomen_y": (-10, 5), "hip_z": (-36, -24), "hip_y": (-94, -86), "knee": (-8, -2)},
        ("right_seat", "left_seat", *_FEET),
    ),
)
_BENT_STRADDLE = (
    Family({"abdomen_y": (-14, 4), "hip_z": -60, "hip_y": (-98, -88), "knee": (-95, -65)}, _FEET, pitch=(-5, 8)),
)
_HIGH_STRADDLE = (
    Family(
        {"hip_x": -25, "hip_z": (-45, -25), "hip_y": (-38, -20), "abdomen_y": (-40, -20), "knee": (-25, -2)},
        _FEET,
        True,
    ),
)
_SIDE_LUNGE = (
    Family(
        {
            "right_hip_x": -25,
            "right_hip_z": -30,
            "right_hip_y": (-60, -40),
            "right_knee": -4,
            "left_hip_y": (-105, -95),
            "left_hip_z": -50,
            "left_knee": (-120, -105),
        },
        _FEET,
        either_side=True,
    ),
)
_WEIGHT_SHIFTED = (
    Family(
        {
            "left_hip_x": (2, 5),
            "right_hip_x": (-16, -8),
            "right_hip_y": (-12, -4),
            "right_knee": (-24, -12),
            "abdomen_x": (-10, 10),
        },
        _FEET,
        either_side=True,
    ),
)
_FOOT_BARELY_UP = (
    Family(
        {"left_knee": -3, "right_hip_y": (-25, -19), "right_knee": (-44, -36)}, ("left_foot",), True, either_side=True
    ),
)
_LEANING = tuple(
    Family({"hip_y": (-8, 4), "knee": (-12, -2)}, pitch=pitch, roll=roll)
    for pitch, roll in (((28, 40), 0), ((-40, -28), 0), (0, (28, 40)), (0, (-40, -28)))
)
_BENT = _like("bending_forward", hanging="forward")
_NOT_STANDING = _like(("kneeling", "squatting", "sitting_legs_forward", "lotus"))

NEAR_MISSES: dict[str, NearMiss] = {
    "kneeling_in_air": NearMiss(("kneeling",), _like("kneeling", lift=_AIR)),
    "kneeling_fallen_forward": NearMiss(
        ("kneeling",), _like("kneeling", supports=(), pitch=(50, 85)), ("down", "forward")
    ),
    "kneeling_fallen_sideways": NearMiss(
        ("kneeling",), _like("kneeling", supports=(), roll=(60, 90), either_side=True)
    ),
    "kneeling_on_back": NearMiss(("kneeling",), _like("kneeling", supports=(), pitch=(-95, -70))),
    "one_knee_down": NearMiss(("kneeling",), _like("half_kneeling")),
    "knees_above_floor": NearMiss(("kneeling", "standing"), _LOW_SQUAT),
    "hands_and_knees": NearMiss(("kneeling",), _like("all_fours")),
    "squatting_low": NearMiss(("kneeling", "lotus", "standing"), _like("squatting")),
    "lotus_in_air": NearMiss(("lotus",), _like("lotus", lift=_AIR)),
    "lotus_on_back": NearMiss(("lotus",), _like("lotus", supports=(), pitch=(-100, -80))),
    "lotus_on_side": NearMiss(("lotus",), _like("lotus", supports=(), roll=(60, 90), either_side=True)),
    "lotus_face_down": NearMiss(("lotus",), _like("lotus", supports=(), pitch=(60, 90))),
    "knees_up_sitting": NearMiss(("lotus",), _like("sitting_knees_up"), ("down", "hands_on_knees")),
    "legs_forward_sitting": NearMiss(("lotus", "splits"), _like("sitting_legs_forward")),
    "sitting_on_heels": NearMiss(("lotus",), _like("heel_sitting")),
    "straddle_sitting": NearMiss(("lotus",), _like("splits")),
    "straddle_knees_bent": NearMiss(("splits",), _BENT_STRADDLE),
    "straddle_narrow": NearMiss(("splits",), _NARROW_STRADDLE),
    "straddle_in_air": NearMiss(("splits",), _like("splits", lift=(0.3, 0.6))),
    "straddle_on_back": NearMiss(("splits",), _like("splits", supports=(), pitch=(-100, -75))),
    "straddle_face_down": NearMiss(("splits",), _like("splits", supports=(), pitch=(75, 95))),
    "straddle_standing": NearMiss(("splits",), (*_HIGH_STRADDLE, *_like("wide_stance"))),
    "splits_to_the_front": NearMiss(("splits",), _like("front_splits")),
    "side_lunge": NearMiss(("splits",), _SIDE_LUNGE),
    "leaning": NearMiss(("standing",), _LEANING),
    "bent_over": NearMiss(("standing", "hands-on-hips"), _BENT, ("down", "hands_on_hips")),
    "knees_bent": NearMiss(("standing",), _like("half_squat")),
    "standing_in_air": NearMiss(("standing", "one-leg"), _like("standing", lift=_AIR)),
    "falling_over": NearMiss(("standing",), _like("falling")),
    "one_arm_raised": NearMiss(("arms-raised",), _like("standing"), ("left_raised", "right_raised")),
    "arms_raised_not_standing": NearMiss(("arms-raised",), _NOT_STANDING, ("raised",)),
    "arms_raised_in_air": NearMiss(("arms-raised",), _like("jumping"), ("raised",)),
    "arms_raised_halfway": NearMiss(("arms-raised",), _like("standing"), ("t_pose", "forward", "raised_halfway")),
    "arms_raised_to_head": NearMiss(("arms-raised",), _like("standing"), ("hands_on_head", "flexed")),
    "arms_raised_lying": NearMiss(("arms-raised",), _like("lying_back"), ("raised",)),
    "hands_to_chest": NearMiss(("hands-on-hips", "arms-crossed"), _like("standing"), ("hands_on_chest",)),
    "hands_before_waist": NearMiss(("hands-on-hips", "arms-crossed"), _like("standing"), ("waist_front",)),
    "one_hand_on_hip": NearMiss(("hands-on-hips",), _like("standing"), ("left_hand_on_hip", "right_hand_on_hip")),
    "hands_behind_back": NearMiss(("hands-on-hips",), _like("standing"), ("behind_back",)),
    "hands_on_hips_not_standing": NearMiss(("hands-on-hips",), _NOT_STANDING, ("hands_on_hips",)),
    "arms_hanging": NearMiss(("hands-on-hips", "arms-crossed", "arms-raised"), _like("standing")),
    "weight_on_one_leg": NearMiss(("one-leg",), _WEIGHT_SHIFTED),
    "foot_barely_lifted": NearMiss(("one-leg",), _FOOT_BARELY_UP),
    "one_leg_in_air": NearMiss(("one-leg",), _like("one_leg_left", either_side=True, lift=_AIR)),
    "one_leg_falling": NearMiss(("one-leg",), _like("one_leg_left", either_side=True, supports=(), pitch=(38, 60))),
    "long_step": NearMiss(("one-leg",), _like(("stepping", "lunge"))),
    "hands_merely_touching": NearMiss(("arms-crossed",), _like("standing"), ("hands_touching", "praying")),
    "arms_crossed_not_standing": NearMiss(("arms-crossed",), _NOT_STANDING, ("crossed",)),
    "arms_straight_ahead": NearMiss(("arms-crossed",), _like("standing"), ("forward",)),
}
"""Every near miss by name."""
