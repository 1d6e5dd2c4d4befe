"""Definitions of the humanoid's main concepts over measured state, and how nearly a body meets one."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.envs.humanoid.kinematics import forward
from gym_vlmrm.envs.humanoid.state import quantities
from gym_vlmrm.rules import Comparison, parse_rule

__all__ = ["DEFINITIONS", "Definition", "graded_scores"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Definition:
    """Comparisons that all hold where the concept fits."""

    block: str
    """Part of the embedding that it speaks of: ``legs`` or ``arms``."""
    comparisons: tuple[str, ...]


_UPRIGHT = ("torso_up > 0.88", "pelvis_height > 0.78")
DEFINITIONS: dict[str, Definition] = {
    "standing": Definition(
        "legs", (*_UPRIGHT, "torso_up > 0.92", "higher_knee_height < 0.72", "higher_foot_height < 0.18")
    ),
    "kneeling": Definition(
        "legs",
        (
            "higher_knee_height < 0.14",
            "torso_up > 0.85",
            "pelvis_height > 0.35",
            "higher_foot_height < 0.25",
            "least_knee_bend > 62",
            "knees_distance < 0.52",
        ),
    ),
    "lotus": Definition(
        "legs",
        (
            "pelvis_height < 0.34",
            "torso_up > 0.78",
            "least_knee_bend > 98",
            "knees_distance > 0.58",
            "feet_distance < 0.48",
            "higher_foot_height < 0.18",
        ),
    ),
    "splits": Definition(
        "legs",
        (
            "pelvis_height < 0.28",
            "torso_up > 0.65",
            "feet_distance > 1.2",
            "most_knee_bend < 36",
            "higher_foot_height < 0.22",
        ),
    ),
    "one_leg": Definition("legs", (*_UPRIGHT, "foot_height_difference > 0.25", "lower_foot_height < 0.13")),
    "one_leg_left": Definition("legs", (*_UPRIGHT, "right_foot_height > 0.33", "left_foot_height < 0.13")),
    "one_leg_right": Definition("legs", (*_UPRIGHT, "left_foot_height > 0.33", "right_foot_height < 0.13")),
    "raised": Definition("arms", ("left_hand_up > 0.34", "right_hand_up > 0.34")),
    "hands_on_hips": Definition("arms", ("farthest_hand_to_hip < 0.12", "least_elbow_out > 0.22")),
    "crossed": Definition(
        "arms",
        (
            "least_hand_forward > 0.12",
            "lowest_hand_up > -0.28",
            "highest_hand_up < 0.22",
            "hands_distance < 0.3",
            "hands_crossed > 0.03",
        ),
    ),
}
"""A little stricter than the tasks' success rules, so that the reward is highest inside them, not on their edge."""

_SCALES = {"bend": 50.0, "torso_up": 0.4}
_LENGTH_SCALE = 0.3
NEAR, FAR = 0.7, 8.0


def graded_scores(definition: Definition, bodies: Floats) -> Floats:
    """Return how nearly bodies (N, 24) meet a definition: 1 where all comparisons hold, falling with distance.

    The distance sums what each comparison lacks, in units of 0.3 m, 50 degrees, or 0.4 of uprightness. Most of the
    score falls evenly, so that there is a slope far from the goal too, where an agent begins.
    """
    comparisons = [rule for rule in map(parse_rule, definition.comparisons) if isinstance(rule, Comparison)]
    lacks = np.array([_lack(comparisons, body) for body in bodies])
    return np.asarray(0.4 * np.exp(-lacks / NEAR) + 0.6 * np.maximum(0.0, 1.0 - lacks / FAR))


def _lack(comparisons: list[Comparison], body: Floats) -> float:
    data = forward(body)
    mujoco.mj_collision(data.model, data)
    measured = quantities(data.model, data)
    total = 0.0
    for comparison in comparisons:
        sign = 1.0 if comparison.op == "<" else -1.0
        scale = next((value for key, value in _SCALES.items() if key in comparison.name), _LENGTH_SCALE)
        total += max(0.0, sign * (measured[comparison.name] - comparison.number)) / scale
    return total
