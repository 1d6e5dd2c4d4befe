"""The whole way from nothing to the embedded model's folder."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file

from gym_vlmrm.pretraining.concepts import Concepts
from gym_vlmrm.pretraining.dataset import describe, load_domain
from gym_vlmrm.pretraining.grammar import Grammar, Sentence
from gym_vlmrm.pretraining.image_tower import train_image_tower
from gym_vlmrm.pretraining.model import CONTEXT_LENGTH, build_clip, save_folder
from gym_vlmrm.pretraining.space import BLOCKS, DOMAINS, Space
from gym_vlmrm.pretraining.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.pretraining.text_tower import train_text_tower
from gym_vlmrm.pretraining.vocabulary import MAX_VOCABULARY, write_vocabulary
from gym_vlmrm.reward.towers import MERGES_FILE

COUNTS = {"humanoid": 80_000, "cartpole": 8_000, "mountain-car": 5_000}
"""Frames by domain."""
__all__ = ["COUNTS", "Settings", "build_space", "sentence_target", "train_model"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Sizes and seeds of a training run."""

    seed: int = 1
    landmarks: int = 1500
    """Humanoid states that span the embedding space; a third as many of the other domains."""
    bodies: int = 6000
    """Humanoid states on which definitions are fitted."""
    image_epochs: int = 3
    sentences: int = 120_000
    text_epochs: int = 3


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

    The towers need nothing of each other once their targets are known, so they train side by side, one core each.

    Args:
        data: folder that `make_dataset` filled.
        folder: where config, weights, vocabulary and list of words go.
        settings: sizes and seeds.
        say: receives lines of progress.
    """
    work = data / "targets"
    work.mkdir(exist_ok=True)
    vocabulary = write_vocabulary(folder, Grammar().phrases())
    if not (work / "concepts.npy").exists():
        _write_targets(data, work, settings)
        say("embedding space built, targets written")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        text = processes.submit(_train_text, work, folder, vocabulary, settings)
        image = processes.submit(_train_image, data, work, settings)
        state = text.result() | image.result()
    model = build_clip(vocabulary)
    model.load_state_dict(state)
    save_folder(model, vocabulary, folder)
    say(f"wrote {folder}")


def _write_targets(data: Path, work: Path, settings: Settings) -> None:
    """Write what the towers learn: sentences and their targets, targets of all frames, targets of concepts."""
    space, concepts = build_space(settings)
    sentences = _draw_sentences(settings)
    (work / "sentences.json").write_text(json.dumps([sentence.text for sentence in sentences]))
    rows = [sentence_target(space, concepts, sentence) for sentence in sentences]
    np.save(work / "sentences.npy", np.stack(rows).astype(np.float32))
    domains = [load_domain(data, domain) for domain in DOMAINS]
    frames = [space.frames(domain.domain, describe(domain.domain, domain.states)) for domain in domains]
    np.save(work / "frames.npy", np.concatenate(frames).astype(np.float32))
    np.save(work / "concepts.npy", concept_targets(space, concepts))


def _train_text(work: Path, folder: Path, vocabulary: int, settings: Settings) -> dict[str, torch.Tensor]:
    """Train the text tower, or return the one that an interrupted run has finished."""
    finished = work / "text_tower.safetensors"
    if not finished.exists():
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        model = build_clip(vocabulary)
        train_text_tower(
            model,
            SimpleTokenizer(str(folder / MERGES_FILE), context_length=CONTEXT_LENGTH),
            json.loads((work / "sentences.json").read_text()),
            np.load(work / "sentences.npy"),
            epochs=settings.text_epochs,
            seed=settings.seed,
            report=_Progress("text tower"),
        )
        state = {name: value for name, value in model.state_dict().items() if not name.startswith("visual.")}
        save_file(state, finished)
    return load_file(finished)


def _train_image(data: Path, work: Path, settings: Settings) -> dict[str, torch.Tensor]:
    """Train the image tower, or return the one that an interrupted run has finished."""
    finished = work / "image_tower.safetensors"
    if not finished.exists():
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        model = build_clip(MAX_VOCABULARY)
        train_image_tower(
            model.visual,
            [shard for domain in DOMAINS for shard in load_domain(data, domain).frames],
            np.load(work / "frames.npy"),
            np.load(work / "concepts.npy"),
            epochs=settings.image_epochs,
            seed=settings.seed,
            report=_Progress("image tower"),
        )
        state = {f"visual.{name}": value.contiguous() for name, value in model.visual.state_dict().items()}
        save_file(state, finished)
    return load_file(finished)


def _draw_sentences(settings: Settings) -> list[Sentence]:
    rng, grammar = np.random.default_rng(settings.seed), Grammar()
    return [grammar.draw(rng) for _ in range(settings.sentences)]


class _Progress:
    """Prints how far a training loop is, every half minute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start = self.last = time.monotonic()

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last > 30 or step == steps:
            self.last = now
            left = (now - self.start) / step * (steps - step)
            print(f"{self.name}: step {step}/{steps}, loss {loss:.4f}, {left:.0f} s left", flush=True)
