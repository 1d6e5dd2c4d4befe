"""What a taught model is worth: how well it rates frames that it never saw, caption by caption."""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.arrays import Floats
from gym_vlmrm.learning import statistics
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.teaching.lessons import Curriculum, Lesson

__all__ = ["CaptionFigures", "RoundFigures", "Verdict", "measure_captions"]

TRUE, UNTRUE = 0.9, 0.5
"""Truths from and up to which frames count as showing a caption, or as not showing it."""
FEWEST = 5


class CaptionFigures(BaseModel):
    """One caption on held-out frames of its world."""

    model_config = ConfigDict(frozen=True)

    world: str
    """Environment ID."""
    sentence: str
    """The first of its sentences."""
    goal: bool
    """Whether it is the goal of a task."""
    auc: float | None
    """Probability that a frame of which it is true scores above one of which it is less than half true."""
    spearman: float | None
    """Rank correlation of score and truth; ``None`` where it is equally true of all frames."""
    worst_auc: float | None
    """The least AUC of its sentences."""


class RoundFigures(BaseModel):
    """One hunt for what fools the model."""

    model_config = ConfigDict(frozen=True)

    seen: int
    """States that were looked at."""
    kept: int
    """Of those, how many were taught."""
    fooled: float
    """Share of the states of which the goal seemed true and is less than half true."""
    excess: float
    """Mean of how much truer the goal seemed than it is, over the tenth that was overrated most."""


class Verdict(BaseModel):
    """What the audit of one task says."""

    model_config = ConfigDict(frozen=True)

    task: str
    label: str
    """``teachable``, ``doubtful``, ``exploitable``, ``not separable``, or ``not audited``."""
    reasons: list[str]


def measure_captions(towers: Towers, curriculum: Curriculum, held_out: Mapping[int, Lesson]) -> list[CaptionFigures]:
    """Measure every caption of every world; `held_out` holds frames by the number of their world."""
    rows = []
    for number, world in enumerate(curriculum.worlds):
        lesson = held_out[number]
        frames = towers.embed_frames(lesson.frames)
        for index, (caption, meaning) in enumerate(zip(world.captions, world.meanings, strict=True)):
            scores = (frames @ towers.embed_sentences(caption.sentences).T).astype(np.float64)
            truths = lesson.truths[:, meaning].astype(np.float64)
            aucs = [_auc(scores[:, column], truths) for column in range(scores.shape[1])]
            known = [auc for auc in aucs if auc is not None]
            mean = scores.mean(axis=1)
            rows.append(
                CaptionFigures(
                    world=world.task.env.id,
                    sentence=caption.sentences[0],
                    goal=index in world.goals,
                    auc=_auc(mean, truths),
                    spearman=float(statistics.spearman(mean, truths)) if np.ptp(truths) > 0 else None,
                    worst_auc=min(known) if known else None,
                )
            )
    return rows


def _auc(scores: Floats, truths: Floats) -> float | None:
    known = np.asarray(truths)
    true, untrue = known >= TRUE, known <= UNTRUE
    if min(true.sum(), untrue.sum()) < FEWEST:
        return None
    chosen = true | untrue
    return float(statistics.auc(scores[chosen], true[chosen]))
