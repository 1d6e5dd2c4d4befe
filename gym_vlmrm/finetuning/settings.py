"""What a fine-tuning is asked to do, and its reporting while it does it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["SCRATCH", "FinetuningProgress", "Part", "Settings"]

Part: TypeAlias = Literal["projection", "adapters", "all"]
SCRATCH = "scratch"
"""Name of the base model that is built anew."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides a result; equal settings and data give equal weights on a CPU."""

    captions: str
    """Folder of captioned frames, a caption file, or a built-in scene."""
    model: str
    """Name of the base model, or ``scratch``."""
    train: Part = "all"
    """What changes: the last projections, low-rank adapters of its layers, or every weight."""
    steps: int | None = None
    """Batches to learn from; None for as many as `epochs` takes."""
    epochs: int | None = None
    """Passes over the frames; None for 20, and at least 200 steps."""
    batch_size: int = 64
    learning_rate: float | None = None
    """Peak rate; None for the default of the kind of training."""
    seed: int = 0
    device: str = "auto"
    held_out: float = 0.1
    """Share of the frames that judge and never train."""
    patience: int = 5
    """Measurements without a better held-out loss after which training stops."""
    frames: int = 2000
    """Frames to draw of a built-in scene."""


@dataclass(frozen=True)
class FinetuningProgress:
    """How far a fine-tuning is."""

    step: int
    steps: int
    loss: float
    """Smoothed training loss."""
    held_out: float | None
    """Latest held-out loss."""
    seconds_left: float
