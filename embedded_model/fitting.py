"""The trainings of a recipe, each done once: what an interrupted run has finished is loaded instead."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer

from embedded_model.dataset import load_domain
from embedded_model.settings import GOAL_WEIGHT, RecipeSettings
from embedded_model.space import DOMAINS
from gym_vlmrm.arrays import Frames
from gym_vlmrm.files import replacing
from gym_vlmrm.finetuning.scratch import CONTEXT_LENGTH, WIDTH, build_clip
from gym_vlmrm.finetuning.vocabulary import MAX_VOCABULARY
from gym_vlmrm.reward.folders import MERGES_FILE
from gym_vlmrm.teaching.image_tower import mean_weights, train_image_tower
from gym_vlmrm.teaching.text_tower import train_text_tower
from gym_vlmrm.tensors import load_tensors, save_tensors

__all__ = ["Weights", "averaged_image", "fit_image", "fit_text", "refit_image", "sample_data"]

Weights: TypeAlias = dict[str, torch.Tensor]
Rows: TypeAlias = NDArray[np.floating]
THREADS = 2
"""Of a round's training, which has nothing else beside it; fixed, because results depend on it."""


def fit_text(work: Path, stage: Path, vocabulary: int, settings: RecipeSettings) -> Weights:
    """Train the text tower on the sentences and targets in `work`."""

    def train() -> Weights:
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        model = build_clip(vocabulary)
        train_text_tower(
            model,
            SimpleTokenizer(str(stage / MERGES_FILE), context_length=CONTEXT_LENGTH),
            json.loads((work / "sentences.json").read_text()),
            np.load(work / "sentences.npy"),
            epochs=settings.text_epochs,
            seed=settings.seed,
            report=_Progress("text tower"),
        )
        return {name: value for name, value in model.state_dict().items() if not name.startswith("visual.")}

    return _once(work / "text_tower.safetensors", train)


def fit_image(data: Path, work: Path, settings: RecipeSettings, width: int = WIDTH) -> Weights:
    """Train the image tower, or one of another width, on the data set."""

    def train() -> Weights:
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        tower = build_clip(MAX_VOCABULARY, width).visual
        frames = [shard for domain in DOMAINS for shard in load_domain(data, domain).frames]
        train_image_tower(
            tower,
            frames,
            np.load(work / "frames.npy"),
            _scored(np.load(work / "concepts.npy"), np.load(work / "goals.npy"), GOAL_WEIGHT),
            epochs=settings.image_epochs,
            seed=settings.seed,
            report=_Progress("image tower" if width == WIDTH else f"image tower of width {width}"),
        )
        return _visual_state(tower)

    return _once(_tower_file(work, 0) if width == WIDTH else work / f"image_tower_width_{width}.safetensors", train)


def refit_image(data: Path, work: Path, number: int, settings: RecipeSettings) -> Weights:
    """Go on training the image tower on the data set and on the frames of all rounds so far."""

    plan = settings.rounds[number - 1]

    def train() -> Weights:
        torch.set_num_threads(THREADS)
        seed = settings.seed + number
        model = build_clip(MAX_VOCABULARY)
        model.load_state_dict(load_tensors(_tower_file(work, number - 1)), strict=False)
        rng = np.random.default_rng(seed)
        frames, targets = sample_data(data, np.load(work / "frames.npy"), plan.share, rng)
        for index in range(1, number + 1):
            folder = data / f"round_{index}"
            shards, rows = load_domain(folder, "humanoid").frames, np.load(folder / "targets.npy")
            more, theirs = _sample(shards, rows, plan.share if index < number else 1.0, rng)
            frames, targets = frames + more, np.concatenate([targets, theirs])
        concepts, goals = np.load(work / "concepts.npy"), np.load(work / "goals.npy")
        caution = np.full(len(concepts), plan.overrating), np.full(len(goals), plan.overrating_goals or plan.overrating)
        train_image_tower(
            model.visual,
            frames,
            targets,
            _scored(concepts, goals, plan.goal_weight),
            epochs=plan.epochs,
            seed=seed,
            peak_rate=plan.peak_rate,
            overrating=_scored(*caution, plan.goal_weight).astype(np.float32),
            report=_Progress(f"image tower, round {number}"),
        )
        return _visual_state(model.visual)

    return _once(_tower_file(work, number), train)


def averaged_image(work: Path, settings: RecipeSettings) -> Weights:
    """Return the mean of the last rounds' image towers."""
    last = len(settings.rounds)
    numbers = range(max(last - settings.averaged + 1, 0), last + 1)
    return mean_weights([load_tensors(_tower_file(work, number)) for number in numbers])


def sample_data(
    data: Path, targets: NDArray[np.float32], share: float, rng: np.random.Generator
) -> tuple[list[Frames], NDArray[np.float32]]:
    """Return a share of the data set's humanoid frames, all of the other scenes, and their targets."""
    domains = {domain: load_domain(data, domain).frames for domain in DOMAINS}
    ends = np.cumsum([sum(len(shard) for shard in shards) for shards in domains.values()])
    parts = [
        _sample(shards, rows, share if domain == "humanoid" else 1.0, rng)
        for (domain, shards), rows in zip(domains.items(), np.split(targets, ends[:-1]), strict=True)
    ]
    return [shard for shards, _ in parts for shard in shards], np.concatenate([rows for _, rows in parts])


def _scored(concepts: Rows, goals: Rows, goal_weight: int) -> Rows:
    """Join rows of all sentences whose scores a tower learns (K, ...); a goal's stands there `goal_weight` times."""
    return np.concatenate([concepts, *[goals] * goal_weight])


def _sample(
    shards: list[Frames], targets: NDArray[np.float32], share: float, rng: np.random.Generator
) -> tuple[list[Frames], NDArray[np.float32]]:
    """Return a share of frames, given as shards, and of their targets (N, SIZE)."""
    if share == 1:
        return shards, targets
    kept = rng.random(len(targets)) < share
    ends = np.cumsum([len(shard) for shard in shards])
    return [shard[mask] for shard, mask in zip(shards, np.split(kept, ends[:-1]), strict=True)], targets[kept]


def _tower_file(work: Path, number: int) -> Path:
    """Return where the image tower is kept after a round; 0 is before the first."""
    return work / (f"image_tower_{number}.safetensors" if number else "image_tower.safetensors")


def _once(finished: Path, train: Callable[[], Weights]) -> Weights:
    """Train weights, or return those that an interrupted run has finished."""
    if not finished.exists():
        with replacing(finished) as part:
            save_tensors(part, train())
    return load_tensors(finished)


def _visual_state(tower: torch.nn.Module) -> Weights:
    return {f"visual.{name}": value.contiguous() for name, value in tower.state_dict().items()}


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
