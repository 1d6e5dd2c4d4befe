"""Sizes and seeds of the embedded model's recipe."""

from dataclasses import dataclass

__all__ = ["COUNTS", "Settings"]

COUNTS = {"humanoid": 80_000, "cartpole": 8_000, "mountain-car": 5_000}
"""Frames by domain."""


@dataclass(frozen=True)
class Settings:
    """Sizes and seeds of a training run."""

    seed: int = 1
    landmarks: int = 1500
    """Humanoid states that span the embedding space; a third as many of the other domains."""
    bodies: int = 6000
    """Humanoid states on which definitions are fitted."""
    image_epochs: int = 3
    sentences: int = 150_000
    text_epochs: int = 3
    rounds: int = 1
    """Rounds in which searches and agents look for what fools the model, which then learns it."""
    round_epochs: int = 2
    generations: int = 60
    """Of each search for the highest reward."""
    searched: int = 1200
    """States kept of the searches for one task."""
    agent_steps: int = 64_000
    agent_episodes: int = 6
    """Episodes of an agent at each of its checkpoints."""
    chased: int | None = None
    """How many tasks' rewards are chased in a round; ``None`` takes all."""
