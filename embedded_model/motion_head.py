"""The way from nothing to the embedded model's motion head: films, what the image tower sees in them, and networks."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedded_model.measure import area
from embedded_model.motion_concepts import MOTIONS, grade, measure_motion
from embedded_model.motion_sentences import MotionGrammar, axes_of, fit_sentences
from embedded_model.puppets import FILMED, Bank, draw_films
from embedded_model.rendering import render_film
from gym_vlmrm.arrays import Floats, Frames
from gym_vlmrm.files import replacing
from gym_vlmrm.finetuning.scratch import EMBEDDING_SIZE
from gym_vlmrm.reward.clip.towers import Towers, load_towers
from gym_vlmrm.reward.motion.file import HEAD_FILE, METADATA
from gym_vlmrm.reward.motion.head import FILM, film_features, load_head, through
from gym_vlmrm.tensors import save_tensors

__all__ = ["MotionSettings", "make_head", "measure_head"]

CHANNELS, LOOKED, READ, WATCHED = 24, 96, 48, (96, 64)
"""Sizes: channels kept of the tower's middle, hidden and last layer of what looks, hidden layers of what watches."""
_PIECE = 100
_APART = 8
"""Steps from picture to picture from which on they are as far apart as in the tasks."""
_SHOWS, _LACKS = 0.5, 0.1
"""A window shows a motion from the first grade on, and does not below the second."""


_Piece: TypeAlias = tuple[Path, int, int, int]
"""File, seed, first film and number of films."""


@dataclass(frozen=True)
class MotionSettings:
    """Sizes and seeds of the motion head's recipe."""

    seed: int = 1
    films: int = 2400
    fresh: int = 400
    """Films that only measure."""
    steps: int = 5000
    batch: int = 384
    rate: float = 2e-3
    overrating: float = 2.0
    """How much worse it is to say too much of a motion than too little."""


@dataclass(frozen=True)
class Films:
    """What the image tower sees in N films, and how they move."""

    units: NDArray[np.float16]
    """(N, FILMED, D) embeddings."""
    middles: NDArray[np.float16]
    """(N, FILMED, CHANNELS h w) of its middle"""
    grades: NDArray[np.float32]
    """(N, FILMED, K) of the window that ends with each picture."""
    spacings: NDArray[np.float32]
    """(N,) environment steps from picture to picture."""

    def __len__(self) -> int:
        return len(self.spacings)


def make_head(data: Path, model: Path, settings: MotionSettings, workers: int, say: Callable[[str], None]) -> Path:
    """Make the motion head of an embedded model and write it into its folder.

    Args:
        data: folder for what the tower sees in films; pieces that an interrupted run has finished are kept.
        model: folder of the model.
        settings: sizes and seeds.
        workers: processes that draw films; their number changes nothing.
        say: receives lines of progress.

    Returns:
        The file.
    """
    data.mkdir(parents=True, exist_ok=True)
    towers = load_towers(f"local-dir:{model}", "cpu", "fp32")
    films = _films(data / "films", model, settings.films, settings.seed, workers, say)
    words, sentences = fit_sentences(settings.seed)
    say(f"{len(words)} words learned")
    weights = sentences | {"channels": torch.from_numpy(np.load(data / "channels.npy"))} | _fit(films, settings, say)
    half = {name: value.to(torch.float16) for name, value in weights.items()}
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in half.values())).hexdigest()
    said = {"motions": list(MOTIONS), "words": words, "model": towers.weights_digest, "digest": digest}
    path = model / HEAD_FILE
    with replacing(path) as part:
        save_tensors(part, half, {METADATA: json.dumps(said)})
    return path


