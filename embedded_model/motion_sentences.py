"""Sentences about motions and what they mean, and the training of the small network that reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from torch.nn import functional

from embedded_model.motion_concepts import MOTIONS
from gym_vlmrm.arrays import Floats
from gym_vlmrm.reward.motion.sentences import REACH, words_of

__all__ = ["MotionGrammar", "Said", "fit_sentences"]

PHRASES = Path(__file__).parent / "phrases"
SUMS = {"turning": ("turning_left", "turning_right")}
"""Motions of the phrases that are several axes of the space."""
WORD_SIZE, HEARD = 24, 96
SENTENCES, BATCH, STEPS, RATE = 24_000, 256, 1500, 4e-3
WORD_DROPOUT = 0.1


@dataclass(frozen=True)
class Said:
    """A sentence and the unit vector (K + 1,) of what it says."""

    text: str
    place: Floats


class MotionGrammar:
    """Draws sentences about motions."""

    def __init__(self) -> None:
        self._motion = _load("motion")
        self._subjects = _load("humanoid")["subjects"]["train"]

    def draw(self, rng: np.random.Generator) -> Said:
        """Draw a training sentence."""
        motions, kind = self._motion["motions"], rng.random()
        names = list(motions)
        prefix, subject, suffix = (_one(rng, options) for options in self._frames())
        if kind < 0.06:
            return Said(f"{prefix}{subject}{suffix}", _place([]))
        if kind < 0.26:
            pair = _one(rng, self._motion["pairs"])
            order = pair if rng.random() < 0.5 else pair[::-1]
            first, second = (_one(rng, motions[name]["train"]) for name in order)
            return Said(f"{prefix}{subject} {first}{_one(rng, self._motion['joints'])}{second}{suffix}", _place(pair))
        name = str(_one(rng, names))
        body = str(_one(rng, motions[name]["train"]))
        if kind < 0.34 and name not in ("falling", "still"):
            body = f"{body} {_one(rng, self._motion['denials'])}"
            return Said(f"{prefix}{subject} {body}{suffix}", _place([name], ["falling"]))
        if kind < 0.40 and not body.startswith(("not", "is", "without")):
            return Said(f"{prefix}{subject} {_one(rng, self._motion['denied'])} {body}{suffix}", _place([], [name]))
        if kind < 0.52 and name in ("waving", "swinging_arms", "turning", "turning_left", "turning_right", "jumping"):
            body = f"{_one(rng, self._motion['uprights'])} {body}"
        return Said(f"{prefix}{subject} {body}{suffix}" if rng.random() < 0.85 else body, _place([name]))

    def held_out(self) -> list[tuple[str, str]]:
        """Return motions and sentences about them whose phrases are never trained on."""
        motions = self._motion["motions"]
        return [(name, f"a humanoid robot {text}") for name, entry in motions.items() for text in entry["held_out"]]

    def _frames(self) -> tuple[Sequence[str], ...]:
        return self._motion["prefixes"], self._subjects, self._motion["suffixes"]


def axes_of(name: str) -> tuple[str, ...]:
    """Return the axes of the space that a motion of the phrases stands for."""
    return SUMS.get(name, (name,))


def _place(names: Sequence[str], denied: Sequence[str] = ()) -> Floats:
    """Return the unit vector of what is named and denied; of nothing, the axis for the rest."""
    place, axes = np.zeros(len(MOTIONS) + 1), list(MOTIONS)
    for sign, said in ((1.0, names), (-1.0, denied)):
        for name in said:
            parts = axes_of(name)
            for part in parts:
                place[axes.index(part)] += sign / np.sqrt(len(parts))
    if not place.any():
        place[-1] = 1.0
    return np.asarray(place / np.linalg.norm(place))


def fit_sentences(seed: int) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Teach the network of `gym_vlmrm.reward.motion.sentences`; returns its words and its weights."""
    rng, grammar = np.random.default_rng(seed), MotionGrammar()
    said = [grammar.draw(rng) for _ in range(SENTENCES)]
    words = sorted({word for sentence in said for word in words_of(sentence.text)})
    rows = {word: row + 1 for row, word in enumerate(words)}
    length = max(len(words_of(sentence.text)) for sentence in said)
    tokens = torch.zeros(len(said), length, dtype=torch.long)
    for place, sentence in enumerate(said):
        known = [rows[word] for word in words_of(sentence.text)]
        tokens[place, : len(known)] = torch.tensor(known)
    targets = torch.from_numpy(np.stack([sentence.place for sentence in said]).astype(np.float32))
    torch.manual_seed(seed)
    network = _Network(len(words), targets.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        batch = torch.randint(len(said), (BATCH,), generator=generator)
        told = tokens[batch]
        told = told * (torch.rand(told.shape, generator=generator) > WORD_DROPOUT)
        # Words that were left out are as unknown ones: their neighbours move together.
        told = told.gather(1, torch.argsort((told == 0).int(), dim=1, stable=True))
        loss = (1 - (functional.normalize(network(told), dim=-1) * targets[batch]).sum(-1)).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    weights = {
        "words.table": network.table.weight[1:], "words.near.weight": network.near.weight,
        "words.near.bias": network.near.bias, "words.sum.weight": network.sum.weight,
        "words.sum.bias": network.sum.bias,
    }  # fmt: skip
    return words, {name: value.detach() for name, value in weights.items()}


class _Network(nn.Module):
    def __init__(self, words: int, places: int) -> None:
        super().__init__()
        self.table = nn.Embedding(words + 1, WORD_SIZE, padding_idx=0)
        self.near = nn.Linear((2 * REACH + 1) * WORD_SIZE, HEARD)
        self.sum = nn.Linear(HEARD, places)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        told = functional.pad(self.table(tokens), (0, 0, REACH, REACH))
        near = told.unfold(1, 2 * REACH + 1, 1).transpose(2, 3).flatten(2)
        heard = functional.relu(self.near(near)) * (tokens != 0)[..., None]
        summed: torch.Tensor = self.sum(heard.max(dim=1).values)
        return summed


def _one(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PHRASES / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded
