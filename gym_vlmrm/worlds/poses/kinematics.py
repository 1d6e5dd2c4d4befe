"""The humanoid's joints, and how a configuration is turned, mirrored and set down on the floor. No dynamics.

A configuration is Gymnasium's qpos (24,): torso position [m], torso quaternion (w, x, y, z), 17 joint angles [rad].
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from gym_vlmrm.arrays import Floats

__all__ = [
    "JOINTS",
    "LIMITS",
    "NQ",
    "POINTS",
    "Floats",
    "clip_joints",
    "forward",
    "joint_vector",
    "lowest_point",
    "mirror",
    "points",
    "set_down",
    "settle",
    "to_quaternion",
    "to_rotation",
    "turn",
]

JOINTS: tuple[str, ...] = (
    *("abdomen_z", "abdomen_y", "abdomen_x"),
    *("right_hip_x", "right_hip_z", "right_hip_y", "right_knee"),
    *("left_hip_x", "left_hip_z", "left_hip_y", "left_knee"),
    *("right_shoulder1", "right_shoulder2", "right_elbow"),
    *("left_shoulder1", "left_shoulder2", "left_elbow"),
)
"""Hinges in the order of qpos[7:]."""
NQ = 7 + len(JOINTS)
_HIP, _SHOULDER = (-25, 5, -60, 35, -110, 20, -160, -2), (-85, 60, -85, 60, -90, 50)
LIMITS: Floats = np.deg2rad(
    np.reshape((-45, 45, -75, 30, -35, 35, *_HIP, *_HIP, *_SHOULDER, -60, 85, -60, 85, -90, 50), (-1, 2))
)
"""Lower and upper limit of each joint (17, 2) [rad]."""

POINTS: dict[str, tuple[str, tuple[float, float, float], float]] = {
    "head": ("torso", (0.0, 0.0, 0.19), 0.09),
    "right_back": ("torso", (0.0, -0.07, 0.0), 0.07),
    "left_back": ("torso", (0.0, 0.07, 0.0), 0.07),
    "right_seat": ("pelvis", (-0.02, -0.07, 0.0), 0.09),
    "left_seat": ("pelvis", (-0.02, 0.07, 0.0), 0.09),
    "right_knee": ("right_shin", (0.0, 0.0, 0.0), 0.049),
    "left_knee": ("left_shin", (0.0, 0.0, 0.0), 0.049),
    "right_foot": ("right_foot", (0.0, 0.0, 0.1), 0.075),
    "left_foot": ("left_foot", (0.0, 0.0, 0.1), 0.075),
    "right_shoulder": ("right_upper_arm", (0.0, 0.0, 0.0), 0.04),
    "left_shoulder": ("left_upper_arm", (0.0, 0.0, 0.0), 0.04),
    "right_elbow": ("right_lower_arm", (0.0, 0.0, 0.0), 0.04),
    "left_elbow": ("left_lower_arm", (0.0, 0.0, 0.0), 0.04),
    "right_hand": ("right_lower_arm", (0.18, 0.18, 0.18), 0.04),
    "left_hand": ("left_lower_arm", (0.18, -0.18, 0.18), 0.04),
}
"""Points that the body can rest on: name -> (body, place in its frame [m], radius of the flesh around it [m])."""
_MIRROR = np.array([0, 1, 2, 7, 8, 9, 10, 3, 4, 5, 6, 14, 15, 16, 11, 12, 13])
_MIRROR_SIGN = np.array([-1, 1, -1, *[1] * 8, -1, -1, 1, -1, -1, 1], dtype=float)
_LEVEL_WEIGHT = 10.0
"""How much more a support off the floor counts in `settle` than a centre of mass off the supports, per metre."""


class _Scratch(threading.local):
    """One private model and data per thread, so that measuring never touches a simulation."""

    def __init__(self) -> None:
        path = Path(gymnasium.envs.mujoco.__file__).parent / "assets" / "humanoid.xml"
        self.model = mujoco.MjModel.from_xml_path(str(path))
        self.data = mujoco.MjData(self.model)
        floor = self.model.geom("floor").id
        self.geoms = np.flatnonzero(np.arange(self.model.ngeom) != floor)
        self.radius = self.model.geom_size[self.geoms, 0].copy()
        capsule = self.model.geom_type[self.geoms] == int(mujoco.mjtGeom.mjGEOM_CAPSULE)
        self.half_length = np.where(capsule, self.model.geom_size[self.geoms, 1], 0.0)
        arm_bodies = [
            self.model.body(f"{side}_{part}_arm").id for side in ("right", "left") for part in ("upper", "lower")
        ]
        self.no_arms = ~np.isin(self.model.geom_bodyid[self.geoms], arm_bodies)
        self.point_body = np.array([self.model.body(body).id for body, _, _ in POINTS.values()])
        self.point_place = np.array([place for _, place, _ in POINTS.values()])


_scratch = _Scratch()


def joint_vector(degrees: Mapping[str, float]) -> Floats:
    """Return all 17 joint angles [rad] from named ones [deg].

    A name without side (``hip_y``, ``knee``) sets both legs; missing joints are 0.
    """
    angles = dict.fromkeys(JOINTS, 0.0)
    for name, value in degrees.items():
        for joint in (name,) if name in angles else (f"right_{name}", f"left_{name}"):
            angles[joint] = value
    return np.asarray(np.deg2rad([angles[joint] for joint in JOINTS]))


def clip_joints(joints: Floats) -> Floats:
    """Clip joint angles (17,) [rad] to their limits."""
    return np.clip(joints, LIMITS[:, 0], LIMITS[:, 1])


def forward(qpos: Floats) -> mujoco.MjData:
    """Return this thread's scratch data with all body and geom frames of `qpos`; valid until the next call."""
    _scratch.data.qpos[:] = qpos
    mujoco.mj_kinematics(_scratch.model, _scratch.data)
    return _scratch.data


