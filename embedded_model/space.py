"""The embedding space that both towers learn: kernel features of what a frame shows.

Two frames are as similar as a kernel of their states says, so a frame's similarity to a sentence rises smoothly on the
way to what the sentence describes: graded targets, not 0 or 1. The kernel is turned into coordinates by Nystroem's
method (Williams and Seeger, NIPS 2000). A frame's target joins the features of its parts (legs and trunk, arms); a
sentence's target joins the mean features of states that it fits, and zeros for the parts of which it says nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from gym_vlmrm.arrays import Floats
from gym_vlmrm.finetuning.scratch import EMBEDDING_SIZE

__all__ = ["BLOCKS", "SIZE", "Block", "FeatureMap", "Space"]


@dataclass(frozen=True)
class Block:
    """One part of the embedding."""

    domain: str
    size: int
    weight: float
    """Share of the squared length of a frame's embedding."""
    scales: tuple[float, ...]
    """Widths of the kernel, an equal mixture of ``exp(-distance / scale)``, in the descriptor's units."""


BLOCKS: dict[str, Block] = {
    "legs": Block("humanoid", 175, 0.47, (1.6, 0.5)),
    "arms": Block("humanoid", 112, 0.38, (0.8, 0.25)),
    "angle": Block("cartpole", 40, 0.70, (0.9, 0.25)),
    "cart": Block("cartpole", 20, 0.15, (1.5,)),
    "car": Block("mountain-car", 33, 0.85, (0.8,)),
}
DOMAINS = ("humanoid", "cartpole", "mountain-car")
HINT_WEIGHT = 1.4
"""Length of a hint against that of a part that a sentence names."""
SIZE = len(DOMAINS) + sum(block.size for block in BLOCKS.values()) + 1
"""Of the space. No target uses the last coordinate: it is where the image tower's unit vectors put their doubt, so that
a frame that several states may look like is as near to a sentence as those are on average."""
assert SIZE == EMBEDDING_SIZE


class FeatureMap:
    """Nystroem features of one block: descriptors (N, d) to unit rows (N, size)."""

    def __init__(self, landmarks: Floats, size: int, scales: tuple[float, ...]) -> None:
        self.landmarks = landmarks
        self.scales = scales
        values, vectors = np.linalg.eigh(self.kernel(landmarks, landmarks))
        values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
        self.projection: Floats = vectors / np.sqrt(np.maximum(values, 1e-9))

    def kernel(self, left: Floats, right: Floats) -> Floats:
        """Return the kernel (N, M) of descriptors (N, d) and (M, d)."""
        distance = cdist(left, right)
        return np.asarray(np.mean([np.exp(-distance / scale) for scale in self.scales], axis=0))

    def __call__(self, descriptors: Floats) -> Floats:
        """Return unit features (N, size)."""
        return _unit(self.kernel(descriptors, self.landmarks) @ self.projection)


class Space:
    """Targets of frames and of sentences, rows of (N, SIZE) with unit length."""

    def __init__(self, landmarks: Mapping[str, Floats]) -> None:
        """Build the features of every block from landmark descriptors (M, d)."""
        self.maps = {name: FeatureMap(landmarks[name], block.size, block.scales) for name, block in BLOCKS.items()}
        edges = np.cumsum([len(DOMAINS), *(block.size for block in BLOCKS.values())])
        self.columns = {name: slice(int(a), int(b)) for name, a, b in zip(BLOCKS, edges, edges[1:], strict=False)}

    def frames(self, domain: str, descriptors: Mapping[str, Floats]) -> Floats:
        """Return the targets of frames from their descriptors by block."""
        return self._join(domain, {name: self.maps[name](rows) for name, rows in descriptors.items()})

    def sentence(self, domain: str, parts: Mapping[str, Floats], hints: Mapping[str, Floats] | None = None) -> Floats:
        """Return the target (SIZE,) of a sentence.

        Args:
            domain: what the sentence is about.
            parts: (not normalised) mean features of the blocks that it speaks of.
            hints: the same for blocks of which it says nothing but takes something for granted; they are
                `HINT_WEIGHT` times as long.
        """
        given = {name: _unit(mean[None]) for name, mean in parts.items()}
        given |= {name: HINT_WEIGHT * _unit(mean[None]) for name, mean in (hints or {}).items()}
        joined: Floats = self._join(domain, given)[0]
        return joined

    def _join(self, domain: str, features: Mapping[str, Floats]) -> Floats:
        rows = len(next(iter(features.values()))) if features else 1
        joined = np.zeros((rows, SIZE))
        spoken_for = sum(BLOCKS[name].weight for name in BLOCKS if BLOCKS[name].domain == domain)
        joined[:, DOMAINS.index(domain)] = np.sqrt(1 - spoken_for)
        for name, rows_of_block in features.items():
            joined[:, self.columns[name]] = np.sqrt(BLOCKS[name].weight) * rows_of_block
        return _unit(joined)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9))
