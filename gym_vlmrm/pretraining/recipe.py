"""The whole way from nothing to the embedded model's folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gym_vlmrm.pretraining.concepts import Concepts
from gym_vlmrm.pretraining.dataset import describe, load_domain
from gym_vlmrm.pretraining.grammar import Grammar, Sentence
from gym_vlmrm.pretraining.image_tower import train_image_tower
from gym_vlmrm.pretraining.model import build_clip, save_folder
from gym_vlmrm.pretraining.space import BLOCKS, DOMAINS, Space
from gym_vlmrm.pretraining.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.pretraining.text_tower import train_text_tower
from gym_vlmrm.pretraining.vocabulary import write_vocabulary

__all__ = ["Settings", "build_space", "sentence_target", "train_model"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Sizes and seeds of a training run."""

    seed: int = 1
    landmarks: int = 1500
    """Humanoid states that span the embedding space; a third as many of the other domains."""
    bodies: int = 6000
    """Humanoid states on which definitions are fitted."""
    image_epochs: int = 6
    sentences: int = 200_000
    text_epochs: int = 6


def build_space(settings: Settings) -> tuple[Space, Concepts]:
    """Build the embedding space and place every concept in it; equal settings give equal spaces."""
    seed = settings.seed + 1000
    small = settings.landmarks // 3
    landmarks = {
        **describe("humanoid", humanoid_states(settings.landmarks, seed).qpos),
        **describe("cartpole", cartpole_states(small, seed)),
        **describe("mountain-car", mountain_car_states(small, seed)),
    }
    space = Space(landmarks)
    return space, Concepts(space, humanoid_states(settings.bodies, seed + 1).qpos, seed)


def sentence_target(space: Space, concepts: Concepts, sentence: Sentence) -> Floats:
    """Return the unit target (SIZE,) of a sentence; what it denies points the other way."""
    parts = {block: concepts.directions[block][name] for block, name in sentence.names.items()}
    for excluded in sentence.excluded:
        block, name = excluded.split(".")
        direction = concepts.directions[block][name]
        parts[block] = parts.get(block, np.zeros_like(direction)) - direction / np.linalg.norm(direction)
    return space.sentence(sentence.domain, parts)


def concept_targets(space: Space, concepts: Concepts) -> NDArray[np.float32]:
    """Return the unit targets (K, SIZE) of every concept alone."""
    rows = [
        space.sentence(BLOCKS[block].domain, {block: direction})
        for block, directions in concepts.directions.items()
        for direction in directions.values()
    ]
    return np.stack(rows).astype(np.float32)


def train_model(data: Path, folder: Path, settings: Settings, say: Callable[[str], None]) -> None:
    """Train both towers on a data set and write the model's folder.

    Args:
        data: folder that `make_dataset` filled.
        folder: where config, weights, vocabulary and list of words go.
        settings: sizes and seeds.
        say: receives lines of progress.
    """
    space, concepts = build_space(settings)
    say("embedding space built")
    sentences = _draw_sentences(settings)
    vocabulary = write_vocabulary(folder, Grammar().phrases())
    from open_clip.tokenizer import SimpleTokenizer

    from gym_vlmrm.pretraining.model import CONTEXT_LENGTH
    from gym_vlmrm.reward.towers import MERGES_FILE

    torch.manual_seed(settings.seed)
    model = build_clip(vocabulary)
    tokenizer = SimpleTokenizer(str(folder / MERGES_FILE), context_length=CONTEXT_LENGTH)
    targets = np.stack([sentence_target(space, concepts, sentence) for sentence in sentences]).astype(np.float32)
    texts = [sentence.text for sentence in sentences]
    report = _Progress(say, "text tower")
    train_text_tower(model, tokenizer, texts, targets, epochs=settings.text_epochs, seed=settings.seed, report=report)
    save_folder(model, vocabulary, folder)
    domains = [load_domain(data, domain) for domain in DOMAINS]
    frames = [shard for domain in domains for shard in domain.frames]
    rows = [space.frames(domain.domain, describe(domain.domain, domain.states)) for domain in domains]
    train_image_tower(
        model.visual,
        frames,
        np.concatenate(rows).astype(np.float32),
        concept_targets(space, concepts),
        epochs=settings.image_epochs,
        seed=settings.seed,
        report=_Progress(say, "image tower"),
    )
    save_folder(model, vocabulary, folder)
    say(f"wrote {folder}")


def _draw_sentences(settings: Settings) -> list[Sentence]:
    rng, grammar = np.random.default_rng(settings.seed), Grammar()
    return [grammar.draw(rng) for _ in range(settings.sentences)]


class _Progress:
    """Says how far a training loop is, every half minute."""

    def __init__(self, say: Callable[[str], None], name: str) -> None:
        self.say, self.name = say, name
        self.start = self.last = time.monotonic()

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last > 30 or step == steps:
            self.last = now
            left = (now - self.start) / step * (steps - step)
            self.say(f"{self.name}: step {step}/{steps}, loss {loss:.4f}, {left:.0f} s left")
