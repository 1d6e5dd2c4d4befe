"""What motions are: graded rules over velocities, as the poses' definitions are over positions."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeAlias

import mujoco
import numpy as np

from embedded_model.puppets import STEP
from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.humanoid.quantities import quantities
from gym_vlmrm.worlds.poses.kinematics import forward

__all__ = ["MOTIONS", "grade", "measure_motion"]

Measured: TypeAlias = Mapping[str, Floats]
_POINTS = ("head", "left_hand", "right_hand", "left_foot", "right_foot")


def measure_motion(states: Floats) -> dict[str, Floats]:
    """Return named quantities (T, ) of a body that passes configurations (T, 24), one per environment step.

    They are those of `gym_vlmrm.worlds.humanoid.quantities`, with velocities by finite differences since the step
    before (the first row repeats the second's), and ``body_speed``, the mean speed of head, hands and feet [m/s].
    """
    model = forward(states[0]).model
    data = mujoco.MjData(model)
    points = [model.geom(name).id for name in _POINTS]
    rows, places = [], []
    for before, now in pairwise(states):
        mujoco.mj_differentiatePos(model, data.qvel, STEP, before, now)
        data.qpos[:] = now
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        rows.append(quantities(model, data))
        places.append(data.geom_xpos[points].copy())
    moved = np.linalg.norm(np.diff(np.stack(places), axis=0), axis=-1).mean(-1) / STEP
    measured = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    measured["body_speed"] = np.concatenate([moved[:1], moved]) if len(moved) else np.zeros(1)
    return {name: np.concatenate([values[:1], values]) for name, values in measured.items()}


def _ramp(values: Floats, low: float, high: float) -> Floats:
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _upright(m: Measured) -> float:
    return float(_ramp(m["torso_up"].mean(), 0.5, 0.85) * _ramp(m["pelvis_height"].mean(), 0.5, 0.75))


def _travelling(m: Measured, name: str, sign: float) -> float:
    return _upright(m) * float(_ramp(sign * m[name].mean(), 0.05, 1.2))


def _jumping(m: Measured) -> float:
    rising = _ramp(m["vertical_speed"].max(), 0.2, 1.5)
    clear = _ramp(m["lower_foot_height"].max() - 0.075, 0.02, 0.2)
    return float(_ramp(m["torso_up"].mean(), 0.4, 0.8) * (0.4 * rising + 0.6 * clear))


def _waving(m: Measured) -> float:
    sides = [
        _ramp(m[f"{side}_hand_up"].mean(), -0.1, 0.25) * (0.2 + 0.8 * _ramp(m[f"{side}_hand_speed"].mean(), 0.15, 1.2))
        for side in ("left", "right")
    ]
    return float(_ramp(m["torso_up"].mean(), 0.4, 0.8) * max(sides))


def _swinging(m: Measured) -> float:
    sides = [
        _ramp(-m[f"{side}_hand_up"].mean(), -0.15, 0.1) * _ramp(m[f"{side}_hand_speed"].mean(), 0.15, 1.2)
        for side in ("left", "right")
    ]
    return float(max(sides))


def _falling(m: Measured) -> float:
    tipping, sinking = _ramp(m["fall_rate"].mean(), 10, 120), _ramp(-m["vertical_speed"].mean(), 0.1, 1.5)
    return float(tipping * (0.6 + 0.4 * sinking))


def _rising(m: Measured) -> float:
    righting = _ramp(-m["fall_rate"].mean(), 10, 90) * _ramp(m["vertical_speed"].mean(), 0.05, 0.4)
    lifting = _ramp(m["torso_up"].mean(), 0.5, 0.85) * _ramp(m["vertical_speed"].mean(), 0.15, 0.8)
    grounded = 1 - _ramp(m["lower_foot_height"].max() - 0.075, 0.05, 0.2)
    return float(max(righting, lifting) * grounded)


def _crouching(m: Measured) -> float:
    bent = _ramp(m["most_knee_bend"].mean(), 15, 60)
    return float(_ramp(m["torso_up"].mean(), 0.5, 0.85) * bent * _ramp(-m["vertical_speed"].mean(), 0.1, 0.8))


MOTIONS: dict[str, Callable[[Measured], float]] = {
    "walking_forward": lambda m: _travelling(m, "forward_speed", 1),
    "walking_backward": lambda m: _travelling(m, "forward_speed", -1),
    "stepping_left": lambda m: _travelling(m, "leftward_speed", 1),
    "stepping_right": lambda m: _travelling(m, "leftward_speed", -1),
    "turning_left": lambda m: _upright(m) * float(_ramp(m["turn_rate"].mean(), 10, 150)),
    "turning_right": lambda m: _upright(m) * float(_ramp(-m["turn_rate"].mean(), 10, 150)),
    "jumping": _jumping,
    "waving": _waving,
    "swinging_arms": _swinging,
    "falling": _falling,
    "rising": _rising,
    "crouching": _crouching,
    "still": lambda m: _upright(m) * float(np.exp(-m["body_speed"].mean() / 0.2)),
}
"""Name to how much of a motion, from 0 to 1, there is in what was measured of a window."""


def grade(measured: Measured, first: int, last: int, span: int) -> Floats:
    """Return how much of each motion (K,) a window shows.

    Args:
        measured: of a whole film.
        first: first step of the window, whose velocity is that of the step before and does not count.
        last: its last step.
        span: steps that the window stands for; where it is longer than ``last - first``, because the film has only
            begun, the body stood still in the rest of it.
    """
    rows = slice(first + 1, last + 1) if last > first else slice(first, first + 1)
    window = {name: values[rows] for name, values in measured.items()}
    missing = span - (last - first)
    if missing > 0 or last == first:
        still = max(1, missing)
        moves = [name for name in window if name.endswith(("_speed", "_rate"))]
        window = {
            name: np.concatenate([np.full(still, 0.0 if name in moves else measured[name][first]),
                                  values if last > first else values[:0]])
            for name, values in window.items()
        }  # fmt: skip
    return np.array([motion(window) for motion in MOTIONS.values()])
