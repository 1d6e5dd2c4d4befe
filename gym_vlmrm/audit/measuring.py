"""From rewards on an audit set to numbers with intervals, confusions, and whether the sentence matters at all."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gym_vlmrm import metrics
from gym_vlmrm.audit.frameset import AuditSet
from gym_vlmrm.audit.judges import CONTROLS, Judge
from gym_vlmrm.audit.landscape import climb_and_valley
from gym_vlmrm.audit.plan import FILE, GRID, NEAR_MISS, POSE
from gym_vlmrm.audit.results import Candidate, Confusion, Control, Interval, Numbers
from gym_vlmrm.catalog import builtin_tasks

__all__ = ["confusions_of", "control_of", "measure"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def measure(frames: AuditSet, rewards: Floats, *, resamples: int = metrics.RESAMPLES, seed: int = 0) -> Numbers:
    """Return the numbers of one reward, (N,), on the audit set."""
    labels = frames.labels
    rows, order = metrics.bootstrap_rows(labels, resamples, seed)
    drawn = rewards[rows]  # (resamples, N), goal frames first
    ranked = rankdata(drawn, axis=-1)
    nearness = None if frames.distance is None else -frames.distance

    def interval(value: Floats, resampled: Floats) -> Interval:
        low, high = np.percentile(resampled, [2.5, 97.5])
        return Interval(value=float(value), low=float(low), high=float(high))

    def simple(function: Callable[..., Floats]) -> Interval:
        return interval(function(rewards, labels), function(drawn, order))

    flags, drawn_flags = labels.astype(float), order.astype(float)
    near = {}
    if nearness is not None:
        drawn_nearness = rankdata(nearness[rows], axis=-1)
        near["spearman_distance"] = interval(
            metrics.spearman(rewards, nearness), metrics.pearson(ranked, drawn_nearness)
        )
        outside = rows[:, ~order]
        near["spearman_approach"] = interval(
            metrics.spearman(rewards[~labels], nearness[~labels]), metrics.spearman(rewards[outside], nearness[outside])
        )
    misses = frames.sources == NEAR_MISS
    keep = labels | (misses & ~labels)
    way = climb_and_valley(frames, rewards)
    return Numbers(
        auc=simple(metrics.auc),
        epic=simple(metrics.epic_distance),
        pearson=interval(metrics.pearson(rewards, flags), metrics.pearson(drawn, drawn_flags)),
        spearman=interval(metrics.spearman(rewards, flags), metrics.pearson(ranked, rankdata(drawn_flags))),
        gap=simple(metrics.gap),
        above_worst_goal=simple(metrics.above_worst_goal),
        auc_near_miss=float(metrics.auc(rewards[keep], labels[keep])) if (misses & ~labels).any() else None,
        climb=None if way is None else way[0],
        valley=None if way is None else way[1],
        mean_goal=float(rewards[labels].mean()),
        mean_other=float(rewards[~labels].mean()),
        spread=float(rewards.std()),
        **near,
    )


def confusions_of(frames: AuditSet, rewards: Floats, most: int = 12) -> list[Confusion]:
    """Return the kinds of other frames that most often beat the median goal frame, the worst first."""
    median = float(np.median(rewards[frames.labels]))
    kinds = []
    names = _kinds(frames)
    for name in np.unique(names[~frames.labels]):
        rows = (names == name) & ~frames.labels
        kinds.append(
            Confusion(name=str(name), frames=int(rows.sum()), above_median_goal=float((rewards[rows] > median).mean()))
        )
    kinds.sort(key=lambda kind: (-kind.above_median_goal, -kind.frames, kind.name))
    return [kind for kind in kinds if kind.above_median_goal > 0][:most]


def _kinds(frames: AuditSet) -> NDArray[np.str_]:
    """What each frame is called among its like: the pose or place where it has one, else where it comes from."""
    named = np.isin(frames.sources, (GRID, POSE, NEAR_MISS, FILE))
    return np.where(named, [name.split(",")[0] for name in frames.names], frames.sources)


def control_of(frames: AuditSet, judge: Judge, looks: Floats, candidate: Candidate) -> Control | None:
    """Ask whether sentences about other things separate the goal as well as its own prompt; ``None`` without prompts.

    What is compared is the mean reward of goal frames above that of others, at alpha 0: on a set with one dimension
    many a sentence has a high AUC by accident, but only one that speaks of the goal moves the reward by much.
    """
    if not judge.reads_prompts:
        return None
    others = [goal for task in builtin_tasks().values() for goal in task.reward.goals]
    sentences = [text for text in dict.fromkeys([*CONTROLS, *others]) if text not in candidate.goal]
    gaps = [_mean_gap(frames, judge, looks, [sentence]) for sentence in sentences]
    own = _mean_gap(frames, judge, looks, candidate.goal)
    best = int(np.argmax(gaps))
    return Control(
        sentences=len(sentences),
        as_good=sum(gap >= own for gap in gaps),
        gap=own,
        best_sentence=sentences[best],
        best_gap=gaps[best],
    )


def _mean_gap(frames: AuditSet, judge: Judge, looks: Floats, goal: list[str]) -> float:
    rewards = judge.rewards(looks, Candidate(goal=goal))
    return float(rewards[frames.labels].mean() - rewards[~frames.labels].mean())
