"""Observation and action spaces as JSON."""

from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["space_from_json", "space_to_json"]


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a Box, Discrete, MultiDiscrete or MultiBinary space in JSON."""
    if isinstance(space, spaces.Box):
        bounds = {"low": [str(x) for x in space.low.ravel()], "high": [str(x) for x in space.high.ravel()]}
        return {"type": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    raise TypeError(f"{type(space).__name__} cannot be stored")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Build the space that `space_to_json` described; raises KeyError, ValueError or TypeError for anything else."""
    kind = data["type"]
    if kind == "Box":
        dtype = np.dtype(data["dtype"])
        low, high = (np.array(data[key], np.float64).astype(dtype).reshape(data["shape"]) for key in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(data["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    raise ValueError(f"unknown space {kind!r}")
