"""How the humanoid moves: velocities of the current state, for success rules of motions and for the motion head.

Speeds are in metres per second, rates in degrees per second. They are those of one instant: a hand that waves stands
still at the end of every swing, and rules take the mean of several (`gym_vlmrm.task.past`). A body that was put into a
pose (as audits do) is at rest, and all of them are 0.

| quantity | meaning |
|---|---|
| forward_speed | speed of the torso over the floor in the direction that it faces; negative backwards |
| leftward_speed | the same towards its left |
| feet_forward_speed | forward_speed of the middle between the feet: a body that topples over its feet has none |
| vertical_speed | speed of the torso upwards; negative downwards |
| turn_rate | how fast it turns about the vertical, positive to the left (seen from above against the clock) |
| pelvis_turn_rate | the same of the pelvis: a body that twists its waist has none |
| fall_rate | how fast the angle between the torso and the vertical grows; negative while it rights itself |
| left_hand_speed, right_hand_speed | speed of the hand as the torso sees it: turning and walking do not count |
| fastest_hand_speed | the larger of the two |
| higher_hand_speed | that of the hand that is higher in the torso's frame |
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco

__all__ = ["VELOCITIES", "velocities"]

VELOCITIES: dict[str, str] = {
    "forward_speed": "m/s",
    "leftward_speed": "m/s",
    "feet_forward_speed": "m/s",
    "vertical_speed": "m/s",
    "turn_rate": "deg/s",
    "pelvis_turn_rate": "deg/s",
    "fall_rate": "deg/s",
    "left_hand_speed": "m/s",
    "right_hand_speed": "m/s",
    "fastest_hand_speed": "m/s",
    "higher_hand_speed": "m/s",
}
"""Name to unit."""
_LEVEL = 0.1
"""Least horizontal part of a torso's forward axis by which it still faces somewhere."""


def velocities(data: "mujoco.MjData", torso: int, pelvis: int, hands: list[int], feet: list[int]) -> dict[str, float]:
    """Return the velocities of a state whose ``cvel`` MuJoCo has computed (``mj_comPos``, ``mj_comVel``).

    Args:
        data: the state; all is 0 where ``cvel`` is.
        torso: number of the torso's body, the root of the tree.
        pelvis: number of the pelvis' body.
        hands: numbers of the hands' geoms, left and right.
        feet: numbers of the feet's geoms.
    """
    centre, place = data.subtree_com[torso].tolist(), data.xpos[torso].tolist()
    motion, axes = data.cvel[torso].tolist(), data.xmat[torso].tolist()
    speed = _at(motion, centre, place)
    ahead, up = axes[0::3], axes[2::3]
    level = math.hypot(ahead[0], ahead[1])
    x, y = (ahead[0] / level, ahead[1] / level) if level > _LEVEL else (0.0, 0.0)
    tilt = math.hypot(up[0], up[1])
    sinking = motion[1] * up[0] - motion[0] * up[1]  # how fast the upward axis loses height
    ends = [*hands, *feet]
    places = data.geom_xpos[ends].tolist()
    moves = data.cvel[data.model.geom_bodyid[ends]].tolist()
    speeds = [_at(move, centre, at) for move, at in zip(moves, places, strict=True)]
    of_hands = [math.dist(speeds[i], _at(motion, centre, places[i])) for i in range(2)]
    heights = [sum((a - b) * c for a, b, c in zip(places[i], place, up, strict=True)) for i in range(2)]
    return {
        "forward_speed": x * speed[0] + y * speed[1],
        "leftward_speed": x * speed[1] - y * speed[0],
        "feet_forward_speed": (x * (speeds[2][0] + speeds[3][0]) + y * (speeds[2][1] + speeds[3][1])) / 2,
        "vertical_speed": speed[2],
        "turn_rate": math.degrees(motion[2]),
        "pelvis_turn_rate": math.degrees(float(data.cvel[pelvis, 2])),
        "fall_rate": math.degrees(sinking / tilt) if tilt > 1e-6 else 0.0,
        "left_hand_speed": of_hands[0],
        "right_hand_speed": of_hands[1],
        "fastest_hand_speed": max(of_hands),
        "higher_hand_speed": of_hands[int(heights[1] > heights[0])],
    }


def _at(motion: list[float], centre: list[float], place: list[float]) -> list[float]:
    """Velocity [m/s] at a place of a body with a spatial velocity (rotation, translation of what lies at `centre`)."""
    (a, b, c), (u, v, w) = motion[:3], motion[3:]
    x, y, z = place[0] - centre[0], place[1] - centre[1], place[2] - centre[2]
    return [u + b * z - c * y, v + c * x - a * z, w + a * y - b * x]
