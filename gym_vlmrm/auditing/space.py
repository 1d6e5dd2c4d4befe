"""Every state of an environment as a point of a unit cube: what a search over states moves in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

__all__ = ["SPACES", "SearchSpace"]

Floats = NDArray[np.float64]
MAX_LIFT = 0.4
"""Highest that a searched body's lowest point may be above the floor [m]."""


@dataclass(frozen=True)
class SearchSpace:
    """Configurations of one environment."""

    dimension: int
    """Edges D of the cube."""
    decode: Callable[[Floats], Floats]
    """Points (N, D) in [0, 1] to configurations (N, C)."""
    encode: Callable[[Floats], Floats]
    """Configurations (N, C) to points (N, D)."""


def _box(low: Floats, high: Floats) -> SearchSpace:
    return SearchSpace(
        len(low),
        lambda points: low + points * (high - low),
        lambda states: np.clip((states - low) / (high - low), 0, 1),
    )


def _decode_humanoid(points: Floats) -> Floats:
    # Here and not above, because importing it imports MuJoCo.
    from gym_vlmrm.worlds.poses.kinematics import LIMITS, NQ, set_down, to_quaternion, turn

    states = np.zeros((len(points), NQ))
    states[:, 7:] = LIMITS[:, 0] + points[:, :17] * (LIMITS[:, 1] - LIMITS[:, 0])
    states[:, 3:7] = to_quaternion(Rotation.from_rotvec((2 * points[:, 17:20] - 1) * np.pi))
    still = Rotation.identity()
    return np.stack([set_down(turn(s, still), lift=p[20] * MAX_LIFT) for s, p in zip(states, points, strict=True)])


def _encode_humanoid(states: Floats) -> Floats:
    from gym_vlmrm.worlds.poses.kinematics import LIMITS, lowest_point, to_rotation

    joints = (states[:, 7:] - LIMITS[:, 0]) / (LIMITS[:, 1] - LIMITS[:, 0])
    turns = (to_rotation(states[:, 3:7]).as_rotvec() / np.pi + 1) / 2
    lifts = [[lowest_point(state) / MAX_LIFT] for state in states]
    return np.asarray(np.clip(np.concatenate([joints, turns, lifts], axis=1), 0, 1))


SPACES: dict[str, SearchSpace] = {
    "Humanoid-v5": SearchSpace(21, _decode_humanoid, _encode_humanoid),
    "CartPole-v1": _box(np.array([-4.5, -np.pi]), np.array([4.5, np.pi])),
    "MountainCarContinuous-v0": _box(np.array([-1.2]), np.array([0.6])),
}
"""Environment ID to its space: joint angles within their limits, the root's rotation and its height above the floor;
cart position [m] and pole angle [rad]; car position [m]."""
