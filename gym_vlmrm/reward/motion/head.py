"""The motion head: what a window of pictures shows of each motion, read from what the image tower knows of each.

It was taught from velocities (`embedded_model/motion_concepts.py`), as the poses were from positions. Of each picture
it reads the embedding, and what the tower knows half way up, since an embedding does not say where a body stands and
which way it faces. A film of four readings, and the time between them, becomes a unit vector in the space of motions:
one axis per motion, along which lies how much of it there is, and one for the rest.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.reward.motion.file import HEAD_FILE, HeadFacts, read_facts, unreadable
from gym_vlmrm.reward.motion.sentences import MotionSentences
from gym_vlmrm.tensors import load_tensors

__all__ = ["FILM", "MotionHead", "film_features", "load_head", "place_of", "through"]

FILM = 4
"""Pictures of a window."""
_EMBEDDING, _MIDDLE = 384, (256, 6, 6)
"""What the embedded model's towers tell of a picture."""
_USUAL = 8.0
"""Steps from picture to picture that are usual; what changes between two is seen as if they had passed."""


class MotionHead:
    """Reads pictures and judges films of them."""

    def __init__(self, facts: HeadFacts, tensors: "dict[str, torch.Tensor]") -> None:
        """Take what a file holds; raises LookupError or ValueError where it does not fit together."""
        weights = {name: tensor.float() for name, tensor in tensors.items()}
        self.motions, self.digest = facts.motions, facts.digest
        self.sentences = MotionSentences(facts.words, {name: value.numpy() for name, value in weights.items()})
        self._channels, self.looks = weights["channels"], _layers(weights, "look")
        self._watch = [(matrix.double().numpy(), bias.double().numpy()) for matrix, bias in _layers(weights, "watch")]
        self.width = len(self.looks[-1][1])
        """Numbers that are read of a picture."""
        with torch.inference_mode():
            seen = self.read(torch.zeros(1, *_MIDDLE), torch.zeros(1, _EMBEDDING))
        places = self.watch(np.zeros((FILM, seen.shape[-1])), 1), self.sentences.embed(["a robot"])[0]
        if any(place.shape != (len(self.motions) + 1,) for place in places):
            raise ValueError("its networks do not fit together")

    def read(self, middle: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
        """Return readings (N, `width`) of pictures, of what `Towers.read_frames` gives."""
        seen = torch.einsum("nchw,kc->nkhw", middle, self._channels.to(unit.device)).flatten(1)
        return through(torch.cat([unit * math.sqrt(unit.shape[-1]), seen], dim=-1), self.looks)

    def watch(self, readings: Floats, spacing: float) -> Floats:
        """Return the unit vector (K + 1,) of a film.

        Args:
            readings: (FILM, `width`), the oldest first.
            spacing: environment steps from one picture to the next.
        """
        found = film_features(readings, spacing)
        for number, (matrix, bias) in enumerate(self._watch):
            found = matrix @ found + bias
            if number < len(self._watch) - 1:
                found = np.maximum(found, 0.0)
        return place_of(1.0 / (1.0 + np.exp(-found)))


def through(found: torch.Tensor, layers: "Sequence[tuple[torch.Tensor, torch.Tensor]]") -> torch.Tensor:
    """Return what a network of linear layers, each a matrix and a bias, makes of (..., I)."""
    for number, (matrix, bias) in enumerate(layers):
        found = functional.linear(found, matrix.to(found.device), bias.to(found.device))
        if number < len(layers) - 1:
            found = functional.relu(found)
    return found


def film_features(readings: Any, spacing: Any) -> Any:
    """Return what a network sees of films: the last reading, and how fast readings change.

    Args:
        readings: (FILM, W), or (N, FILM, W) of torch.
        spacing: steps between pictures, or (N, 1) of torch.
    """
    if isinstance(readings, torch.Tensor):
        changes = (readings[:, 1:] - readings[:, :-1]).flatten(1) * (_USUAL / spacing)
        return torch.cat([readings[:, -1], changes, torch.log(spacing / _USUAL)], dim=-1)
    changes = (readings[1:] - readings[:-1]).reshape(-1) * (_USUAL / spacing)
    return np.concatenate([readings[-1], changes, [math.log(spacing / _USUAL)]])


def place_of(shares: Floats) -> Floats:
    """Return the unit vectors (..., K + 1) of how much (..., K) there is of each motion, from 0 to 1."""
    axes = shares / math.sqrt(shares.shape[-1])
    rest = np.sqrt(np.maximum(0.0, 1.0 - (axes * axes).sum(-1, keepdims=True)))
    return np.concatenate([axes, rest], axis=-1)


def _layers(weights: "dict[str, torch.Tensor]", name: str) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """The layers of a network, as matrix and bias."""
    count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)
    return [(weights[f"{name}.{number}.weight"], weights[f"{name}.{number}.bias"]) for number in range(count)]


def load_head(location: str, model: str, towers: str) -> MotionHead:
    """Load the motion head of a model.

    Args:
        location: of the model, as open_clip knows it.
        model: its name, for messages.
        towers: digest of the weights of the model's towers.

    Raises:
        ModelError: there is none, it cannot be read, or it belongs to other weights.
    """
    facts = read_facts(location, model)
    path = Path(location.removeprefix("local-dir:")) / HEAD_FILE
    if facts.model != towers:
        raise ModelError(f"{path} was taught on other weights than those of '{model}'; teach it again")
    try:
        return MotionHead(facts, load_tensors(path))
    except (RunError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise unreadable(path, model, error) from None
