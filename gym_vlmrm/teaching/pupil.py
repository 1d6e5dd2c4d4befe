"""Who learns: what a teaching asks of a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.teaching.image_tower import OVERRATING
from gym_vlmrm.teaching.lessons import Curriculum, Lesson

__all__ = ["CAUTION", "REVISION_EPOCHS", "OnStep", "Pupil"]

OnStep: TypeAlias = Callable[[int, int], None]
CAUTION = (OVERRATING, 3.0, 8.0)
"""How much worse it is to rate a frame too high than too low, at first and after each round."""
REVISION_EPOCHS = 3
"""Passes over all frames after each round."""


class Pupil(Protocol):
    """A model that is taught."""

    frame_size: int
    """Side of the frames that it looks at [px]."""

    def begin(self, curriculum: Curriculum, lesson: Lesson, epochs: int, on_step: OnStep) -> None:
        """Learn the sentences, and a first lesson."""
        ...

    def revise(self, lesson: Lesson, number: int, on_step: OnStep) -> None:
        """Learn all lessons so far, as joined, after round `number`."""
        ...

    def rate(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how true (N, K) the meanings seem of frames (N, H, W, 3)."""
        ...

    def write(self, folder: Path) -> None:
        """Write a folder that ``local-dir:`` loads."""
        ...
