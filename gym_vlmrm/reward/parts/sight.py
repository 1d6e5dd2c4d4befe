"""How a part reads what is told of pictures: one number each, or embeddings that a window remembers."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.parts import Part

__all__ = ["Block", "Sight", "Watcher"]


class Watcher(Protocol):
    """A model that sees the pictures of a window as a film (``join: motion``)."""

    film: int
    """Pictures of a film."""
    width: int
    """Numbers that are remembered of a picture."""

    def look(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """Return the embeddings (N, D) that a `ClipReward` of the same towers sees, if there are any, and what is
        remembered (N, `width`) of frames (N, H, W, 3).
        """
        ...

    def watch(self, pictures: Floats, spacing: int) -> float:
        """Return what a film (`film`, `width`), oldest picture first, `spacing` environment steps apart, is worth."""
        ...


@dataclass(frozen=True)
class Block:
    """Columns of the signals."""

    start: int
    width: int


@dataclass(frozen=True)
class Sight:
    """How a part reads the signals: the number that it gives a picture, or an embedding that its window remembers."""

    part: Part
    model: Any
    blocks: tuple[Block, ...]
    """One for each slot of the part."""

    @property
    def watches(self) -> bool:
        """Whether the model sees films, and no pictures by themselves."""
        return self.part.sees_films

    @property
    def embeds(self) -> bool:
        """Whether the model tells embeddings, so that a mean of them can be normalised."""
        return hasattr(self.model, "embed")

    def value(self, embedding: Floats) -> float:
        """Return what a mean of embeddings (D,) is worth, or of plain numbers (1,)."""
        if not self.embeds:
            return float(embedding[0])
        length = float(np.sqrt((embedding * embedding).sum()))
        unit = embedding / length if length > 0 else embedding
        return float(self.model.value(unit[None].astype(np.float32))[0])

    def change(self, first: Floats, last: Floats) -> float:
        """Return how far an embedding (D,) has moved towards the goal, or a plain number (1,)."""
        return float(self.model.change(first, last)) if self.embeds else float(last[0] - first[0])
