"""Numbers that say how well a reward tells goal frames from others, and the draws of bootstrap intervals.

A bootstrap draws goal frames and other frames with replacement, each from their own, so every resample has both; or
whole episodes, where frames come from episodes.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gym_vlmrm.arrays import Floats

__all__ = [
    "above_worst_goal", "auc", "bootstrap_episodes", "bootstrap_rows", "epic_distance", "gap", "pearson", "spearman",
]  # fmt: skip
RESAMPLES = 400


def pearson(left: Floats, right: Floats) -> Floats:
    """Pearson correlation along the last axis, (..., N) to (...); 0 where one side does not vary."""
    a = left - left.mean(-1, keepdims=True)
    b = right - right.mean(-1, keepdims=True)
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.asarray((a * b).sum(-1) / np.where(scale > 1e-12, scale, np.inf))


def spearman(left: Floats, right: Floats) -> Floats:
    """Spearman rank correlation along the last axis; ties share their mean rank, 0 where one side does not vary."""
    return pearson(rankdata(left, axis=-1), rankdata(right, axis=-1))


def epic_distance(rewards: Floats, labels: NDArray[np.bool_]) -> Floats:
    """EPIC distance of rewards (..., N) and labels as the paper has it: sqrt(1 - Pearson) / sqrt(2), in [0, 1]."""
    return np.asarray(np.sqrt(np.maximum(0.0, 1 - pearson(rewards, labels.astype(float)))) / math.sqrt(2))


def auc(rewards: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Probability that a goal frame scores above another frame, ties counting half; rewards (..., N), labels (N,)."""
    ranks = rankdata(rewards, axis=-1)
    goals = int(labels.sum())
    others = labels.size - goals
    return np.asarray((ranks[..., labels].sum(-1) - goals * (goals + 1) / 2) / (goals * others))


def gap(rewards: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Mean reward of goal frames above that of others, in units of noise: the root mean of the two variances."""
    goal, other = rewards[..., labels], rewards[..., ~labels]
    noise = np.sqrt((goal.var(-1) + other.var(-1)) / 2)
    return np.asarray((goal.mean(-1) - other.mean(-1)) / np.where(noise > 1e-12, noise, np.inf))


def above_worst_goal(rewards: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Share of the other frames that score above the worst goal frame."""
    worst = rewards[..., labels].min(-1, keepdims=True)
    return np.asarray((rewards[..., ~labels] > worst).mean(-1))


def bootstrap_rows(labels: NDArray[np.bool_], resamples: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the rows (resamples, N) of each resample, goal frames first, and their labels (N,)."""
    rng = np.random.default_rng(seed)
    goal, other = np.flatnonzero(labels), np.flatnonzero(~labels)
    rows = [group[rng.integers(0, len(group), (resamples, len(group)))] for group in (goal, other)]
    order = np.arange(labels.size) < len(goal)
    return np.concatenate(rows, axis=1), order


def bootstrap_episodes(
    episodes: NDArray[Any], labels: NDArray[np.bool_], resamples: int, seed: int
) -> list[NDArray[np.intp]]:
    """Return the rows of each resample, as many episodes as there are, drawn with replacement and taken whole.

    Args:
        episodes: (N,) the episode of each frame.
        labels: (N,) whether it shows the goal; draws without a goal frame, or with nothing else, are made again.
        resamples: how many.
        seed: equal seeds draw alike.
    """
    rng = np.random.default_rng(seed)
    _, index = np.unique(episodes, return_inverse=True)
    rows = [np.flatnonzero(index == episode) for episode in range(index.max() + 1)]
    drawn: list[NDArray[np.intp]] = []
    while len(drawn) < resamples:
        chosen = np.concatenate([rows[episode] for episode in rng.integers(0, len(rows), len(rows))])
        if labels[chosen].any() and not labels[chosen].all():
            drawn.append(chosen)
    return drawn
