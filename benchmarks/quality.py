"""What a scene's render quality costs in time and in fidelity of the rewards."""

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from gym_vlmrm.catalog import load_task, override
from gym_vlmrm.envs import make_world
from gym_vlmrm.pretraining.states import humanoid_states
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.spec import Quality

__all__ = ["QualityRow", "measure_quality"]

REFERENCE = "paper"


@dataclass(frozen=True)
class QualityRow:
    """One quality against ``paper``; the fidelities are the worst over the tasks."""

    quality: str
    frames_per_second: float
    """In one process: 1 / median time of a frame."""
    pearson: float
    spearman: float
    max_abs_difference: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)


def measure_quality(tasks: list[str], model: str, num_states: int, seed: int = 0) -> list[QualityRow]:
    """Draw humanoid states in every quality in turn and score them by each task's sentence.

    Args:
        tasks: names of humanoid tasks.
        model: reward model.
        num_states: number of states, drawn by `gym_vlmrm.pretraining.states.humanoid_states`.
        seed: of the states.
    """
    states = humanoid_states(num_states, seed).qpos
    judges = [load_reward_model(load_task(name), model=model) for name in tasks]
    frames, seconds = _draw(tasks[0], judges[0].frame_size, states)
    rewards = {quality: [judge(drawn) for judge in judges] for quality, drawn in frames.items()}
    rows = []
    for quality, scored in rewards.items():
        pairs = list(zip(scored, rewards[REFERENCE], strict=True))
        rows.append(
            QualityRow(
                quality,
                1 / median(seconds[quality]),
                min(float(pearsonr(a, b).statistic) for a, b in pairs),
                min(float(spearmanr(a, b).statistic) for a, b in pairs),
                max(float(np.abs(a - b).max()) for a, b in pairs),
            )
        )
    return rows


def _draw(
    task: str, size: int, states: NDArray[np.float64]
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, list[float]]]:
    """Return frames (N, S, S, 3) and the time of each [s], by quality."""
    qualities = get_args(Quality)
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
