"""The whole state of a world as plain data: what it takes to go on from a moment as if nothing had happened.

A state is a dictionary of numbers, strings, arrays, ``None``, and lists, tuples and dictionaries of those, none of them
of a class of its own, so that what is read is what was told. Worlds that
have one: the scenes, Gymnasium's classic control, toy text and MuJoCo environments, and any environment whose class has
both ``get_state()``, which returns such data, and ``set_state(state)``.
"""

import copy
import sys
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from gym_vlmrm.errors import WorldError
from gym_vlmrm.interrupts import is_for_the_caller
from gym_vlmrm.worlds.guard import describe

__all__ = [
    "WorldState", "check_position", "is_plain", "put_random_state", "put_state", "random_state", "state_of",
]  # fmt: skip

WorldState: TypeAlias = dict[str, Any]

_GYMNASIUM: dict[type, tuple[str, ...]] = {
    TimeLimit: ("_elapsed_steps",),
    OrderEnforcing: ("_has_reset",),
    PassiveEnvChecker: ("checked_reset", "checked_step", "checked_render"),
}
"""Gymnasium's wrappers by the attributes that make up their state; ours say so themselves, as ``counters``."""
_SIMPLE: dict[str, tuple[str, ...]] = {
    "gymnasium.envs.classic_control.": ("state", "steps_beyond_terminated", "last_u"),
    "gymnasium.envs.toy_text.": (
        "s", "lastaction", "fickle_step", "taxi_orientation",
        "dealer", "player", "dealer_top_card_suit", "dealer_top_card_value_str",
    ),
}  # fmt: skip
"""Attributes that make up the state of Gymnasium's simple environments, by the package of the class."""
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_DERIVED = (
    "x", "geom_x", "site_x", "cam_x", "light_x", "subtree_", "cinert", "cvel", "cacc", "cfrc_", "cdof", "qfrc_", "qacc",
    "actuator_force", "actuator_length", "actuator_velocity", "sensordata", "ten_length", "ten_velocity", "energy",
    "userdata",
)  # fmt: skip
"""Beginnings of the names of MuJoCo's results that environments read between steps, such as ``xipos`` and ``cvel``."""


def state_of(env: gym.Env[Any, Any], *, roughly: bool = False) -> WorldState | None:
    """Return the state of a world, wrappers included, or ``None`` where it has none that can be told.

    Args:
        env: the world.
        roughly: of somebody's own MuJoCo environment tell what MuJoCo knows. What the class keeps beside it begins anew
            with every `put_state`, so that play may go on from there, but not as if nothing had happened.
    """
    layers: list[dict[str, Any]] = []
    while isinstance(env, gym.Wrapper):
        names = _counters(type(env))
        if names is None:
            return None
        layers.append({name: getattr(env, name) for name in names})
        env = env.env
    read = _kind(env, roughly)
    if read is None:
        return None
    generator = env._np_random
    try:
        world = read[0](env)
        random = None if generator is None else random_state(generator)
    except Exception as error:  # such as the NotImplementedError of a base class
        if is_for_the_caller(error):
            raise
        return None
    state = {
        "layers": layers,
        "world": world,
        "random": random,
        "seed": env._np_random_seed,
    }
    return state if is_plain(state) else None


def put_state(env: gym.Env[Any, Any], state: WorldState, *, roughly: bool = False) -> None:
    """Put a world of the same task into a state. It is reset first, for what it sets up only then.

    `roughly` as in `state_of`.

    Raises:
        WorldError: the state is that of another world, or the environment's own ``set_state`` refuses it.
    """
    env.reset(seed=0)
    try:
        for layer in state["layers"]:
            if not isinstance(env, gym.Wrapper) or _counters(type(env)) != tuple(layer):
                raise ValueError("other wrappers")
            for name, value in layer.items():
                setattr(env, name, value)
            env = env.env
        kind = _kind(env, roughly)
        if isinstance(env, gym.Wrapper) or kind is None:
            raise ValueError("other wrappers")
        kind[1](env, state["world"])
        if state["random"] is not None:
            env._np_random = put_random_state(env._np_random, state["random"])
        env._np_random_seed = state["seed"]
    except Exception as error:
        if is_for_the_caller(error):
            raise
        raise WorldError(f"this state is not that of such a world ({describe(error)})") from error


def _counters(layer: type) -> tuple[str, ...] | None:
    """Names of the attributes that are a wrapper's state, or ``None`` for a wrapper that nobody knows."""
    if layer in _GYMNASIUM:
        return _GYMNASIUM[layer]
    # Not `getattr`: a subclass may have more state than it inherits.
    return vars(layer).get("counters") if layer.__module__.startswith("gym_vlmrm.") else None


def _kind(env: Any, roughly: bool) -> tuple[Any, Any] | None:
    """How the state of an environment is read and written, or ``None`` where it has none."""
    modules = [ancestor.__module__ for ancestor in type(env).__mro__]
    if modules[0].startswith("gymnasium.") or modules[0].startswith("gym_vlmrm."):
        for package, names in _SIMPLE.items():
            if any(module.startswith(package) for module in modules):
                return partial(_simple, names), partial(_put_simple, names)
        if "gymnasium.envs.mujoco.mujoco_env" in modules:
            return _mujoco, _put_mujoco
    if "gymnasium.envs.mujoco.mujoco_env" in modules:  # somebody's own, whose set_state takes something else
        return (_mujoco, _put_mujoco) if roughly else None
    if all(callable(getattr(env, name, None)) for name in ("get_state", "set_state")):
        return _own, lambda env, state: env.set_state(copy.deepcopy(state))
    return (_mujoco, _put_mujoco) if roughly and _has_physics(env) else None


