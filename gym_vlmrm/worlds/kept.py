"""Pictures of states that a world has left behind: it keeps the state of each step, and draws those that are wanted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import WorldError
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.state import put_state, state_of

__all__ = ["draw_kept", "forget_kept"]


def draw_kept(envs: Sequence[Any], places: Sequence[Sequence[int]]) -> list[Frames]:
    """Return pictures (K, S, S, 3) of states that environments have kept; each is then where it was before.

    Args:
        envs: made with ``later=True`` (see `FrameObservation`).
        places: of each, the numbers of the wanted ones among those that it has kept since `forget_kept`.

    Raises:
        WorldError: a world cannot go back.
    """
    return [_draw(env, chosen) for env, chosen in zip(envs, places, strict=True)]


def _draw(env: FrameObservation, places: Sequence[int]) -> Frames:
    present = state_of(env.env)
    if present is None:
        raise WorldError("the state of this environment cannot be told any more, so no earlier one can be drawn")
    pictures = []
    for place in places:
        put_state(env.env, env.kept[place])
        pictures.append(np.asarray(env.env.render(), np.uint8))
    put_state(env.env, present)
    return np.stack(pictures)


def forget_kept(envs: Sequence[FrameObservation], _: Sequence[Any]) -> list[None]:
    """Let environments forget the states that they have kept."""
    for env in envs:
        env.kept.clear()
    return [None] * len(envs)
