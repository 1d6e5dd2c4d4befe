"""Sizes and seeds of the embedded model's recipe."""

from dataclasses import dataclass
from functools import partial

from gym_vlmrm.teaching.image_tower import OVERRATING, PEAK_RATE

__all__ = ["COUNTS", "POPULATION", "RecipeSettings", "Round"]

COUNTS = {"humanoid": 70_000, "cartpole": 7_000, "mountain-car": 4_000}
"""Frames by domain."""

HARDEST = ("splits", "lotus", "hands-on-hips", "arms-crossed", "one-leg", "kneeling")
"""Tasks whose look from some side is that of another pose, because a limb hides another."""
POPULATION = 40
"""Points per generation of thorough searches, those of the last rounds and those that measure a model. Three times the
usual number, because rewards have an optimum for every side from which a body is seen: a large population finds the
best of many (Hansen and Kern, "Evaluating the CMA evolution strategy on multimodal test functions", PPSN 2004)."""
GOAL_WEIGHT = 2
"""How much more the paper's goals count than other concepts whose scores the image tower learns."""


@dataclass(frozen=True)
class Round:
    """A round in which searches and agents look for what fools the model so far, which then learns it."""

    agents: tuple[str, ...] = ()
    """Goals that agents chase, by the names of `embedded_model.adversaries.chased_tasks`."""
    steps: int = 40_000
    """Environment steps of each agent's training."""
    checkpoints: int = 5
    episodes: int = 6
    """Episodes of an agent at each of its checkpoints."""
    searched: tuple[str, ...] | None = None
    """Goals that are searched for; all if ``None``."""
    drawn: int = 4
    """Goals beside those, drawn from the training sentences."""
    restarts: int = 8
    """Searches for the highest reward of each goal."""
    generations: int = 60
    """Of each search."""
    population: int = 16
    """Points per search and generation."""
    kept: int = 1600
    """States kept of the searches for one goal."""
    share: float = 0.3
    """Share of all earlier humanoid frames that is gone through again, beside new ones and all of the other scenes."""
    epochs: int = 1
    """Passes over those frames."""
    peak_rate: float = PEAK_RATE / 2
    """Highest learning rate."""
    overrating: float = OVERRATING
    """How much worse it is to rate a frame too high than too low."""
    goal_weight: int = GOAL_WEIGHT
    """How much more the paper's goals count than other concepts."""
    overrating_goals: float | None = None
    """How much worse it is to rate a frame too high than too low for one of those goals; as for others if ``None``."""


_hardest = partial(Round, searched=HARDEST, restarts=12, kept=4000)
_thorough = partial(Round, restarts=6, generations=50, population=POPULATION)
_final = partial(_thorough, restarts=10, kept=8000, steps=80_000, share=0.5, goal_weight=10, overrating_goals=16.0)


@dataclass(frozen=True)
class RecipeSettings:
    """Sizes and seeds of a training run."""

    seed: int = 1
    landmarks: int = 1500
    """Humanoid states that span the embedding space; a third as many of the other domains."""
    bodies: int = 6000
    """Humanoid states on which definitions are fitted."""
    image_epochs: int = 4
    sentences: int = 300_000
    text_epochs: int = 5
    rounds: tuple[Round, ...] = (
        Round(share=0.5),
        _hardest(agents=("splits", "kneeling", "lotus", "hands-on-hips")),
        Round(),
        _thorough(share=1.0, epochs=3, peak_rate=PEAK_RATE, overrating=3.0),
        _thorough(share=0.5, overrating=8.0),
        _thorough(kept=2400, share=0.5, overrating=8.0),
        _final(
            agents=("kneeling", "kneeling", "splits", "lotus"),
            searched=("splits", "arms-crossed", "kneeling", "lotus"),
        ),
        _final(agents=("kneeling", "splits"), searched=("splits", "arms-crossed", "splits", "arms-crossed")),
    )
    """Several, because every search finds a new way round what the one before has taught. Agents chase some goals,
    because searches do not find what only physics holds: one once learned to lie on its side with one leg up instead of
    doing the splits, another leaned back on its knees. In the fourth the tower learns all frames, of the data set and
    of every round, as from the beginning: only then does it fit what the rounds found. After it caution weighs more:
    searches had come to prefer views in which what would spoil the pose is hidden, such as crossed arms from behind. In
    the last two the goals weigh more, and caution is about them alone: arms that nothing hides need not pay for it."""
    averaged: int = 2
    """Last rounds the mean of whose image towers is the model's."""
