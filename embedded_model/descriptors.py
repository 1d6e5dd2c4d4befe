"""What a frame shows, as numbers that do not depend on where the body stands or which way it faces."""

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.poses.kinematics import forward

__all__ = ["ARMS_SIZE", "LEGS_SIZE", "humanoid_descriptors"]
LEGS_SIZE, ARMS_SIZE = 30, 12
_LEG_POINTS = ("left_knee", "right_knee", "left_foot", "right_foot")
_JOINT_OF = {"left_knee": "left_shin", "right_knee": "right_shin"}
HEIGHT_WEIGHT, ORIENTATION_WEIGHT, LEG_WEIGHT = 1.0, 0.5, 0.8


def humanoid_descriptors(qpos: Floats) -> tuple[Floats, Floats]:
    """Describe bodies, invariant to yaw and to the place on the floor.

    Args:
        qpos: (N, 24) configurations.

    Returns:
        Legs and trunk (N, LEGS_SIZE): heights [m], axes of pelvis and torso against the world's up, knees, feet and
        torso in the pelvis's frame [m], each weighted. Arms (N, ARMS_SIZE): elbows and hands in the torso's frame [m].
    """
    rows = [_describe(row) for row in qpos]
    return np.stack([legs for legs, _ in rows]), np.stack([arms for _, arms in rows])


def _describe(qpos: Floats) -> tuple[Floats, Floats]:
    data = forward(qpos)
    pelvis, torso = data.body("pelvis"), data.body("torso")
    pelvis_axes, torso_axes = pelvis.xmat.reshape(3, 3), torso.xmat.reshape(3, 3)
    points = [data.body(_JOINT_OF[name]).xpos if name in _JOINT_OF else data.geom(name).xpos for name in _LEG_POINTS]
    head = data.geom("head").xpos
    heights = [pelvis.xpos[2], head[2], torso.xpos[2], *(point[2] for point in points)]
    local = [(point - pelvis.xpos) @ pelvis_axes for point in (*points, torso.xpos)]
    apart = [np.linalg.norm(points[0] - points[1]), np.linalg.norm(points[2] - points[3])]
    legs = np.concatenate(
        [
            HEIGHT_WEIGHT * np.array(heights),
            ORIENTATION_WEIGHT * np.concatenate([pelvis_axes[2], torso_axes[2]]),
            LEG_WEIGHT * np.concatenate(local),
            LEG_WEIGHT * np.array(apart),
        ]
    )
    arms = [
        (place - torso.xpos) @ torso_axes
        for side in ("left", "right")
        for place in (data.body(f"{side}_lower_arm").xpos, data.geom(f"{side}_hand").xpos)
    ]
    return legs, np.concatenate(arms)
