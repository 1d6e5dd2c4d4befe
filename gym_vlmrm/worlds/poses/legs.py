"""What the humanoid does with its legs and trunk: joint angles as data.

Angles are in degrees. ``hip_y`` is negative for a thigh that swings forward, ``knee`` is negative for a bent knee,
``hip_x`` is negative for a leg spread sideways, ``hip_z`` is negative for a leg turned outwards (both legs alike),
``abdomen_y`` is negative when the trunk folds forward. A pair (low, high) is a range: its middle is the canonical
value, variants are drawn from all of it.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["LEG_FAMILIES", "LEG_POSES", "Family", "Range"]

Range: TypeAlias = float | tuple[float, float]


@dataclass(frozen=True)
class Family:
    """One natural way to take a pose."""

    joints: dict[str, Range]
    """Joint angles [deg]; a name without side sets both legs; joints not named are 0."""
    supports: tuple[str, ...] = ()
    """Points (see `kinematics.POINTS`) that rest on the floor."""
    balanced: bool = False
    """Whether the weight is carried by the supports."""
    pitch: Range = 0.0
    """Forward lean of the torso [deg] before the supports are levelled."""
    roll: Range = 0.0
    """Lean of the torso to its right [deg], likewise."""
    lift: Range = 0.0
    """Height of the lowest point above the floor [m]."""
    either_side: bool = False
    """Whether the mirror image is the same pose."""
    arms: str = ""
    """Arms that carry the body; they replace every arm pose."""
    hanging: str = "down"
    """Where arms that are ``down`` hang, relative to the torso."""
    spread: dict[str, Range] = field(default_factory=dict)
    """Offsets [deg] that variants draw for each side by itself; their middle should be 0."""


_FEET = ("right_foot", "left_foot")
_KNEES = ("right_knee", "left_knee")
_SEAT = ("right_seat", "left_seat")
_BACK = ("right_back", "left_back")
_TRUNK: dict[str, Range] = {"abdomen_z": (-8, 8), "abdomen_x": (-6, 6)}
_STEP: dict[str, Range] = {"hip_y": (-6, 6)}
_LEFT_STANDS: dict[str, Range] = {"left_hip_y": (-4, 6), "left_knee": (-10, -2), "left_hip_x": (-3, 5)}

_STANDING = (
    Family({**_TRUNK, "hip_y": (-5, 3), "hip_x": (-6, 2), "knee": (-10, -2)}, _FEET, True, spread=_STEP),
    Family({**_TRUNK, "hip_y": (-8, 4), "hip_x": (-14, -6), "hip_z": (-15, 0), "knee": (-12, -2)}, _FEET, True),
    Family({"abdomen_y": (-12, 12), "hip_y": (-8, 2), "hip_x": (-4, 4), "knee": (-14, -2)}, _FEET, True),
)
_ONE_LEG = (
    Family({**_LEFT_STANDS, "right_hip_y": (-95, -60), "right_knee": (-110, -70)}, ("left_foot",), True),
    Family({**_LEFT_STANDS, "right_hip_y": (-15, 10), "right_knee": (-110, -65)}, ("left_foot",), True),
    Family({**_LEFT_STANDS, "right_hip_y": (-70, -52), "right_knee": (-35, -5)}, ("left_foot",), True),
    Family(
        {**_LEFT_STANDS, "right_hip_y": (-80, -58), "right_hip_z": (-60, -40), "right_knee": (-130, -105)},
        ("left_foot",),
        True,
    ),
)
_LOTUS: dict[str, Range] = {"hip_z": (-60, -54), "knee": (-160, -154)}
_LYING_LEGS: dict[str, Range] = {"hip_y": (-6, 6), "hip_x": (-14, 2), "hip_z": (-10, 5), "knee": (-14, -2)}

LEG_FAMILIES: dict[str, tuple[Family, ...]] = {
    "standing": _STANDING,
    "kneeling": (
        Family({**_TRUNK, "hip_y": (-8, 10), "hip_x": (-14, 0), "knee": (-104, -84)}, _KNEES + _FEET),
        Family({"abdomen_y": (-8, 8), "hip_y": (-34, -14), "hip_x": (-12, 0), "knee": (-125, -105)}, _KNEES + _FEET),
        Family({"hip_y": (-12, 8), "hip_x": (-20, -8), "knee": (-102, -86)}, _KNEES + _FEET),
    ),
    "lotus": (
        Family({"abdomen_y": (-70, -60), **_LOTUS, "hip_x": (-4, 5), "hip_y": (-84, -78)}, _FEET, pitch=(-4, 8)),
        Family({"abdomen_y": (-56, -44), **_LOTUS, "hip_x": (-8, 0), "hip_y": (-80, -72)}, _FEET, pitch=(-4, 8)),
        Family({"abdomen_y": (-4, 8), **_LOTUS, "hip_x": (-24, -22), "hip_y": (-53, -48)}, _FEET, pitch=(-4, 8)),
    ),
    "splits": (
        Family(
            {"abdomen_y": (-24, -8), "hip_x": (-25, -20), "hip_z": -60, "hip_y": (-68, -58), "knee": -2}, _SEAT + _FEET
        ),
        Family({"abdomen_y": (-4, 6), "hip_x": (0, 5), "hip_z": -60, "hip_y": (-100, -93), "knee": -2}, _SEAT + _FEET),
        Family(
            {"abdomen_y": (-45, -30), "hip_x": (-25, -18), "hip_z": -60, "hip_y": (-76, -62), "knee": -2}, _SEAT + _FEET
        ),
    ),
    "front_splits": (
        Family(
            {
                "abdomen_y": (20, 30),
                "left_hip_y": (-110, -100),
                "right_hip_y": (12, 20),
                "left_knee": -2,
                "right_knee": (-14, -4),
            },
            _FEET,
            pitch=15,
            either_side=True,
        ),
    ),
    "one_leg_left": _ONE_LEG,
    "squatting": (
        Family(
            {
                "abdomen_y": (-30, -10),
                "hip_y": (-108, -98),
                "hip_z": (-35, -15),
                "hip_x": (-8, 2),
                "knee": (-138, -122),
            },
            _FEET,
            True,
        ),
        Family({"abdomen_y": (-45, -30), "hip_y": (-108, -100), "hip_z": (-15, 0), "knee": (-135, -118)}, _FEET, True),
    ),
    "half_squat": (
        Family({"abdomen_y": (-15, 0), "hip_y": (-65, -45), "hip_x": (-10, 0), "knee": (-80, -60)}, _FEET, True),
    ),
    "half_kneeling": (
        Family(
            {
                "right_hip_y": (0, 8),
                "right_knee": (-96, -90),
                "left_hip_y": (-87, -80),
                "left_knee": (-92, -82),
                "hip_x": (-8, 0),
                "abdomen_y": (-6, 6),
            },
            ("right_knee", "left_foot"),
            either_side=True,
        ),
    ),
    "heel_sitting": (
        Family({"hip_y": (-80, -66), "hip_x": (-4, 4), "hip_z": (-8, 4), "knee": (-160, -152)}, _KNEES + _FEET),
        Family({"hip_y": (-78, -66), "hip_x": (-4, 4), "hip_z": (-24, -8), "knee": (-160, -152)}, _KNEES + _FEET),
    ),
    "sitting_legs_forward": (
        Family({"abdomen_y": (-12, 4), "hip_y": (-88, -78), "hip_z": (-12, 4), "knee": (-12, -2)}, _SEAT + _FEET),
        Family({"abdomen_y": (-16, -4), "hip_y": (-90, -78), "hip_z": (-14, 2), "knee": (-35, -15)}, _SEAT + _FEET),
    ),
    "sitting_knees_up": (
        Family({"abdomen_y": (-30, -14), "hip_y": (-110, -104), "hip_z": (-10, 5), "knee": (-112, -96)}, _SEAT + _FEET),
        Family({"abdomen_y": (-20, -6), "hip_y": (-106, -96), "hip_z": (-22, -8), "knee": (-100, -80)}, _SEAT + _FEET),
    ),
    "all_fours": (
        Family(
            {"abdomen_y": (-6, 6), "hip_y": (-84, -72), "knee": (-98, -86), "hip_x": (-6, 2)},
            (*_KNEES, "right_hand", "left_hand"),
            pitch=80,
            arms="pushing_up",
        ),
    ),
    "plank": (
        Family(
            {"abdomen_y": (-4, 6), "hip_y": (-6, 4), "knee": -2, "hip_x": (-6, 0)},
            (*_FEET, "right_hand", "left_hand"),
            pitch=70,
            arms="pushing_up",
        ),
    ),
    "lying_back": (
        Family({**_LYING_LEGS}, _SEAT + _BACK + _FEET, pitch=-90),
        Family({"hip_y": (-50, -35), "hip_x": (-6, 2), "knee": (-95, -75)}, _SEAT + _BACK, pitch=-90),
    ),
    "lying_front": (Family({**_LYING_LEGS}, _SEAT + _BACK + _FEET, pitch=90),),
    "lying_side": (
        Family(
            {"hip_y": (-12, 4), "knee": (-20, -2), "abdomen_x": (-4, 8)},
            ("right_shoulder", "right_knee", "right_foot"),
            pitch=0,
            roll=90,
            either_side=True,
        ),
        Family(
            {"hip_y": (-60, -35), "knee": (-80, -45), "abdomen_y": (-20, 0)},
            ("right_shoulder", "right_knee", "right_foot"),
            roll=90,
            either_side=True,
        ),
    ),
    "bending_forward": (
        Family(
            {"abdomen_y": (-50, -30), "hip_y": (-65, -45), "knee": (-12, -2), "hip_x": (-8, 2)},
            _FEET,
            True,
            pitch=90,
            hanging="forward",
        ),
        Family(
            {"abdomen_y": (-72, -55), "hip_y": (-45, -25), "knee": (-20, -6), "hip_x": (-8, 0)},
            _FEET,
            True,
            pitch=90,
            hanging="forward",
        ),
    ),
    "wide_stance": (Family({"hip_x": (-25, -20), "hip_y": (-8, 2), "hip_z": (-12, 2), "knee": (-8, -2)}, _FEET, True),),
    "lunge": (
        Family(
            {"left_hip_y": (-85, -70), "left_knee": (-95, -80), "right_hip_y": (14, 20), "right_knee": (-30, -12)},
            _FEET,
            either_side=True,
        ),
    ),
    "stepping": (
        Family(
            {"left_hip_y": (-35, -22), "left_knee": (-16, -6), "right_hip_y": (12, 20), "right_knee": (-22, -10)},
            _FEET,
            either_side=True,
        ),
    ),
    "high_kick": (
        Family(
            {
                "abdomen_y": (-14, 0),
                "left_hip_y": (-2, 8),
                "left_knee": (-10, -2),
                "right_hip_y": (-110, -95),
                "right_knee": (-16, -2),
            },
            ("left_foot",),
            True,
            either_side=True,
        ),
    ),
    "jumping": (
        Family({"hip_y": (-12, 4), "hip_x": (-8, 2), "knee": (-25, -5)}, pitch=(-8, 8), lift=(0.2, 0.5)),
        Family({"hip_y": (-80, -50), "hip_x": (-8, 2), "knee": (-110, -70)}, pitch=(0, 20), lift=(0.25, 0.5)),
        Family({"hip_y": (-10, 4), "hip_x": (-25, -18), "knee": (-12, -2)}, pitch=(-8, 8), lift=(0.2, 0.5)),
    ),
    "falling": (
        Family({"abdomen_y": (-10, 15), "hip_y": (-15, 10), "knee": (-25, -2)}, pitch=(32, 50), roll=(-12, 12)),
        Family({"abdomen_y": (-20, 5), "hip_y": (-25, 5), "knee": (-25, -2)}, pitch=(-48, -32), roll=(-12, 12)),
        Family(
            {"abdomen_x": (-6, 6), "hip_y": (-20, 5), "hip_x": (-15, 0), "knee": (-25, -2)},
            pitch=(-10, 10),
            roll=(32, 48),
            either_side=True,
        ),
    ),
    "handstand": (
        Family(
            {"abdomen_y": (-4, 10), "hip_y": (-8, 6), "hip_x": (-8, 2), "knee": (-10, -2)},
            ("right_hand", "left_hand"),
            True,
            pitch=180,
            arms="overhead",
        ),
        Family(
            {"hip_y": (-10, 6), "hip_x": (-25, -16), "knee": (-10, -2)},
            ("right_hand", "left_hand"),
            True,
            pitch=180,
            arms="overhead",
        ),
    ),
    "bridge": (
        Family(
            {"abdomen_y": (4, 16), "hip_y": (0, 14), "hip_x": (-8, 2), "knee": (-100, -84)}, _BACK + _FEET, pitch=-115
        ),
    ),
}
"""Families of every leg pose, canonical one first; ``one_leg_right`` mirrors ``one_leg_left``."""

LEG_POSES: tuple[str, ...] = (
    *("standing", "kneeling", "lotus", "splits", "front_splits", "one_leg_left", "one_leg_right", "squatting"),
    *("half_squat", "half_kneeling", "heel_sitting", "sitting_legs_forward", "sitting_knees_up", "all_fours", "plank"),
    *("lying_back", "lying_front", "lying_side", "bending_forward", "wide_stance", "lunge", "stepping", "high_kick"),
    *("jumping", "falling", "handstand", "bridge"),
)
"""Names that `reference_pose` takes."""
