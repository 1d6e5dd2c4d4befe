"""From a sentence about a motion to its place in the space of motions: words, their neighbours, and a sum."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats

__all__ = ["REACH", "MotionSentences", "words_of"]

REACH = 2
"""Words on either side by which a word is understood, so that "not" and "left" count where they stand."""


def words_of(sentence: str) -> list[str]:
    """Return the words of a sentence."""
    return re.findall(r"[a-z0-9']+", sentence.lower())


class MotionSentences:
    """A small network over the words of a sentence; its weights are taught by `embedded_model.motion_head`."""

    def __init__(self, words: Sequence[str], weights: Mapping[str, NDArray[np.floating]]) -> None:
        """Take the known words and the weights of the network.

        Args:
            words: V of them, in the order of the table's rows.
            weights: ``words.table`` (V, E), ``words.near.weight`` (H, (2 REACH + 1) E) and ``words.near.bias`` (H,),
                ``words.sum.weight`` (S, H) and ``words.sum.bias`` (S,).
        """
        self._rows = {word: row for row, word in enumerate(words)}
        self._table, self._near, self._near_bias, self._sum, self._sum_bias = (
            np.asarray(weights[f"words.{name}"], np.float64)
            for name in ("table", "near.weight", "near.bias", "sum.weight", "sum.bias")
        )

    @property
    def words(self) -> set[str]:
        """Words that it was taught."""
        return set(self._rows)

    def embed(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors (K, S) of sentences; words that were never taught say nothing."""
        return np.stack([self._embed(words_of(sentence)) for sentence in sentences]).astype(np.float32)

    def _embed(self, words: Sequence[str]) -> Floats:
        size = self._table.shape[1]
        known = [row for word in words if (row := self._rows.get(word)) is not None]
        told = np.concatenate([np.zeros((REACH, size)), self._table[known], np.zeros((REACH, size))])
        near = [told[place : place + 2 * REACH + 1].reshape(-1) for place in range(len(known))]
        heard = np.zeros(len(self._near))
        if near:
            heard = np.maximum(np.stack(near) @ self._near.T + self._near_bias, 0.0).max(axis=0)
        place = heard @ self._sum.T + self._sum_bias
        length = np.linalg.norm(place)
        return place / length if length > 0 else place