def measure_head(
    data: Path, model: Path, settings: MotionSettings, workers: int, say: Callable[[str], None]
) -> list[dict[str, object]]:
    """Return a row per motion: the head on films and sentences that its training never saw."""
    towers = load_towers(f"local-dir:{model}", "cpu", "fp32")
    head = load_head(f"local-dir:{model}", str(model), towers.weights_digest)
    films = _films(data / "fresh", model, settings.fresh, settings.seed + 1000, workers, say)
    seen = torch.from_numpy(np.concatenate([films.units, films.middles], axis=-1)).float()
    seen[..., :EMBEDDING_SIZE] *= math.sqrt(EMBEDDING_SIZE)
    readings = through(seen, head.looks).double().numpy()
    places = np.array([
        [head.watch(_window(film, last), float(spacing)) for last in range(FILMED)]
        for film, spacing in zip(readings, films.spacings, strict=True)
    ])  # fmt: skip
    held_out = MotionGrammar().held_out()
    rows: list[dict[str, object]] = []
    for name in [*MOTIONS, "turning"]:
        axes = [list(MOTIONS).index(axis) for axis in axes_of(name)]
        truth = films.grades[..., axes].max(-1).reshape(-1)
        shows, lacks = truth > _SHOWS, truth < _LACKS
        kept = shows | lacks
        sentence = head.sentences.embed([f"a humanoid robot {name.replace('_', ' ')}"])
        alone = _aucs(places, sentence, kept, shows)
        phrases = [text for motion, text in held_out if motion == name]
        others = _aucs(places, head.sentences.embed(phrases), kept, shows) if phrases else [float("nan")]
        told = places[..., axes].sum(-1).reshape(-1)
        apart = np.repeat(films.spacings >= _APART, FILMED)
        usual = _aucs(places, sentence, kept & apart, shows)[0]
        rows.append({
            "motion": name, "windows": int(shows.sum()), "AUC": alone[0], "AUC, 8 steps or more": usual,
            "worst unseen phrase": min(others), "correlation": float(np.corrcoef(told, truth)[0, 1]),
        })  # fmt: skip
    return rows


def _aucs(places: Floats, goals: NDArray[np.float32], kept: NDArray[np.bool_], shows: NDArray[np.bool_]) -> list[float]:
    flat = places.reshape(-1, places.shape[-1])
    return [area(flat[kept] @ goal, shows[kept]) for goal in goals]


def _window(readings: Floats, last: int) -> Floats:
    return readings[np.maximum(np.arange(last - FILM + 1, last + 1), 0)]


def _films(folder: Path, model: Path, count: int, seed: int, workers: int, say: Callable[[str], None]) -> Films:
    """Draw films and look at them, piece by piece."""
    folder.mkdir(parents=True, exist_ok=True)
    starts, channels = range(0, count, _PIECE), folder.parent / "channels.npy"
    pieces = [(folder / f"{start:06d}.npz", seed, start, min(_PIECE, count - start)) for start in starts]
    missing = [piece for piece in pieces if not piece[0].exists()]
    if missing:
        _make_pieces(missing, model, channels, Bank(seed), workers, say)
    parts = [np.load(path) for path, *_ in pieces]
    names = ("units", "middles", "grades", "spacings")
    return Films(*(np.concatenate([part[name] for part in parts]) for name in names))


def _make_pieces(
    missing: list[_Piece], model: Path, channels: Path, bank: Bank, workers: int, say: Callable[[str], None]
) -> None:
    if not channels.exists():
        np.save(channels, _principal_channels(model, bank, missing[0][1]))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        jobs = [processes.submit(_make_piece, *piece, model, channels, bank) for piece in missing]
        for number, job in enumerate(jobs):
            job.result()
            if number % 10 == 9:
                say(f"{number + 1} of {len(missing)} pieces of films drawn")


def _make_piece(path: Path, seed: int, start: int, count: int, model: Path, channels: Path, bank: Bank) -> None:
    towers, matrix = load_towers(f"local-dir:{model}", "cpu", "fp32"), torch.from_numpy(np.load(channels))
    torch.set_num_threads(1)
    units, middles, grades, spacings = [], [], [], []
    for unit, middle, grade_, spacing in _watch_films(towers, bank, count, [seed, start], matrix):
        units.append(unit)
        middles.append(middle)
        grades.append(grade_)
        spacings.append(spacing)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(
            file, units=np.array(units, np.float16), middles=np.array(middles, np.float16),
            grades=np.array(grades, np.float32), spacings=np.array(spacings, np.float32),
        )  # fmt: skip


