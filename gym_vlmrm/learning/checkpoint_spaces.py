"""Observation and action spaces as JSON."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["space_from_json", "space_to_json"]


MAX_SIZE = 50_000_000
"""Most numbers of an observation or action, or values of a choice."""


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict or Tuple of such, in JSON.

    Raises:
        TypeError: another kind of space.
    """
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound_to_json(space.low), "high": _bound_to_json(space.high)}
        return {"type": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": np.asarray(space.start).tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Dict):
        parts = {key: space_to_json(part) for key, part in space.items()}
        named = all(isinstance(key, str) for key in parts)
        return {"type": "Dict", "spaces": parts if named else [[key, part] for key, part in parts.items()]}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_json(part) for part in space]}
    raise TypeError(f"{type(space).__name__} cannot be stored")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Build the space that `space_to_json` described; raises KeyError, ValueError or TypeError for anything else."""
    kind = data["type"]
    if kind == "Box":
        dtype = np.dtype(data["dtype"])
        if math.prod(data["shape"]) > MAX_SIZE or min(data["shape"], default=0) < 0:
            raise ValueError(f"a space of shape {data['shape']}")
        low, high = (_bound_from_json(data[key], dtype, data["shape"]) for key in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        if data["n"] > MAX_SIZE:
            raise ValueError(f"a space of {data['n']:,} values")
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        if np.sum(data["nvec"], dtype=float) > MAX_SIZE:
            raise ValueError("a space of too many values")
        return spaces.MultiDiscrete(np.array(data["nvec"]), start=data.get("start"))
    if kind == "MultiBinary":
        if np.prod(data["n"], dtype=float) > MAX_SIZE:
            raise ValueError(f"a space of shape {data['n']}")
        return spaces.MultiBinary(data["n"])
    if kind == "Dict":
        parts = data["spaces"]  # pairs where JSON would turn keys into text
        pairs = parts.items() if isinstance(parts, dict) else parts
        return spaces.Dict({key: space_from_json(part) for key, part in pairs})
    if kind == "Tuple":
        return spaces.Tuple([space_from_json(part) for part in data["spaces"]])
    raise ValueError(f"unknown space {kind!r}")


def _bound_to_json(bound: Any) -> str | list[str]:
    """One text where all numbers are equal, as those of pictures are."""
    flat = bound.ravel()
    return str(flat[0]) if flat.size and (flat == flat[0]).all() else [str(number) for number in flat]


def _bound_from_json(bound: Any, dtype: np.dtype[Any], shape: list[int]) -> Any:
    texts = [bound] if isinstance(bound, str) else bound
    numbers = [text == "True" if dtype.kind == "b" else dtype.type(text) for text in texts]
    array = np.array(numbers, dtype)
    return np.full(shape, array[0], dtype) if isinstance(bound, str) else array.reshape(shape)
