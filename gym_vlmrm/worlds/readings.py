"""The named quantities of a world that rules read: of its scene, of an observation, of a step's info."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.task.names import observed_number, part_name, turn
from gym_vlmrm.task.past import look_back
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.answers import one_number

__all__ = ["Readings", "readable_parts"]

_NUMBERS = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


class Readings:
    """Reads quantities by name: ``obs[3]``, ``obs.goal[0]``, ``info.x_position``, ``sin(obs[1])``, or the scene's own.

    What is asked of several states, such as ``mean(turn_rate, 33)``, is what the world remembers of its episode (see
    `gym_vlmrm.worlds.past`).
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        names: Iterable[str],
        *,
        task_id: str,
        written: Any,
        field: str = "success",
    ) -> None:
        """Prepare to read.

        Args:
            env: the world, wrapped or not.
            names: what is read; again and again does no harm.
            task_id: the task, for messages.
            written: the section of the task file that reads them, in its YAML form, to say where a wrong name stands.
            field: its key.

        Raises:
            TaskError: the world has no such quantity.
        """
        self._env, self._task_id, self._written, self._field = env, task_id, written, field
        self._who = "a caption" if field == "captions" else field
        known = list(dict.fromkeys(names))
        self._looks = {name: look for name in known if (look := look_back(name)) is not None}
        self._turns = {name: found for name in known if (found := turn(name)) is not None}
        angles = [angle for _, angle in self._turns.values()]
        known = [
            name for name in dict.fromkeys([*known, *angles]) if name not in self._looks and name not in self._turns
        ]
        self._observed = {name: seen for name in known if (seen := observed_number(name)) is not None}
        self._parts = {keys for keys, _ in self._observed.values()}
        self._informed = {name: name.removeprefix("info.") for name in known if name.startswith("info.")}
        self._scenic = [name for name in known if name not in self._observed and name not in self._informed]
        self._check_names()
        scene: Any = env.unwrapped
        moving = set(self._scenic) & set(getattr(scene, "velocity_names", ()))
        quick = not moving and hasattr(scene, "pose_quantities")
        self._asked_for = "pose_quantities" if quick else "quantities"

    def complete(self, info: Mapping[str, Any]) -> bool:
        """Whether an info has all that is read of it; that of a reset often has not."""
        if not all(one_number(info.get(key)) is not None for key in self._informed.values()):
            return False
        return not self._looks or len(self._env.get_wrapper_attr("past")) > 0

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> dict[str, float]:
        """Return at least those quantities that were named, of the current state and the step that led to it.

        Raises:
            TaskError: a value of ``info`` is missing or is no number.
        """
        values: dict[str, float] = {}
        if self._scenic:
            values |= getattr(self._env.unwrapped, self._asked_for)()
        if self._observed:
            flat = {keys: _part(observation, keys) for keys in self._parts}
            values |= {name: float(flat[keys][index]) for name, (keys, index) in self._observed.items()}
        for name, key in self._informed.items():
            values[name] = self._number(name, key, info)
        for name, (function, angle) in self._turns.items():
            values[name] = function(values[angle]) if math.isfinite(values[angle]) else math.nan
        for name, look in self._looks.items():
            values[name] = self._env.get_wrapper_attr("look_back")(look)
        return values

    def _number(self, name: str, key: str, info: Mapping[str, Any]) -> float:
        if key not in info:
            raise self._error(f"reads '{name}', which a step's info lacks", (f"info.{known}" for known in info), name)
        number = one_number(info[key])
        if number is None:
            given = shorten(repr(info[key]))
            message = f"task '{self._task_id}': {self._who} reads '{name}', which is {given} and not one number"
            raise TaskError(message, field=self._place(name))
        return number

    def _check_names(self) -> None:
        known: tuple[str, ...] = getattr(self._env.unwrapped, "quantity_names", ())
        parts = readable_parts(self._env.observation_space)
        readable = {name: int(np.prod(part.shape or ())) for name, part in parts}
        observed = [
            f"{part}[0] to {part}[{size - 1}]" if size > 1 else f"{part}[0]" for part, size in readable.items() if size
        ]
        for name in self._scenic:
            if name not in known:
                others = known or (*observed, "info.<name>")
                raise self._error(f"reads '{name}', which this environment does not have", others, name)
        for name, (keys, index) in self._observed.items():
            if index >= readable.get(reduce(part_name, keys, "obs"), 0):
                listing = f"{shorten(', '.join(observed), 300)} exist" if observed else ""
                cure = listing or "no observation of this environment is made of numbers"
                message = f"task '{self._task_id}': {self._who} reads '{name}'; {cure}"
                raise TaskError(message, field=self._place(name))

    def _error(self, what: str, known: Any, name: str) -> TaskError:
        names = sorted(known)
        guess = did_you_mean(name, names)
        listing = "" if guess.startswith("; known") else f" known: {', '.join(names)}"
        return TaskError(f"task '{self._task_id}': {self._who} {what}{guess}{listing}", field=self._place(name))

    def _place(self, name: str) -> tuple[str | int, ...]:
        return (self._field, *(_find_name(self._written, name) or ()))


def readable_parts(space: gym.Space[Any], name: str = "obs") -> Iterator[tuple[str, gym.Space[Any]]]:
    """Yield the parts of observations whose numbers rules can read, as they name them: ``obs``, ``obs.goal``."""
    if isinstance(space, _NUMBERS):
        yield name, space
        return
    parts: Iterable[tuple[Any, gym.Space[Any]]] = ()
    if isinstance(space, gym.spaces.Dict):
        parts = space.spaces.items()
    elif isinstance(space, gym.spaces.Tuple):
        parts = enumerate(space.spaces)
    for key, part in parts:
        yield from readable_parts(part, part_name(name, key))


def _part(observation: Any, keys: tuple[str, ...]) -> Any:
    """Return a part of an observation as a flat array."""
    for key in keys:
        observation = observation[key] if isinstance(observation, Mapping) else observation[int(key)]
    return np.asarray(observation).reshape(-1)


def _find_name(written: Any, name: str) -> tuple[str | int, ...] | None:
    """Return the keys that lead to the first place of a written section that reads a quantity."""
    if isinstance(written, str):
        return () if re.match(rf"\s*(\w+\(\s*){{0,2}}{re.escape(name)}\s*([<>=!,)]|$)", written) else None
    parts: Iterable[tuple[str | int, Any]] = ()
    if isinstance(written, Mapping):
        parts = written.items()
    elif isinstance(written, Sequence):
        parts = enumerate(written)
    for key, part in parts:
        below = _find_name(part, name)
        if below is not None:
            return (key, *below)
    return None