def _watch_films(
    towers: Towers, bank: Bank, count: int, seed: list[int], channels: torch.Tensor
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], Floats, int]]:
    """Yield embeddings, middles, grades and spacing of each film."""
    rng = np.random.default_rng(seed)
    for film in draw_films(bank, count, rng):
        frames, step = render_film(film.states[:: film.spacing], int(rng.integers(2**31))), film.spacing
        unit, middle = _look(towers, frames, channels)
        measured, span = measure_motion(film.states), (FILM - 1) * step
        grades = [grade(measured, max(0, last * step - span), last * step, span) for last in range(FILMED)]
        yield unit, middle, np.stack(grades), step


def _look(towers: Towers, frames: Frames, channels: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings (N, D), and some channels of the tower's middle (N, CHANNELS h w)."""
    told = towers.read_frames(frames, lambda middle, unit: torch.einsum("nchw,kc->nkhw", middle, channels).flatten(1))
    return told[:, :EMBEDDING_SIZE], told[:, EMBEDDING_SIZE:]


def _principal_channels(model: Path, bank: Bank, seed: int) -> NDArray[np.float32]:
    """Return the directions (CHANNELS, C) along which the tower's middle varies most, scaled to a spread of 1."""
    towers = load_towers(f"local-dir:{model}", "cpu", "fp32")
    rng = np.random.default_rng([seed, 7])
    frames = np.concatenate([
        render_film(film.states[:: film.spacing], int(rng.integers(2**31))) for film in draw_films(bank, 60, rng)
    ])  # fmt: skip
    told = towers.read_frames(frames, lambda middle, unit: middle.permute(0, 2, 3, 1).flatten(1))[:, EMBEDDING_SIZE:]
    places = told.reshape(len(frames), 36, -1)
    places = (places - places.mean(axis=0)).reshape(-1, places.shape[-1]).astype(np.float64)
    values, vectors = np.linalg.eigh(places.T @ places / len(places))
    kept = np.argsort(values)[::-1][:CHANNELS]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(vectors))])
    principal: NDArray[np.float32] = (vectors * signs)[:, kept].T.astype(np.float32)
    return np.asarray(principal / np.sqrt(values[kept, None]).astype(np.float32))


class _Networks(nn.Module):
    """What looks at pictures, and what watches films of what was seen."""

    def __init__(self, inputs: int, motions: int) -> None:
        super().__init__()
        film = READ * FILM + 1
        self.look = nn.ModuleList([nn.Linear(*pair) for pair in pairwise([inputs, LOOKED, READ])])
        sizes = [film, *WATCHED, motions]
        self.watch = nn.ModuleList([nn.Linear(*pair) for pair in pairwise(sizes)])

    def forward(self, seen: torch.Tensor, spacings: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of what was seen in films (N, FILM, I)."""
        return through(film_features(through(seen, _layers(self.look)), spacings), _layers(self.watch))


def _layers(network: nn.ModuleList) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The layers of a network, as matrix and bias."""
    return [(layer.weight, layer.bias) for layer in network if isinstance(layer, nn.Linear)]


def _fit(films: Films, settings: MotionSettings, say: Callable[[str], None]) -> dict[str, torch.Tensor]:
    """Teach the networks how much of each motion windows show."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    seen = torch.from_numpy(
        np.concatenate([films.units * np.float16(math.sqrt(films.units.shape[-1])), films.middles], axis=-1)
    )
    grades, spacings = torch.from_numpy(films.grades), torch.from_numpy(films.spacings)
    networks = _Networks(seen.shape[-1], grades.shape[-1])
    optimizer = torch.optim.AdamW(networks.parameters(), lr=settings.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=settings.steps)
    generator, smoothed = torch.Generator().manual_seed(settings.seed), 0.0
    back = torch.arange(FILM - 1, -1, -1)
    for step in range(1, settings.steps + 1):
        chosen = torch.randint(len(films), (settings.batch,), generator=generator)
        last = torch.randint(FILMED, (settings.batch,), generator=generator)
        rows = (last[:, None] - back).clamp(min=0)
        told = torch.sigmoid(networks(seen[chosen[:, None], rows].float(), spacings[chosen, None]))
        error = told - grades[chosen, last]
        loss = (error.square() * torch.where(error > 0, settings.overrating, 1.0)).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smoothed += (loss.item() - smoothed) / min(step, 200)
        if step % 500 == 0:
            say(f"motion head: step {step}/{settings.steps}, loss {smoothed:.4f}")
    return {name: value.detach() for name, value in networks.state_dict().items()}
