"""Reward landscapes (the paper's figure 2): the mean reward along one coordinate of the state."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.frames import AuditSet
from gym_vlmrm.auditing.results import Candidate, Landscape, Line
from gym_vlmrm.learning.statistics import spearman

__all__ = ["approach", "climb_and_valley", "landscape"]


def approach(frames: AuditSet) -> tuple[list[float], list[NDArray[np.intp]]]:
    """Return the places on the landscape's axis in order, and the rows of the frames at each."""
    places = np.unique(frames.coordinate[~np.isnan(frames.coordinate)])
    return [float(place) for place in places], [np.flatnonzero(frames.coordinate == place) for place in places]


def landscape(frames: AuditSet, lines: Sequence[tuple[str, Candidate, Floats]]) -> Landscape | None:
    """Return the landscape of several rewards, each (model, candidate, rewards (N,)); ``None`` without an axis."""
    places, rows = approach(frames)
    if len(places) < 3:
        return None
    drawn = [
        Line(model=model, candidate=candidate, rewards=[float(rewards[r].mean()) for r in rows])
        for model, candidate, rewards in lines
    ]
    success = [float(frames.labels[r].mean()) for r in rows]
    return Landscape(axis=frames.axis, x=places, success=success, lines=drawn)


def climb_and_valley(frames: AuditSet, rewards: Floats) -> tuple[float, float] | None:
    """Say how steadily the mean reward rises on the way to the goal.

    Every place outside the goal walks towards the nearest place in it, from each side of the goal by itself.

    Returns:
        Rank correlation of reward and progress, and the deepest fall as a share of the reward's range; the worse side
        of each. ``None`` where there is no way.
    """
    places, rows = approach(frames)
    if len(places) < 5:
        return None
    means = np.array([rewards[r].mean() for r in rows])
    inside = np.array([frames.labels[r].mean() >= 0.5 for r in rows])
    if not inside.any() or inside.all():
        return None
    first, last = int(np.flatnonzero(inside)[0]), int(np.flatnonzero(inside)[-1])
    ways = [means[: first + 1], means[last:][::-1]]
    scores = [_walk(way) for way in ways if len(way) >= 4]
    if not scores:
        return None
    return min(climb for climb, _ in scores), max(valley for _, valley in scores)


def _walk(means: Floats) -> tuple[float, float]:
    span = float(means.max() - means.min())
    if span < 1e-12:
        return 0.0, 1.0
    valley = float((np.maximum.accumulate(means) - means).max() / span)
    return float(spearman(means, np.arange(len(means), dtype=float))), valley
