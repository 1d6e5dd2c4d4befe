"""The humanoid's state in words: quantities for success rules, captions and tables.

Lengths are in metres, angles in degrees, flags are 0 or 1. The world's z points up and the floor is z = 0. "Forward",
"left" and "up" are the axes of the torso. `<side>` is ``left`` or ``right``.

| quantity | meaning |
|---|---|
| torso_up | cosine between the torso's upward axis and the world's: 1 upright, 0 lying, -1 upside down |
| pelvis_up | the same for the pelvis |
| chest_up | the same for the torso's forward axis: 1 lying on its back, -1 on its front |
| pelvis_height, torso_height, head_height | height of the body's centre |
| <side>_knee_height, lower_knee_height, higher_knee_height | height of the knee joint |
| <side>_foot_height, lower_foot_height, higher_foot_height | height of the foot's centre; 0.075 on the floor |
| <side>_hand_height, lower_hand_height, higher_hand_height | height of the hand's centre |
| hands_above_head | height of the lower hand above the head's centre |
| foot_height_difference | height of the higher foot above the lower one |
| knees_distance, feet_distance, hands_distance | distance between left and right |
| <side>_knee_bend, least_knee_bend, most_knee_bend | 0 for a straight leg, about 150 fully bent |
| <side>_elbow_bend | 0 where Gymnasium's model starts, a right angle; positive closes, negative stretches |
| <side>_hand_forward, <side>_hand_left, <side>_hand_up | hand in the torso's frame, from the torso's centre |
| least_hand_forward, lowest_hand_up, highest_hand_up | the smaller or larger of the two |
| hands_crossed | how far the hands have passed one another sideways; negative while each is on its own side |
| <side>_elbow_out, least_elbow_out | how far the elbow is away from the middle of the body, towards its own side |
| <side>_hand_to_hip, farthest_hand_to_hip | distance of the hand from `HIP_REST`, beside the waist |
| <side>_foot_contact, feet_contacts | whether the foot touches the floor; how many do |
| <side>_knee_contact, knees_contacts | whether the leg touches the floor close to its knee; how many do |
| pelvis_contact | whether the seat touches the floor |

Of a body that moves there are also the velocities of `gym_vlmrm.worlds.humanoid.velocities`.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gym_vlmrm.worlds.humanoid.velocities import VELOCITIES, velocities

if TYPE_CHECKING:
    import mujoco

__all__ = ["HIP_REST", "QUANTITIES", "UNITS", "quantities"]

HIP_REST = (0.02, 0.16, -0.30)
"""Where a left hand rests on the hip, in the torso's frame (forward, left, up) [m]; the right one mirrors it."""
_KNEE_RADIUS = 0.13
_SIDES = ("left", "right")
_Place = list[float]


class _Parts(NamedTuple):
    """Where a model keeps what is measured; pairs are left, right."""

    torso: int
    pelvis: int
    head: int
    floor: int
    seat: int
    feet: list[int]
    hands: list[int]
    legs: list[tuple[int, int]]
    elbows: list[int]
    knees: list[int]
    knee_angles: list[int]
    elbow_angles: list[int]


_known: dict[bytes, _Parts] = {}


def _parts(model: "mujoco.MjModel") -> _Parts:
    """Look the parts up once per layout of a model: by name they would cost more than the arithmetic."""
    names: bytes = model.names
    if names not in _known:
        joints = {part: [model.joint(f"{side}_{part}") for side in _SIDES] for part in ("knee", "elbow")}
        _known[names] = _Parts(
            torso=model.body("torso").id,
            pelvis=model.body("pelvis").id,
            head=model.geom("head").id,
            floor=model.geom("floor").id,
            seat=model.geom("butt").id,
            feet=[model.geom(f"{side}_foot").id for side in _SIDES],
            hands=[model.geom(f"{side}_hand").id for side in _SIDES],
            legs=[(model.geom(f"{side}_shin1").id, model.geom(f"{side}_thigh1").id) for side in _SIDES],
            elbows=[model.body(f"{side}_lower_arm").id for side in _SIDES],
            knees=[joint.id for joint in joints["knee"]],
            knee_angles=[int(joint.qposadr[0]) for joint in joints["knee"]],
            elbow_angles=[int(joint.qposadr[0]) for joint in joints["elbow"]],
        )
    return _known[names]


def _lengths(data: "mujoco.MjData", parts: _Parts) -> dict[str, float]:
    """Heights and distances in the world's frame."""
    result: dict[str, float] = {}
    pairs: dict[tuple[str, str], list[_Place]] = {
        ("foot", "feet"): data.geom_xpos[parts.feet].tolist(),
        ("hand", "hands"): data.geom_xpos[parts.hands].tolist(),
        ("knee", "knees"): data.xanchor[parts.knees].tolist(),
    }
    for (part, plural), (left, right) in pairs.items():
        result[f"left_{part}_height"], result[f"right_{part}_height"] = left[2], right[2]
        result[f"lower_{part}_height"], result[f"higher_{part}_height"] = min(left[2], right[2]), max(left[2], right[2])
        result[f"{plural}_distance"] = math.dist(left, right)
    for name, body in (("torso", parts.torso), ("pelvis", parts.pelvis)):
        result[f"{name}_up"], result[f"{name}_height"] = float(data.xmat[body, 8]), float(data.xpos[body, 2])
    result["chest_up"] = float(data.xmat[parts.torso, 6])
    result["head_height"] = float(data.geom_xpos[parts.head, 2])
    result["hands_above_head"] = result["lower_hand_height"] - result["head_height"]
    result["foot_height_difference"] = result["higher_foot_height"] - result["lower_foot_height"]
    return result


