"""A world in words: its quantities with their units, and which number of an observation or action is what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.task.names import part_name
from gym_vlmrm.task.rules import rule_text, unmet
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.world import episode_limit, make_world

__all__ = ["Number", "Quantity", "WorldDescription", "describe_world", "describing"]

MOST = 1000
"""More numbers than these are not listed one by one: they are a picture."""


_WHOLE = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_ARM = ("shoulder pan", "shoulder lift", "upper arm roll", "elbow flex", "forearm roll", "wrist flex", "wrist roll")
_GYMNASIUM: dict[str, tuple[str, ...]] = {
    "PendulumEnv": ("cosine of the angle, 1 upright", "sine of the angle", "angular velocity [rad/s]"),
    "AcrobotEnv": (
        "cosine of the first angle, 1 hanging",
        "sine of the first angle",
        "cosine of the second angle, 1 straight",
        "sine of the second angle",
        "first angular velocity [rad/s]",
        "second angular velocity [rad/s]",
    ),
    "ReacherEnv": (
        "cosine of the first joint",
        "cosine of the second joint",
        "sine of the first joint",
        "sine of the second joint",
        "target x [m]",
        "target y [m]",
        "first joint velocity [rad/s]",
        "second joint velocity [rad/s]",
        "fingertip x - target x [m]",
        "fingertip y - target y [m]",
    ),
    "PusherEnv": (
        *(f"{joint} [rad]" for joint in _ARM),
        *(f"{joint} velocity [rad/s]" for joint in _ARM),
        *(f"{what} {axis} [m]" for what in ("hand", "object", "goal") for axis in "xyz"),
    ),
    "InvertedDoublePendulumEnv": (
        "cart position [m]",
        "sine of the first pole",
        "sine of the second pole",
        "cosine of the first pole",
        "cosine of the second pole",
        "cart velocity [m/s]",
        "first pole velocity [rad/s]",
        "second pole velocity [rad/s]",
        "force of constraints on the cart [N]",
    ),
}
"""Observations of environments of Gymnasium that tell no names themselves, by class; from its documentation."""
_ACTIONS: dict[str, tuple[str, ...]] = {"PendulumEnv": ("torque [Nm]",)}


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Plain):
    """What a rule of success may read."""

    name: str
    unit: str
    value: float


class Number(_Plain):
    """One number of an observation, or one number or choice of an action."""

    place: str
    """As rules and programs name it: ``obs[3]``, ``action[0]``; a choice is ``action 1``."""
    name: str
    low: float | None = None
    high: float | None = None
    """Bounds; ``None`` where there is none."""
    value: float | None = None


class WorldDescription(_Plain):
    """One state of a task's world."""

    environment: str
    max_episode_steps: int | None
    quantities: list[Quantity]
    observation: list[Number]
    action: list[Number]
    rule: str | None
    success: bool | None
    """The rule's verdict on this state; ``None`` without one, or where it reads what a step tells."""
    lacks: list[str]
    """The comparisons that keep this state from success, each with the value that it has."""


def describe_world(task: TaskSpec, *, seed: int = 0, steps: int = 0) -> WorldDescription:
    """Describe the world of a task after a reset and some random steps.

    Raises:
        TaskError, RenderingError, WorldError: the environment, its scene or the rule of success is wrong.
    """
    world, description = describing(task, seed=seed, steps=steps)
    world.close()
    return description


def describing(
    task: TaskSpec, *, seed: int = 0, steps: int = 0, render_size: int = 64
) -> tuple[gym.Env[Any, Any], WorldDescription]:
    """As `describe_world`, and return the world in that state, for whoever draws it; close it."""
    world = make_world(task, render_size=render_size, limited=True)
    try:
        observation, info = world.reset(seed=seed)
        world.action_space.seed(seed)
        for _ in range(steps):
            observation, _, terminated, truncated, info = world.step(world.action_space.sample())
            if terminated or truncated:
                observation, info = world.reset()
        return world, _describe(task, world, observation, info)
    except BaseException:
        world.close()
        raise


def _describe(task: TaskSpec, world: gym.Env[Any, Any], observation: Any, info: Mapping[str, Any]) -> WorldDescription:
    env: Any = world.unwrapped
    scene = hasattr(env, "quantities") and hasattr(env, "quantity_names")
    units: Mapping[str, str] = getattr(env, "quantity_units", {})
    found = env.quantities() if scene else {}
    rule = task.success_rule
    success, lacks = None, []
    read = world.get_wrapper_attr("read_quantities")
    if rule is not None and read.complete(info):  # what a step tells is not known right after a reset
        values = read(observation, info)
        success, lacks = bool(rule.holds(values)), unmet(rule, values)
    return WorldDescription(
        environment=task.env.id,
        max_episode_steps=episode_limit(task),
        quantities=[Quantity(name=n, unit=units.get(n, ""), value=float(found[n])) for n in sorted(found)],
        observation=list(_numbers(world.observation_space, "obs", _observation_names(env), observation)),
        action=list(_actions(world.action_space, env)),
        rule=None if task.success is None else rule_text(task.success),
        success=success,
        lacks=lacks,
    )


