"""Poses that random play seldom reaches: Gymnasium's MuJoCo bodies, with any angles of their joints."""

import sys
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.arrays import Floats

__all__ = ["put_anywhere"]

BENT = 0.7
"""How often a joint is moved."""
FAR = 2.0
"""Range of a sliding joint [m] from which it says no more than that something may lie anywhere."""
FALLEN, LONGEST_FALL = 0.5, 1.5
"""How often a pose falls, and for how long at most [s]."""
LIFT, LIFTS = 0.05, 40
"""A body that would stand in the floor is lifted by so much [m], so many times at most."""


def put_anywhere(env: gym.Env[Any, Any], rng: np.random.Generator) -> bool:
    """Put an environment that was just reset into a random pose; False where nobody knows how.

    Hinges turn within their limits, or freely; bodies that are free are turned; what touches the floor too deeply is
    lifted. Where sliders have limits, they slide. Then half of the poses fall for a while, without any force.
    """
    import mujoco

    module = sys.modules.get("gymnasium.envs.mujoco.mujoco_env")
    bare: Any = env.unwrapped
    if module is None or not isinstance(bare, module.MujocoEnv):
        return False
    model, qpos = bare.model, np.array(bare.data.qpos)
    rises: list[int] = []
    for index in range(model.njnt):
        _move(model, index, qpos, rises, rng)
    bare.set_state(qpos, np.zeros(model.nv))
    for _ in range(LIFTS):
        if not rises or not bare.data.ncon or min(contact.dist for contact in bare.data.contact) > -LIFT / 2:
            break
        qpos[rises] += LIFT
        bare.set_state(qpos, np.zeros(model.nv))
    if rng.random() < FALLEN:
        bare.data.ctrl[:] = 0
        mujoco.mj_step(model, bare.data, nstep=round(rng.uniform(0, LONGEST_FALL) / model.opt.timestep))
    return True


def _move(model: Any, index: int, qpos: Floats, rises: list[int], rng: np.random.Generator) -> None:
    import mujoco

    kind, place = model.jnt_type[index], int(model.jnt_qposadr[index])
    low, high = model.jnt_range[index] if model.jnt_limited[index] else (-np.pi, np.pi)
    moved = rng.random() < BENT
    if kind == mujoco.mjtJoint.mjJNT_FREE:
        rises.append(place + 2)
        if moved:
            turn = rng.standard_normal(4)
            qpos[place + 3 : place + 7] = turn / np.linalg.norm(turn)
    elif kind == mujoco.mjtJoint.mjJNT_HINGE:
        if moved:
            qpos[place] = rng.uniform(low, high)
    elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
        if not model.jnt_limited[index]:
            if model.jnt_axis[index][2] > 0.9:
                rises.append(place)
        elif moved and high - low < FAR + 1e-9:
            qpos[place] = rng.uniform(low, high)
