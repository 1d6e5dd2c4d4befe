"""What an environment may answer: one number, yes or no, an observation that fits its space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from gym_vlmrm.interrupts import is_for_the_caller
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["hides_numbers", "misfit", "not_finite", "one_number", "yes_or_no"]

_PLAIN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def one_number(value: Any) -> float | None:
    """Return a number, or the only one of an array, tensor or list; ``None`` for anything else, words included."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str | bytes | dict) or value is None or hides_numbers(value):
        return None
    try:
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "biufO":
            return None
        return float(array.reshape(())[()])
    except Exception as error:  # ragged lists, objects that refuse, tensors on a device
        if is_for_the_caller(error):
            raise
        return None


def yes_or_no(value: Any) -> bool | None:
    """Return a truth, 0 or 1, or the only one of an array, tensor or list; ``None`` for anything else."""
    number = one_number(value)
    return bool(number) if number in (0.0, 1.0) else None


def hides_numbers(value: Any) -> bool:
    """Whether this is a masked array of numpy with something masked: what lies below was not meant to be read."""
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def misfit(space: spaces.Space[Any], value: Any, where: str = "") -> str | None:
    """Say what of an observation does not fit its space, or ``None`` where everything does.

    Keys, types and shapes count, bounds do not. Whatever numpy casts without loss of kind fits: lists, other floats.
    Spaces that nobody here reads are not looked into.
    """
    if isinstance(space, _PLAIN):
        if type(value) is np.ndarray and value.dtype == space.dtype and value.shape == space.shape:
            return None
        return _misfit_of_array(space, value, where)
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping):
            return f"{_said(where, value)} and not a dict"
        for key, part in space.spaces.items():
            if key not in value:
                return f"it lacks{where}[{key!r}]" if where else f"it lacks {key!r}"
            found = misfit(part, value[key], f"{where}[{key!r}]")
            if found is not None:
                return found
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list | np.ndarray) or len(value) != len(space.spaces):
            return f"{_said(where, value)} and not a tuple of {len(space.spaces)}"
        for index, part in enumerate(space.spaces):
            found = misfit(part, value[index], f"{where}[{index}]")
            if found is not None:
                return found
    elif isinstance(space, spaces.Text) and not isinstance(value, str):
        return f"{_said(where, value)} and not a text"
    return None


def not_finite(value: Any, where: str = "obs") -> str | None:
    """Say which number of an observation is not finite, such as ``obs[3] is nan``; ``None`` where all are."""
    if isinstance(value, Mapping):
        parts = [(f"{where}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, tuple):
        parts = [(f"{where}[{index}]", part) for index, part in enumerate(value)]
    else:
        array = np.asarray(value)
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return None
        flat = array.reshape(-1)
        odd = int(np.flatnonzero(~np.isfinite(flat))[0])
        return f"{where}[{odd}] is {flat[odd]:g}"
    return next((found for name, part in parts if (found := not_finite(part, name)) is not None), None)


def _misfit_of_array(space: spaces.Space[Any], value: Any, where: str) -> str | None:
    wanted = f"{space.dtype} of shape {space.shape}"
    if hides_numbers(value):
        return f"{_said(where, value)}, with masked numbers"
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists, objects that refuse, tensors on a device
        if is_for_the_caller(error):
            raise
        return f"{_said(where, value)} and not {wanted}"
    if array.dtype == object or array.dtype.kind in "SUV":
        return f"{_said(where, value)} and not {wanted}"
    if array.shape != space.shape or not np.can_cast(array.dtype, space.dtype, "same_kind"):  # type: ignore[arg-type]
        return f"{where or 'it'} is {array.dtype} of shape {array.shape} and not {wanted}"
    return None


def _said(where: str, value: Any) -> str:
    return f"{where or 'it'} is {shorten(repr(value), 60)}"
