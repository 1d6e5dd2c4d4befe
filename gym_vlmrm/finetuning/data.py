"""Frames and captions as a training takes them: pictures of the model's size, graded targets, a held-out share."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity

from gym_vlmrm.finetuning.captions import Captioned, CaptionError, read_picture
from gym_vlmrm.reward.clip.preprocessing import Preprocessing

__all__ = ["CaptionedFrames", "Indices", "prepare", "resized", "split"]

MAX_PAIRS = 20_000_000
"""Most pairs of captions of one picture, over all pictures; each takes some ten bytes."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CaptionedFrames:
    """N pictures at a model's input size, and which of K captions are true of each."""

    pixels: NDArray[np.uint8]
    """(N, H, W, 3)."""
    texts: list[str]
    """K different captions."""
    members: list[Indices]
    """Captions of each picture."""
    kinship: csr_matrix
    """(K, K): (j, k): how much oftener k is true where j is than anywhere, from 0 (no oftener) to 1 (always)."""
    scores: list[NDArray[np.float32]] | None = None
    """How true each picture's captions are of it, in [0, 1]; ``None``: all are true."""

    def targets(self, rows: Indices, columns: Indices) -> NDArray[np.float32]:
        """Return how true captions are of pictures (rows, columns): their own by score, others by kinship to those."""
        kin = self.kinship[:, columns].toarray()
        if self.scores is None:
            return np.stack([kin[self.members[row]].max(axis=0) for row in rows]).astype(np.float32)
        targets = np.empty((len(rows), len(columns)), np.float32)
        places = np.full(len(self.texts), -1)
        places[columns] = np.arange(len(columns))
        for target, row in zip(targets, rows, strict=True):
            own, scores = self.members[row], self.scores[row]
            target[:] = (kin[own] * scores[:, None]).max(axis=0)
            asked = places[own] >= 0
            target[places[own[asked]]] = scores[asked]
        return targets

    def texts_of(self, rows: Indices) -> list[str]:
        """Return the captions of some frames, each once."""
        return [self.texts[number] for number in sorted({int(number) for row in rows for number in self.members[row]})]

    def fingerprint(self) -> str:
        """Return a hash of everything here."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        digest.update(repr((self.pixels.shape, self.texts, [row.tolist() for row in self.members])).encode())
        if self.scores is not None:
            digest.update(repr([row.tolist() for row in self.scores]).encode())
        return digest.hexdigest()


def prepare(data: Captioned, preprocess: Mapping[str, Any]) -> CaptionedFrames:
    """Bring pictures to a model's input size and number their captions.

    Args:
        data: captioned pictures.
        preprocess: the model's ``preprocess_cfg``.

    Raises:
        CaptionError: too few pictures or captions to learn a difference from, or an unreadable picture.
    """
    count = len(data.captions)
    if count < 2:
        raise CaptionError(f"{count} picture is too few to learn from; give at least two, better some hundreds")
    texts = list(dict.fromkeys(text for captions in data.captions for text in captions))
    graded = {score for scores in data.scores or [] for score in scores}
    if len(texts) < 2 and len(graded) < 2:
        raise CaptionError(f"every picture has the caption '{texts[0]}'; nothing can be told apart")
    if sum(len(captions) ** 2 for captions in data.captions) > MAX_PAIRS and not data.complete:
        raise CaptionError(
            f"pictures have so many captions that they make more than {MAX_PAIRS:,} pairs; take out some"
        )
    numbers = {text: number for number, text in enumerate(texts)}
    members = [np.array([numbers[text] for text in captions]) for captions in data.captions]
    fit = Preprocessing(preprocess, torch.device("cpu"))
    pixels = resized(data.pictures, fit)
    scores = None if data.scores is None else [np.array(row, np.float32) for row in data.scores]
    kinship = csr_matrix(identity(len(texts), np.float32)) if data.complete else _kinship(members, scores, len(texts))
    return CaptionedFrames(pixels, texts, members, kinship, scores)


def resized(pictures: Iterable[Path | NDArray[np.uint8]], fit: Preprocessing) -> NDArray[np.uint8]:
    """Return picture files or frames (H, W, 3) at a model's input size, (N, H, W, 3); raises CaptionError."""
    rows = []
    for picture in pictures:
        frame = picture if isinstance(picture, np.ndarray) else read_picture(picture)
        rows.append(fit.levels(torch.from_numpy(np.array(frame))[None])[0].permute(1, 2, 0).numpy())
    return np.array(rows, np.uint8).reshape(-1, *fit.image_size, 3)


def _kinship(members: list[Indices], scores: list[NDArray[np.float32]] | None, count: int) -> csr_matrix:
    """Return the certainty with which one caption implies another, above chance.

    Two phrases for one thing that share pictures are not each other's opposites, even where a picture bears only one.
    """
    rows = np.repeat(np.arange(len(members)), [len(row) for row in members])
    truths = np.ones(len(rows), np.float32) if scores is None else np.concatenate(scores)
    holds = csr_matrix((truths, (rows, np.concatenate(members))), (len(members), count))
    together = (holds.T @ holds).tocoo()
    frequency = np.asarray(holds.sum(axis=0)).ravel()
    share = frequency / len(members)
    conditional = together.data / np.maximum(frequency[together.row], 1e-6)
    certain = (conditional - share[together.col]) / np.maximum(1 - share[together.col], 1e-6)
    certain = np.where(together.row == together.col, 1.0, np.clip(certain, 0.0, 1.0))
    return csr_matrix((certain.astype(np.float32), (together.row, together.col)), (count, count))


def split(count: int, held_out: float, seed: int) -> tuple[Indices, Indices]:
    """Divide picture numbers into those that train and those that judge; at least one each, none held out for 0."""
    order = np.random.default_rng([seed, 1]).permutation(count)
    judges = 0 if held_out == 0 else min(max(round(held_out * count), 1), count - 1)
    return np.sort(order[judges:]), np.sort(order[:judges])
