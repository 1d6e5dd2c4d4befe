"""What audits and searches know of the humanoid's bodies: the space of all of them, and those worth looking at."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.poses.kinematics import (
    LIMITS,
    NQ,
    lowest_point,
    set_down,
    to_quaternion,
    to_rotation,
    turn,
)
from gym_vlmrm.worlds.poses.near_misses import NEAR_MISSES, near_miss_pose
from gym_vlmrm.worlds.poses.poses import ARM_POSES, LEG_POSES, can_combine, pose_path, random_pose, reference_pose
from gym_vlmrm.worlds.scene import SearchSpace

__all__ = ["BODY_SPACE", "PoseSurvey"]
MAX_LIFT = 0.4
"""Highest that a searched body's lowest point may be above the floor [m]."""
START_LEGS = ("standing", "lying_front", "sitting_legs_forward")
"""Legs of the start of a way to a goal."""


def _decode(points: Floats) -> Floats:
    states = np.zeros((len(points), NQ))
    states[:, 7:] = LIMITS[:, 0] + points[:, :17] * (LIMITS[:, 1] - LIMITS[:, 0])
    states[:, 3:7] = to_quaternion(Rotation.from_rotvec((2 * points[:, 17:20] - 1) * np.pi))
    still = Rotation.identity()
    return np.stack([set_down(turn(s, still), lift=p[20] * MAX_LIFT) for s, p in zip(states, points, strict=True)])


def _encode(states: Floats) -> Floats:
    joints = (states[:, 7:] - LIMITS[:, 0]) / (LIMITS[:, 1] - LIMITS[:, 0])
    turns = (to_rotation(states[:, 3:7]).as_rotvec() / np.pi + 1) / 2
    lifts = [[lowest_point(state) / MAX_LIFT] for state in states]
    return np.asarray(np.clip(np.concatenate([joints, turns, lifts], axis=1), 0, 1))


BODY_SPACE = SearchSpace(21, _decode, _encode)
"""17 joint angles within their limits, 3 numbers of the root's rotation, 1 of its height above the floor."""


def _words(legs: str, arms: str) -> str:
    return f"{legs}, arms {arms}".replace("_", " ")


class PoseSurvey:
    """The reference poses of legs and arms that go together; a `BodySurvey`."""

    def __init__(self) -> None:
        pairs = [(legs, arms) for legs in LEG_POSES for arms in ARM_POSES if can_combine(legs, arms)]
        self._pairs = {_words(*pair): pair for pair in pairs}

    def poses(self) -> dict[str, Floats]:
        """Return the canonical body (24,) of every pair of legs and arms."""
        return {name: reference_pose(*pair) for name, pair in self._pairs.items()}

    def variant(self, pose: str, variation: float, rng: np.random.Generator) -> Floats:
        """Draw a natural variant (24,); `variation` scales how far it is from the canonical body."""
        return reference_pose(*self._pairs[pose], rng=rng, variation=variation)

    def near_misses(self, task: str) -> list[str]:
        """Return the names of bodies that almost reach a built-in task's goal; empty where none are known."""
        return [name for name, miss in NEAR_MISSES.items() if task in miss.tasks]

    def near_miss(self, name: str, rng: np.random.Generator) -> Floats:
        """Draw one of them, (24,)."""
        return near_miss_pose(name, rng)

    def anything(self, rng: np.random.Generator) -> Floats:
        """Draw any body (24,) that the joints allow."""
        return random_pose(rng)

    def disturb(self, state: Floats, rng: np.random.Generator) -> Floats:
        """Throw a tenth to six tenths of the joints anywhere, and set the body down again."""
        wild, moved = random_pose(rng), state.copy()
        moved[7:] = np.where(rng.random(17) < rng.uniform(0.1, 0.6), wild[7:], moved[7:])
        return set_down(moved)

    def starts(self) -> Sequence[str]:
        """Return the poses from which a way to a goal may begin, best first."""
        return [_words(legs, "down") for legs in START_LEGS]

    def path(self, start: Floats, end: Floats, count: int) -> Floats:
        """Return `count` bodies (count, 24) on the straight line between two in joint space."""
        return pose_path(start, end, count)