def _numbers(space: spaces.Space[Any], place: str, names: Sequence[str], value: Any = None) -> Iterator[Number]:
    """Describe the numbers of a space one by one; parts of other kinds are one entry each."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _numbers(part, _below(place, key), (), None if value is None else value[key])
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _numbers(part, _below(place, index), (), None if value is None else value[index])
    elif isinstance(space, spaces.Box) and 0 < space.low.size <= MOST:
        values = None if value is None else np.ravel(value)
        for index, (low, high) in enumerate(zip(space.low.ravel(), space.high.ravel(), strict=True)):
            name = names[index] if index < len(names) else ""
            shown = None if values is None else float(values[index])
            yield Number(place=f"{place}[{index}]", name=name, low=_bound(low), high=_bound(high), value=shown)
    elif place.startswith("obs") and isinstance(space, _WHOLE) and np.prod(space.shape or ()) <= MOST:
        for index, shown in enumerate([None] * int(np.prod(space.shape or ())) if value is None else np.ravel(value)):
            said = None if shown is None else float(shown)
            yield Number(place=f"{place}[{index}]", name=shorten(space, 100), value=said)
    else:
        yield Number(place=place, name=shorten(space, 100))


def _below(place: str, key: Any) -> str:
    """Name a part of an observation as rules do."""
    return part_name(place, key) if place.startswith("obs") else f"{place}[{key!r}]"


def _bound(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _actions(space: spaces.Space[Any], env: Any) -> Iterator[Number]:
    names = _action_names(env)
    if isinstance(space, spaces.Discrete) and space.n <= MOST:
        for index in range(int(space.n)):
            name = names[index] if index < len(names) else ""
            yield Number(place=f"action {int(space.start) + index}", name=name)
    else:
        yield from _numbers(space, "action", names)


def _observation_names(env: Any) -> Sequence[str]:
    """A scene's own names, or those that Gymnasium's MuJoCo environments make of the model's joints."""
    told: Sequence[str] = getattr(env, "observation_names", ()) or _GYMNASIUM.get(type(env).__name__, ())
    structure = getattr(env, "observation_structure", None)
    if told or not isinstance(structure, dict) or not hasattr(env, "model"):
        return told
    positions, velocities = _joint_names(env.model)
    skipped = int(structure.get("skipped_qpos", 0))
    names: list[str] = []
    for part, count in structure.items():
        if part == "qpos":
            names += positions[skipped : skipped + int(count)]
        elif part == "qvel":
            names += velocities[: int(count)]
        elif part != "skipped_qpos":
            names += [f"{part}[{index}]" for index in range(int(count))]
    space = env.observation_space
    return names if isinstance(space, spaces.Box) and space.shape == (len(names),) else ()


def _joint_names(model: Any) -> tuple[list[str], list[str]]:
    import mujoco

    positions: list[str] = []
    velocities: list[str] = []
    for index in range(model.njnt):
        joint = model.joint(index)
        name = joint.name or f"joint {index}"
        if joint.type[0] == mujoco.mjtJoint.mjJNT_FREE:
            positions += [f"{name} {part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")]
            velocities += [f"{name} {part}" for part in ("vx", "vy", "vz", "wx", "wy", "wz")]
        elif joint.type[0] == mujoco.mjtJoint.mjJNT_BALL:
            positions += [f"{name} {part}" for part in ("qw", "qx", "qy", "qz")]
            velocities += [f"{name} {part}" for part in ("wx", "wy", "wz")]
        else:
            positions.append(name)
            velocities.append(f"{name} velocity")
    return positions, velocities


def _action_names(env: Any) -> Sequence[str]:
    told: Sequence[str] = getattr(env, "action_names", ()) or _ACTIONS.get(type(env).__name__, ())
    model: Any = getattr(env, "model", None)
    if told or not hasattr(model, "nu"):
        return told
    return [model.actuator(index).name or _moved_by(model, index) for index in range(model.nu)]


def _moved_by(model: Any, actuator: int) -> str:
    """Name what an actuator without a name moves: its joint."""
    import mujoco

    joint = mujoco.mjtTrn.mjTRN_JOINT
    return model.joint(int(model.actuator_trnid[actuator, 0])).name if model.actuator_trntype[actuator] == joint else ""
