"""What a scene's render quality and a model's arithmetic cost in time and in fidelity of the rewards."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from embedded_model.states import humanoid_states
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward import RewardModel, load_reward_model
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.spec import Quality
from gym_vlmrm.worlds.world import make_world

__all__ = ["FidelityRow", "measure_precision", "measure_quality"]

PRECISIONS = ("fp32", "bf16", "int8")
BATCH = 16
ROUNDS = 3


@dataclass(frozen=True)
class FidelityRow:
    """One way of getting rewards against the reference, which is the last quality or the first precision.

    The fidelities are the worst over the tasks.
    """

    name: str
    frames_per_second: float
    pearson: float
    spearman: float
    max_abs_difference: float


def measure_quality(tasks: list[str], model: str, num_states: int, seed: int = 0) -> list[FidelityRow]:
    """Draw humanoid states in every quality in turn, in one process, and score them by each task's sentence.

    Args:
        tasks: names of humanoid tasks.
        model: reward model.
        num_states: number of states, drawn by `embedded_model.states.humanoid_states`.
        seed: of the states.
    """
    states = humanoid_states(num_states, seed).qpos
    judges = [load_reward_model(load_task(name), model=model) for name in tasks]
    frames, seconds = _draw(tasks[0], judges[0].frame_size, states, get_args(Quality))
    rewards = {quality: [judge(drawn) for judge in judges] for quality, drawn in frames.items()}
    return _rows(rewards, "paper", {quality: 1 / median(spent) for quality, spent in seconds.items()})


def measure_precision(tasks: list[str], model: str, num_states: int, seed: int = 0) -> list[FidelityRow]:
    """Score frames of humanoid states by each task's sentence in every precision that model and processor have.

    Frames are embedded in batches of 16 with all of torch's threads. Arguments are those of `measure_quality`.
    """
    judges: dict[str, list[RewardModel]] = {}
    for precision in PRECISIONS:
        with contextlib.suppress(ModelError):
            judges[precision] = [_judge(name, model, precision, seed) for name in tasks]
    size = judges["fp32"][0].frame_size
    frames = _draw(tasks[0], size, humanoid_states(num_states, seed).qpos, ["draft"])[0]["draft"]
    rewards = {precision: [judge(frames) for judge in each] for precision, each in judges.items()}
    rounds = [{precision: _rate(each[0], frames) for precision, each in judges.items()} for _ in range(ROUNDS)]
    return _rows(rewards, "fp32", {precision: median(found[precision] for found in rounds) for precision in judges})


def _judge(task: str, model: str, precision: str, seed: int) -> RewardModel:
    torch.manual_seed(seed)  # an untrained model draws its weights anew whenever it is loaded
    return load_reward_model(load_task(task), model=model, precision=precision)


def _rate(judge: RewardModel, frames: NDArray[np.uint8]) -> float:
    began = time.perf_counter()
    for start in range(0, len(frames), BATCH):
        judge(frames[start : start + BATCH])
    return len(frames) / (time.perf_counter() - began)


def _rows(
    rewards: Mapping[str, Sequence[NDArray[np.float32]]], reference: str, rates: Mapping[str, float]
) -> list[FidelityRow]:
    rows = []
    for name, scored in rewards.items():
        pairs = list(zip(scored, rewards[reference], strict=True))
        rows.append(
            FidelityRow(
                name,
                rates[name],
                min(float(pearsonr(a, b).statistic) for a, b in pairs),
                min(float(spearmanr(a, b).statistic) for a, b in pairs),
                max(float(np.abs(a - b).max()) for a, b in pairs),
            )
        )
    return rows


def _draw(
    task: str, size: int, states: NDArray[np.float64], qualities: Sequence[str]
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, list[float]]]:
    """Return frames (N, S, S, 3) and the time of each [s], by quality."""
    worlds = {q: make_world(override(load_task(task), scene={"quality": q}), render_size=size) for q in qualities}
    drawn: dict[str, list[Any]] = {quality: [] for quality in qualities}
    seconds: dict[str, list[float]] = {quality: [] for quality in qualities}
    for world in worlds.values():
        world.reset(seed=0)
        world.render()
    for qpos in states:
        for quality, world in worlds.items():
            body: Any = world.unwrapped
            body.set_state(qpos, np.zeros(body.model.nv))
            began = time.perf_counter()
            drawn[quality].append(world.render())
            seconds[quality].append(time.perf_counter() - began)
    for world in worlds.values():
        world.close()
    return {quality: np.stack(frames) for quality, frames in drawn.items()}, seconds