def _has_physics(env: Any) -> bool:
    """Whether somebody's own environment, such as a robot of Gymnasium-Robotics, is MuJoCo's below."""
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return False
    model, data = getattr(env, "model", None), getattr(env, "data", None)
    return isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)


def _own(env: Any) -> Any:
    state = env.get_state()
    # Copied, as an environment may go on with the very arrays that it told.
    return copy.deepcopy(state) if is_plain(state) else state


def _simple(names: tuple[str, ...], env: Any) -> dict[str, Any]:
    values = {name: copy.copy(getattr(env, name)) for name in names if hasattr(env, name)}
    # Blackjack's suit is a word of numpy's, which no file holds.
    return {name: str(value) if isinstance(value, str) else value for name, value in values.items()}


def _put_simple(names: tuple[str, ...], env: Any, state: dict[str, Any]) -> None:
    if not state.keys() <= set(names):
        raise ValueError("not its names")
    for name, value in state.items():
        if isinstance(value, str) and not value.isalnum():  # Blackjack's suits are names of pictures
            raise ValueError(f"{name} of {value!r:.50}")
        setattr(env, name, copy.copy(value))


def _mujoco(env: Any) -> dict[str, Any]:
    import mujoco

    model, data = env.model, env.data
    kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    physics = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, physics, kind)
    # What Pusher and Reacher draw at random, they keep beside MuJoCo.
    drawn = {name: copy.copy(getattr(env, name)) for name in ("goal", "goal_pos", "cylinder_pos") if hasattr(env, name)}
    # After a step MuJoCo's results are those of its last substep, and rewards and observations read them.
    return {
        "physics": physics,
        "results": {name: getattr(data, name).copy() for name in _results(data)},
        "drawn": drawn,
    }


_RESULTS: dict[type, tuple[str, ...]] = {}
"""Names of the arrays that MuJoCo's data has; asking for them takes longer than copying them."""


def _results(data: Any) -> tuple[str, ...]:
    kind = type(data)
    if kind not in _RESULTS:
        names = [name for name in dir(data) if name.startswith(_DERIVED)]
        _RESULTS[kind] = tuple(name for name in names if isinstance(getattr(data, name), np.ndarray))
    return _RESULTS[kind]


def _put_mujoco(env: Any, state: dict[str, Any]) -> None:
    import mujoco

    model, data = env.model, env.data
    kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    physics = np.asarray(state["physics"], np.float64)
    if physics.shape != (mujoco.mj_stateSize(model, kind),) or not set(state["results"]) <= set(_results(data)):
        raise ValueError("no state of this model")
    mujoco.mj_resetData(model, data)
    mujoco.mj_setState(model, data, physics, kind)
    for name, value in state["results"].items():
        target = getattr(data, name)
        if target.shape != np.shape(value):
            raise ValueError(f"{name} of shape {np.shape(value)}, not {target.shape}")
        target[...] = value
    for name, value in state["drawn"].items():
        if name in ("goal", "goal_pos", "cylinder_pos"):
            setattr(env, name, copy.copy(value))


_MAX_DEPTH = 100
_MAX_BITS = 4096
_MAX_BYTES = 8


def is_plain(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """Whether a value is made of what can be stored: numbers, strings, ``None``, arrays, and collections of those.

    A class of its own, such as that of a named or masked one, would be lost.
    """
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.number | np.bool_):
        return value.dtype.kind in "biuf" and value.dtype.itemsize <= _MAX_BYTES and value.dtype.isnative
    if kind is int:
        return int(value).bit_length() <= _MAX_BITS
    if kind is dict:
        return depth > 0 and all(
            type(key) in (str, int, bool) and is_plain(key) and is_plain(item, depth - 1) for key, item in value.items()
        )
    if kind in (list, tuple):
        return depth > 0 and all(is_plain(item, depth - 1) for item in value)
    return value is None or kind in (bool, float, str)


def random_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator of random numbers as plain data; raises ValueError for one that nobody knows."""
    state = dict(generator.bit_generator.state)
    _check_generator(state)
    return state


def put_random_state(generator: np.random.Generator | None, state: dict[str, Any]) -> np.random.Generator:
    """Return the generator, or a new one, in a state; raises ValueError, KeyError or TypeError where it is none."""
    _check_generator(state)
    name = state["bit_generator"]
    if generator is None or type(generator.bit_generator).__name__ != name:
        generator = np.random.Generator(getattr(np.random, name)())
    generator.bit_generator.state = state
    return generator


_POSITIONS = {"MT19937": 624, "Philox": 4}
"""Numbers that a generator holds in stock."""


def _check_generator(state: dict[str, Any]) -> None:
    name = state["bit_generator"]
    if name not in _GENERATORS:
        raise ValueError(f"no generator is called {name!r:.50}")
    if name in _POSITIONS:
        check_position(name, state["state"]["pos"] if name == "MT19937" else state["buffer_pos"])


def check_position(generator: str, position: Any) -> None:
    """Check a place within a generator's stock, as numpy reads there without looking; raises ValueError."""
    if not 0 <= int(position) <= _POSITIONS[generator]:
        raise ValueError(f"place {position!r:.50} in the stock of {generator}")
