"""Sizes and seeds of the embedded model's recipe."""

from dataclasses import dataclass

__all__ = ["COUNTS", "Round", "Settings"]

COUNTS = {"humanoid": 80_000, "cartpole": 8_000, "mountain-car": 5_000}
"""Frames by domain."""


@dataclass(frozen=True)
class Round:
    """A round in which searches and agents look for what fools the model so far, which then learns it."""

    tasks: tuple[str, ...] | None = None
    """Whose rewards are chased: names as `gym_vlmrm.pretraining.adversaries.chased_tasks` gives; all if ``None``."""
    drawn: int = 0
    """Goals beside those, drawn from the training sentences."""
    restarts: int = 10
    """Searches for the highest reward of each task."""
    generations: int = 60
    """Of each search; 0 searches nothing."""
    searched: int = 1200
    """States kept of the searches for one task."""
    steps: int = 64_000
    """Environment steps of each agent's training; 0 trains none."""
    checkpoints: int = 5
    episodes: int = 6
    """Episodes of an agent at each of its checkpoints."""
    turned: bool = False
    """Whether every state is shown mirrored and turned about the vertical, too."""
    epochs: int = 2
    share: float = 1.0
    """Share of all earlier frames that is gone through again, beside the new ones."""


@dataclass(frozen=True)
class Settings:
    """Sizes and seeds of a training run."""

    seed: int = 1
    landmarks: int = 1500
    """Humanoid states that span the embedding space; a third as many of the other domains."""
    bodies: int = 6000
    """Humanoid states on which definitions are fitted."""
    image_epochs: int = 3
    sentences: int = 300_000
    text_epochs: int = 3
    rounds: tuple[Round, ...] = (
        Round(),
        Round(tasks=("splits",), generations=0, steps=300_000, checkpoints=20, episodes=8, turned=True),
        *(Round(drawn=8, restarts=4, generations=80, searched=640, steps=0, epochs=1, share=0.25),) * 6,
        Round(drawn=8, restarts=4, generations=120, searched=640, steps=0, epochs=1),
    )
    """The second one answers to what an agent of the full length had found; those after it are quick and many, because
    every search finds a new way round what the one before has taught."""
