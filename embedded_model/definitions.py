"""Definitions of the humanoid's main concepts over measured state, and how nearly a body meets one."""

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.rules import Comparison, parse_rule
from gym_vlmrm.worlds.humanoid.quantities import quantities
from gym_vlmrm.worlds.poses.kinematics import forward

__all__ = ["DEFINITIONS", "Definition", "graded_scores", "measure_bodies"]


@dataclass(frozen=True)
class Definition:
    """What a concept means."""

    block: str
    """Part of the embedding that it speaks of: ``legs`` or ``arms``."""
    comparisons: tuple[str, ...]
    """They all hold where the concept fits."""
    ideal: tuple[str, ...]
    """They hold deep inside, so that the reward goes on rising there."""
    near: float = 0.35
    """What may be lacking until the steep part of the score has fallen to 1/e; see `graded_scores`."""


_UPRIGHT, _IDEALLY_UPRIGHT = ("torso_up > 0.88", "pelvis_height > 0.78"), ("torso_up > 0.95", "pelvis_height > 0.83")
# Wider, because a foot that just leaves the floor moves little: the score has to rise from there on.
_NEAR_ONE_LEG = 0.7


def _one_leg(standing: str, raised: str) -> Definition:
    return Definition(
        "legs",
        (*_UPRIGHT, f"{raised}_foot_height > 0.33", f"{standing}_foot_height < 0.13"),
        (*_IDEALLY_UPRIGHT, f"{raised}_foot_height > 0.46", f"{standing}_foot_height < 0.1"),
        near=_NEAR_ONE_LEG,
    )


DEFINITIONS: dict[str, Definition] = {
    "standing": Definition(
        "legs",
        (*_UPRIGHT, "torso_up > 0.92", "higher_knee_height < 0.72", "higher_foot_height < 0.18"),
        (*_IDEALLY_UPRIGHT, "torso_up > 0.97", "higher_knee_height < 0.5", "higher_foot_height < 0.11"),
    ),
    "kneeling": Definition(
        "legs",
        (
            *("higher_knee_height < 0.14", "torso_up > 0.85", "pelvis_height > 0.24"),
            *("higher_foot_height < 0.25", "least_knee_bend > 62", "knees_distance < 0.52"),
        ),
        (
            *("higher_knee_height < 0.08", "torso_up > 0.95", "pelvis_height > 0.32"),
            *("higher_foot_height < 0.13", "least_knee_bend > 80", "knees_distance < 0.42"),
        ),
    ),
    "lotus": Definition(
        "legs",
        (
            *("pelvis_height < 0.34", "torso_up > 0.78", "least_knee_bend > 98"),
            *("knees_distance > 0.58", "feet_distance < 0.48", "higher_foot_height < 0.18"),
        ),
        (
            *("pelvis_height < 0.24", "torso_up > 0.95", "least_knee_bend > 140"),
            *("knees_distance > 0.75", "feet_distance < 0.3", "higher_foot_height < 0.1"),
        ),
    ),
    "splits": Definition(
        "legs",
        (
            *("pelvis_height < 0.28", "torso_up > 0.65", "feet_distance > 1.2"),
            *("most_knee_bend < 36", "higher_foot_height < 0.22"),
        ),
        (
            *("pelvis_height < 0.14", "torso_up > 0.9", "feet_distance > 1.42"),
            *("most_knee_bend < 12", "higher_foot_height < 0.12"),
        ),
    ),
    "one_leg": Definition(
        "legs",
        (*_UPRIGHT, "foot_height_difference > 0.25", "lower_foot_height < 0.13"),
        (*_IDEALLY_UPRIGHT, "foot_height_difference > 0.38", "lower_foot_height < 0.1"),
        near=_NEAR_ONE_LEG,
    ),
    "one_leg_left": _one_leg("left", "right"),
    "one_leg_right": _one_leg("right", "left"),
    "raised": Definition(
        "arms",
        ("left_hand_up > 0.34", "right_hand_up > 0.34"),
        ("left_hand_up > 0.43", "right_hand_up > 0.43"),
    ),
    "hands_on_hips": Definition(
        "arms",
        ("farthest_hand_to_hip < 0.12", "least_elbow_out > 0.22"),
        ("farthest_hand_to_hip < 0.08", "least_elbow_out > 0.26"),
    ),
    "crossed": Definition(
        "arms",
        (
            *("least_hand_forward > 0.12", "lowest_hand_up > -0.28", "highest_hand_up < 0.22"),
            *("hands_distance < 0.3", "hands_crossed > 0.03"),
        ),
        (
            *("least_hand_forward > 0.26", "lowest_hand_up > -0.17", "highest_hand_up < 0.05"),
            *("hands_distance < 0.2", "hands_crossed > 0.1"),
        ),
    ),
}
"""Comparisons a little stricter than the tasks' success rules, so that the reward is highest inside them, not on their
edge; ideals are about what the reference poses measure, those of crossed arms a little beyond."""

_SCALES = {"bend": 50.0, "torso_up": 0.4}
_LENGTH_SCALE = 0.3
FAR = 8.0
NEAR_SHARE = 0.6


def measure_bodies(bodies: Floats) -> dict[str, Floats]:
    """Return the named quantities (N,) of bodies (N, 24); see `gym_vlmrm.worlds.humanoid.quantities`."""
    rows = []
    for body in bodies:
        data = forward(body)
        mujoco.mj_collision(data.model, data)
        rows.append(quantities(data.model, data))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def graded_scores(definition: Definition, measured: Mapping[str, Floats]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return how nearly bodies, measured by `measure_bodies`, meet a definition, and whether they do: two arrays (N,).

    The score is 1 where the ideal is met, and falls with the distance, the mean of those to comparisons and ideal.
    Each sums what every comparison lacks, in units of 0.3 m, 50 degrees, or 0.4 of uprightness. A part of it falls
    steeply, so that a near miss is told from a success; the rest evenly, so that there is a slope far from the goal,
    where an agent begins.
    """
    from_comparisons, from_ideal = (_lack(texts, measured) for texts in (definition.comparisons, definition.ideal))
    lack = (from_comparisons + from_ideal) / 2
    scores = NEAR_SHARE * np.exp(-lack / definition.near) + (1 - NEAR_SHARE) * np.maximum(0.0, 1.0 - lack / FAR)
    return np.asarray(scores), np.asarray(from_comparisons <= 0)


def _lack(texts: tuple[str, ...], measured: Mapping[str, Floats]) -> Floats:
    total = np.zeros(len(next(iter(measured.values()))))
    for comparison in map(parse_rule, texts):
        assert isinstance(comparison, Comparison)
        sign = 1.0 if comparison.op == "<" else -1.0
        scale = next((value for key, value in _SCALES.items() if key in comparison.name), _LENGTH_SCALE)
        total += np.maximum(0.0, sign * (measured[comparison.name] - comparison.number)) / scale
    return total
