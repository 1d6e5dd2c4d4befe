"""How a part reads what is told of pictures: one number each, or embeddings that a window remembers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.parts import Part

__all__ = ["Block", "Sight"]


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
