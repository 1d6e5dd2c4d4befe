"""The generators of random numbers that training draws from, as plain data."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from gym_vlmrm.worlds.state import check_position, put_random_state, random_state

__all__ = ["kept_random_states", "put_random_states", "random_states"]


def random_states(space: "spaces.Space[Any] | None" = None) -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's own generators and of a space's."""
    kind, words, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (str(kind), np.asarray(words).astype(np.int64), *rest),
        "torch": torch.get_rng_state(),
        "space": None if space is None else random_state(space.np_random),
    }


def put_random_states(states: dict[str, Any], space: "spaces.Space[Any] | None" = None) -> None:
    """Put all of them back; raises KeyError, ValueError, TypeError or RuntimeError where that is no such state."""
    kind, words, *rest = states["numpy"]
    check_position("MT19937", rest[0])
    random.setstate(states["python"])
    np.random.set_state((kind, words.astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if space is not None and states["space"] is not None:
        put_random_state(space.np_random, states["space"])


@contextlib.contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave Python's, numpy's and torch's own generators as they were before the block."""
    states = random_states()
    try:
        yield
    finally:
        put_random_states(states)