def _arms(data: "mujoco.MjData", parts: _Parts) -> dict[str, float]:
    """Hands and elbows in the torso's frame."""
    places = np.concatenate((data.geom_xpos[parts.hands], data.xpos[parts.elbows]))
    local = ((places - data.xpos[parts.torso]) @ data.xmat[parts.torso].reshape(3, 3)).tolist()
    result: dict[str, float] = {}
    for side, sign, hand, elbow in zip(_SIDES, (1.0, -1.0), local[:2], local[2:], strict=True):
        result[f"{side}_hand_forward"], result[f"{side}_hand_left"], result[f"{side}_hand_up"] = hand
        result[f"{side}_elbow_out"] = sign * elbow[1]
        result[f"{side}_hand_to_hip"] = math.dist(hand, (HIP_REST[0], sign * HIP_REST[1], HIP_REST[2]))
    result["hands_crossed"] = result["right_hand_left"] - result["left_hand_left"]
    for name, source, pick in _EXTREMES:
        result[name] = pick(result[f"left_{source}"], result[f"right_{source}"])
    return result


_EXTREMES = (
    ("least_hand_forward", "hand_forward", min),
    ("lowest_hand_up", "hand_up", min),
    ("highest_hand_up", "hand_up", max),
    ("least_elbow_out", "elbow_out", min),
    ("farthest_hand_to_hip", "hand_to_hip", max),
)


def _contacts(data: "mujoco.MjData", parts: _Parts) -> dict[str, float]:
    """Flags of what touches the floor."""
    pairs: list[list[int]] = data.contact.geom.tolist()
    touching = [(max(pair), row) for row, pair in enumerate(pairs) if parts.floor in pair]
    geoms = {geom for geom, _ in touching}
    result = {"pelvis_contact": float(parts.seat in geoms)}
    for side, foot, leg, knee in zip(_SIDES, parts.feet, parts.legs, parts.knees, strict=True):
        rows = [row for geom, row in touching if geom in leg]
        near = any(math.dist(data.contact.pos[row], data.xanchor[knee]) < _KNEE_RADIUS for row in rows)
        result[f"{side}_foot_contact"], result[f"{side}_knee_contact"] = float(foot in geoms), float(near)
    result["feet_contacts"] = result["left_foot_contact"] + result["right_foot_contact"]
    result["knees_contacts"] = result["left_knee_contact"] + result["right_knee_contact"]
    return result


def quantities(model: "mujoco.MjModel", data: "mujoco.MjData", *, moving: bool = True) -> dict[str, float]:
    """Return every quantity of the table above, velocities only if `moving`.

    `data` needs up-to-date positions and contacts, and for velocities what `velocities` needs.
    """
    parts = _parts(model)
    result = _lengths(data, parts) | _arms(data, parts) | _contacts(data, parts)
    for joint, angles in (("knee", parts.knee_angles), ("elbow", parts.elbow_angles)):
        for side, angle in zip(_SIDES, angles, strict=True):
            result[f"{side}_{joint}_bend"] = math.degrees(-data.qpos[angle])
    knees = result["left_knee_bend"], result["right_knee_bend"]
    result["least_knee_bend"], result["most_knee_bend"] = min(knees), max(knees)
    return result | velocities(data, parts.torso, parts.pelvis, parts.hands, parts.feet) if moving else result


_SIDED = (
    "knee_height",
    "foot_height",
    "hand_height",
    "knee_bend",
    "elbow_bend",
    "hand_forward",
    "hand_left",
    "hand_up",
    "elbow_out",
    "hand_to_hip",
    "foot_contact",
    "knee_contact",
)
_SINGLE = (
    "torso_up",
    "pelvis_up",
    "chest_up",
    "pelvis_height",
    "torso_height",
    "head_height",
    "lower_knee_height",
    "higher_knee_height",
    "lower_foot_height",
    "higher_foot_height",
    "lower_hand_height",
    "higher_hand_height",
    "hands_above_head",
    "foot_height_difference",
    "knees_distance",
    "feet_distance",
    "hands_distance",
    "least_knee_bend",
    "most_knee_bend",
    "least_hand_forward",
    "lowest_hand_up",
    "highest_hand_up",
    "hands_crossed",
    "least_elbow_out",
    "farthest_hand_to_hip",
    "feet_contacts",
    "knees_contacts",
    "pelvis_contact",
)
QUANTITIES: tuple[str, ...] = (
    *(f"{side}_{name}" for side in ("left", "right") for name in _SIDED), *_SINGLE, *VELOCITIES,
)  # fmt: skip
"""Name of every quantity."""


def _unit(name: str) -> str:
    if name in ("torso_up", "pelvis_up", "chest_up"):
        return "cosine"
    if name.endswith("_bend"):
        return "deg"
    return "count" if name.endswith("_contacts") else "0 or 1" if name.endswith("_contact") else "m"


UNITS: dict[str, str] = {name: _unit(name) for name in QUANTITIES} | VELOCITIES
"""Unit of every quantity."""
