"""The training set on disk: states and the frames that show them, made once and kept until deleted."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_model.concepts import cartpole_descriptors, mountain_car_descriptors
from embedded_model.descriptors import humanoid_descriptors
from embedded_model.rendering import render_now, render_states
from embedded_model.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["DomainData", "add_states", "describe", "load_domain", "make_dataset"]

_SHARDS_OF = 5000


@dataclass(frozen=True)
class DomainData:
    """States of one domain and their frames, row by row."""

    domain: str
    states: NDArray[np.float64]
    frames: list[NDArray[np.uint8]]
    """Memory-mapped shards, each (n, S, S, 3); together as many rows as `states`."""


def make_dataset(folder: Path, counts: dict[str, int], seed: int) -> None:
    """Draw and render `counts[domain]` states of every domain; finished shards of an interrupted run are kept.

    Raises:
        ValueError: the folder holds a data set of other counts or another seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.json"
    wanted = {"counts": counts, "seed": seed}
    if recipe.exists() and json.loads(recipe.read_text()) != wanted:
        raise ValueError(f"{folder} holds another data set ({recipe.read_text()}); delete it or name another folder")
    recipe.write_text(json.dumps(wanted))
    shards = [
        (folder, domain, shard, min(_SHARDS_OF, count - start), seed)
        for domain, count in counts.items()
        for shard, start in enumerate(range(0, count, _SHARDS_OF))
    ]
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as processes:
        for job in [processes.submit(_make_shard, *shard) for shard in shards]:
            job.result()


def _make_shard(folder: Path, domain: str, shard: int, count: int, seed: int) -> None:
    """Draw and render a shard in this process: drawing poses takes longer than rendering them."""
    name = f"{domain}_{shard:03d}"
    finished = folder / f"{name}_states.npy"
    if finished.exists():
        return
    shard_seed = int(np.random.SeedSequence([seed, shard]).generate_state(1)[0])
    if domain == "humanoid":
        states = humanoid_states(count, shard_seed).qpos
    else:
        states = {"cartpole": cartpole_states, "mountain-car": mountain_car_states}[domain](count, shard_seed)
    np.save(folder / f"{name}_frames.npy", render_now(domain, states, shard_seed))
    np.save(finished, states)


def add_states(folder: Path, states: NDArray[np.float64], seed: int) -> None:
    """Render humanoid states (N, 24) into a data set of their own, unless that has been done."""
    finished = folder / "humanoid_000_states.npy"
    if not finished.exists():
        render_states("humanoid", states, folder / "humanoid_000_frames.npy", seed)
        np.save(finished, states)


def load_domain(folder: Path, domain: str) -> DomainData:
    """Load one domain of a data set; frames stay on disk until read."""
    states = [np.load(path) for path in sorted(folder.glob(f"{domain}_*_states.npy"))]
    frames = [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"{domain}_*_frames.npy"))]
    return DomainData(domain, np.concatenate(states), frames[: len(states)])


def describe(domain: str, states: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the descriptors of states by block of the embedding."""
    if domain == "humanoid":
        return dict(zip(("legs", "arms"), humanoid_descriptors(states), strict=True))
    return cartpole_descriptors(states) if domain == "cartpole" else mountain_car_descriptors(states)
