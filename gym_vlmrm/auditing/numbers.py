"""From rewards on an audit set to numbers with intervals, confusions, and whether the sentence matters at all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.frames import AuditSet
from gym_vlmrm.auditing.judges import CONTROLS, Judge
from gym_vlmrm.auditing.landscape import climb_and_valley
from gym_vlmrm.auditing.plan import FILE, GRID, NEAR_MISS, POSE
from gym_vlmrm.auditing.results import Candidate, Confusion, Control, Interval, Numbers, Threshold
from gym_vlmrm.learning import statistics
from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import load_task

__all__ = ["MOST_FALSE", "confusions_of", "control_of", "control_sentences", "measure", "threshold_of"]

MOST_FALSE = 0.05
"""Share of the other frames that a proposed threshold of ``success_seen`` may take for successes."""


def measure(frames: AuditSet, rewards: Floats, *, resamples: int = statistics.RESAMPLES, seed: int = 0) -> Numbers:
    """Return the numbers of one reward, (N,), on the audit set, with 95% percentile intervals.

    Resamples draw frames; where every frame comes from an episode they draw episodes, whose frames resemble each other.
    """
    labels = frames.labels
    nearness = None if frames.distance is None else -frames.distance
    resampled = _resampled(frames, rewards, nearness, resamples, seed)
    intervals = {}
    for name, value in _statistics(rewards, labels, nearness).items():
        low, high = np.percentile(resampled[name], [2.5, 97.5])
        intervals[name] = Interval(value=float(value), low=float(low), high=float(high))
    misses = frames.sources == NEAR_MISS
    keep = labels | (misses & ~labels)
    way = climb_and_valley(frames, rewards)
    return Numbers(
        **intervals,
        auc_near_miss=float(statistics.auc(rewards[keep], labels[keep])) if (misses & ~labels).any() else None,
        climb=None if way is None else way[0],
        valley=None if way is None else way[1],
        mean_goal=float(rewards[labels].mean()),
        mean_other=float(rewards[~labels].mean()),
        spread=float(rewards.std()),
    )


def _statistics(rewards: Floats, labels: NDArray[np.bool_], nearness: Floats | None) -> dict[str, Floats]:
    """Return the numbers (...) that have intervals, by field of `Numbers`, of rewards and nearness (..., N)."""
    ranks, flags = rankdata(rewards, axis=-1), labels.astype(float)
    found = {
        "auc": statistics.auc(rewards, labels),
        "epic": statistics.epic_distance(rewards, labels),
        "pearson": statistics.pearson(rewards, flags),
        "spearman": statistics.pearson(ranks, rankdata(flags)),
        "gap": statistics.gap(rewards, labels),
        "above_worst_goal": statistics.above_worst_goal(rewards, labels),
    }
    if nearness is not None:
        found["spearman_distance"] = statistics.pearson(ranks, rankdata(nearness, axis=-1))
        found["spearman_approach"] = statistics.spearman(rewards[..., ~labels], nearness[..., ~labels])
    return found


def _resampled(
    frames: AuditSet, rewards: Floats, nearness: Floats | None, resamples: int, seed: int
) -> dict[str, Floats]:
    """Return the same numbers of every resample, (resamples,)."""
    episodes = frames.episodes
    if episodes is None:
        rows, order = statistics.bootstrap_rows(frames.labels, resamples, seed)
        return _statistics(rewards[rows], order, None if nearness is None else nearness[rows])
    draws = statistics.bootstrap_episodes(episodes, frames.labels, resamples, seed)
    each = [
        _statistics(rewards[rows], frames.labels[rows], None if nearness is None else nearness[rows]) for rows in draws
    ]
    return {name: np.array([found[name] for found in each]) for name in each[0]}


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


def threshold_of(frames: AuditSet, rewards: Floats, above: float | None = None) -> Threshold:
    """Return how often a threshold errs; if none is given, the least that `MOST_FALSE` of the other frames exceed."""
    goal, other = rewards[frames.labels], rewards[~frames.labels]
    if above is None:
        ranked = np.sort(other)
        above = float(ranked[len(ranked) - 1 - int(MOST_FALSE * len(ranked))])
    return Threshold(
        above=above,
        false_positive=float((other > above).mean()),
        false_negative=float((goal <= above).mean()),
    )


def control_sentences(goal: Sequence[str]) -> list[str]:
    """Return sentences about other things than a goal prompt; a registry that grows adds none, so verdicts stay."""
    others = [goal for name in PAPER_TASKS for goal in load_task(name).reward.goals]
    return [text for text in dict.fromkeys([*CONTROLS, *others]) if text not in goal]


def control_of(frames: AuditSet, judge: Judge, looks: Floats, candidate: Candidate) -> Control | None:
    """Ask whether sentences about other things separate the goal as well as its own prompt.

    ``None`` without prompts, and where some forty answers about every frame would cost too much.

    What is compared is the mean reward of goal frames above that of others, at alpha 0: on a set with one dimension
    many a sentence has a high AUC by accident, but only one that speaks of the goal moves the reward by much.
    """
    if not judge.reads_prompts or judge.costly:
        return None
    sentences = control_sentences(candidate.goal)
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
