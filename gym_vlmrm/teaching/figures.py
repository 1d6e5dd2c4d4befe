"""What a taught model is worth: how well it rates frames that it never saw, caption by caption."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.arrays import Floats
from gym_vlmrm.learning import statistics
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.teaching.lessons import FEWEST_TRUE, TRUE, Curriculum, Lesson

__all__ = [
    "FEWEST",
    "CaptionFigures",
    "RoundFigures",
    "Verdict",
    "WorldFigures",
    "measure_captions",
]

UNTRUE = 0.5
"""Truth up to which a frame counts as not showing a caption."""
FEWEST = 5
"""Held-out frames of either kind, below which an AUC says nothing."""


class WorldFigures(BaseModel):
    """How an environment was explored."""

    model_config = ConfigDict(frozen=True)

    world: str
    """Environment ID."""
    frames: int
    """Frames of it that were taught, those of the hunts too."""
    held_out: int = 0
    """Frames of it that judge, found by another exploration."""
    tells_states: bool
    """Whether its state can be told and put back, so that play went on from states that were reached."""

    posed: bool
    """Whether it is a scene that was put into configurations too."""

    @property
    def explored(self) -> str:
        """Say how."""
        if self.tells_states:
            return f"{'from poses, and ' if self.posed else ''}from states that were reached"
        return "by random play alone: its state cannot be told and put back (no get_state and set_state)"


class CaptionFigures(BaseModel):
    """One caption on held-out frames of its world."""

    model_config = ConfigDict(frozen=True)

    world: str
    """Environment ID."""
    sentence: str
    """The first of its sentences."""
    goal: bool
    """Whether it is the goal of a task."""
    true_in: int
    """Frames that were taught of which it is true."""
    auc: float | None
    """Probability that a frame of which it is true scores above one of which it is less than half true."""
    spearman: float | None
    """Rank correlation of score and truth; ``None`` where it is equally true of all frames."""
    worst_auc: float | None
    """The least AUC of its sentences."""

    @property
    def hardly_seen(self) -> bool:
        """Whether it is a goal that so few of the frames show that it is hardly learned."""
        return self.goal and self.true_in < FEWEST_TRUE


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


def measure_captions(
    towers: Towers, curriculum: Curriculum, held_out: Mapping[int, Lesson], taught: Mapping[int, Sequence[Lesson]]
) -> list[CaptionFigures]:
    """Measure every caption on frames of its world that were `held_out`, and count those `taught` of which it is true.

    Both are given by the number of the world.
    """
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
                    true_in=sum(int((each.truths[:, meaning] >= TRUE).sum()) for each in taught[number]),
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