def points(qpos: Floats) -> dict[str, Floats]:
    """Return the world place (3,) [m] of every one of `POINTS`."""
    data = forward(qpos)
    frames = data.xmat[_scratch.point_body].reshape(-1, 3, 3)
    places = data.xpos[_scratch.point_body] + np.einsum("nij,nj->ni", frames, _scratch.point_place)
    return dict(zip(POINTS, places, strict=True))


def lowest_point(qpos: Floats, *, arms: bool = True) -> float:
    """Return the height [m] of the lowest point of the body's surface, with or without its arms."""
    data = forward(qpos)
    heights = data.geom_xpos[_scratch.geoms, 2] - _scratch.radius
    heights -= np.abs(data.geom_xmat[_scratch.geoms, 8]) * _scratch.half_length
    return float(heights.min() if arms else heights[_scratch.no_arms].min())


def set_down(qpos: Floats, *, lift: float = 0.0, arms: bool = True) -> Floats:
    """Return a copy of `qpos` (24,) raised or lowered so that its lowest point is `lift` [m] above the floor."""
    placed = np.array(qpos, dtype=float)
    placed[2] += lift - lowest_point(placed, arms=arms)
    return placed


def to_rotation(quaternions: Floats) -> Rotation:
    """Turn MuJoCo's quaternions (..., 4), scalar first, into rotations."""
    return Rotation.from_quat(np.roll(quaternions, -1, axis=-1))


def to_quaternion(rotation: Rotation) -> Floats:
    """Turn rotations into MuJoCo's quaternions (..., 4), scalar first."""
    return np.asarray(np.roll(rotation.as_quat(), 1, axis=-1))


def turn(qpos: Floats, rotation: Rotation) -> Floats:
    """Return a copy of `qpos` (24,) rotated in the world about its pelvis, pelvis over the origin."""
    turned = np.array(qpos, dtype=float)
    turned[3:7] = to_quaternion(rotation * to_rotation(turned[3:7]))
    pelvis = forward(turned).body("pelvis").xpos
    turned[:2] -= pelvis[:2]
    return turned


def settle(qpos: Floats, supports: Sequence[str], *, balanced: bool = False, iterations: int = 4) -> Floats:
    """Tip the body as little as needed until its supports touch one level and, on request, carry its weight.

    Args:
        qpos: configuration (24,).
        supports: names of `POINTS` that shall rest on the floor.
        balanced: also bring the centre of mass over the mean of the supports (it gives way to level supports).
        iterations: Gauss-Newton steps.

    Returns:
        The tipped configuration (24,); joints are untouched. Set it down afterwards.
    """
    radii = np.array([POINTS[name][2] for name in supports])
    for _ in range(iterations):
        places = points(qpos)
        resting = np.array([places[name] for name in supports])
        mean = resting.mean(axis=0)
        bottoms = resting[:, 2] - radii
        # a small rotation (a, b) about the world's x and y raises a point by a*y - b*x and moves it by (b*z, -a*z)
        rows = np.stack([resting[:, 1] - mean[1], mean[0] - resting[:, 0]], axis=1) * _LEVEL_WEIGHT
        wanted = (bottoms.mean() - bottoms) * _LEVEL_WEIGHT
        if balanced:
            mujoco.mj_comPos(_scratch.model, _scratch.data)
            offset = _scratch.data.subtree_com[1] - mean
            rows = np.vstack([rows, [[0.0, offset[2]], [-offset[2], 0.0]]])
            wanted = np.append(wanted, -offset[:2])
        tip = np.linalg.lstsq(rows, wanted, rcond=1e-3)[0]
        qpos = turn(qpos, Rotation.from_rotvec([*np.clip(tip, -0.5, 0.5), 0.0]))
    return qpos


def mirror(qpos: Floats) -> Floats:
    """Return the left-right mirror image of `qpos` (24,), reflected in the world's x-z plane."""
    mirrored = np.array(qpos, dtype=float)
    mirrored[[1, 4, 6]] *= -1.0
    mirrored[7:] = mirrored[7:][_MIRROR] * _MIRROR_SIGN
    return mirrored
