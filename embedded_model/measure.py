"""How well a model knows the built-in scenes: the table of its figures on states and sentences held out of training."""

import timeit
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedded_model.grammar import Grammar, paraphrases
from embedded_model.rendering import render_now
from embedded_model.states import (
    HELD_OUT_PAIRS,
    cartpole_states,
    combinations,
    humanoid_states,
    mountain_car_states,
)
from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.stage import Stage
from gym_vlmrm.learning.statistics import auc, epic_distance
from gym_vlmrm.reward.clip.model import ClipReward
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.folders import WEIGHTS_FILE
from gym_vlmrm.reward.formula import goal_baseline_reward
from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.poses.poses import reference_pose
from gym_vlmrm.worlds.scene import find_scene

__all__ = ["TaskFigures", "area", "composition", "measure_cost", "measure_model", "rewards_of", "success_labels"]


@dataclass(frozen=True)
class TaskFigures:
    """What the model's reward is worth on one task. AUC is that of the reward for success."""

    task: str
    successes: int
    auc_posed: float
    auc_rollouts: float
    """NaN where there are no rollouts, or no success among them."""
    worst_paraphrase_posed: float
    worst_paraphrase_rollouts: float
    epic: float
    """EPIC distance (arXiv 2310.12921, section 4) of the reward from the success label."""


def area(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """AUC, or NaN where one of the classes is empty."""
    return float("nan") if positive.all() or not positive.any() else float(auc(scores, positive))


def measure_model(towers: Towers, *, count: int = 4000, seed: int = 77_000) -> list[TaskFigures]:
    """Measure the reward of every built-in task on `count` fresh humanoid states (a quarter as many of the others)."""
    drawn = humanoid_states(count, seed)
    states = {
        "humanoid": drawn.qpos,
        "cartpole": cartpole_states(count // 4, seed),
        "mountain-car": mountain_car_states(count // 4, seed),
    }
    embeddings = {domain: towers.embed_frames(render_now(domain, rows, seed)) for domain, rows in states.items()}
    figures = []
    for key in PAPER_TASKS:
        task = load_task(key)
        domain = find_scene(task.env.id).name
        labels = success_labels(task, states[domain])
        sentences = [task.reward.goals, *([other] for other in paraphrases()[key])]
        rollout = drawn.source == "physics" if domain == "humanoid" else np.zeros(len(labels), bool)
        scores = [rewards_of(towers, embeddings[domain], goals) for goals in sentences]
        posed = [area(row[~rollout], labels[~rollout]) for row in scores]
        moved = [area(row[rollout], labels[rollout]) for row in scores]
        figures.append(
            TaskFigures(
                key,
                int(labels.sum()),
                posed[0],
                moved[0],
                min(posed[1:]),
                min(moved[1:]),
                float(epic_distance(scores[0], labels)),
            )
        )
    return figures


def rewards_of(towers: Towers, embeddings: NDArray[np.float32], goals: Sequence[str]) -> Floats:
    """Return the rewards (N,) at alpha 0 of embedded frames (N, D)."""
    judge = ClipReward("measured", towers, goals)
    return np.asarray(goal_baseline_reward(embeddings, judge.goal), dtype=np.float64)


def success_labels(task: TaskSpec, states: Floats) -> NDArray[np.bool_]:
    """Return the verdict (N,) of the task's rule on each state."""
    stage = Stage(task, 16)
    labels = stage.show(states, draw=False).success
    stage.world.close()
    return labels


def measure_cost(towers: Towers, folder: Path, *, batch: int = 64, repeats: int = 5) -> dict[str, float]:
    """Return the size of the weights [MB], and the time per frame [ms] in batches: the best of several."""
    frames = np.random.default_rng(0).integers(0, 256, (batch, *towers.image_size, 3), np.uint8)
    times = [timeit.timeit(partial(towers.embed_frames, frames), number=1) for _ in range(repeats)]
    megabytes = (folder / WEIGHTS_FILE).stat().st_size / 1e6
    return {"weights_mb": megabytes, "ms_per_frame": 1000 * min(times) / batch, "threads": torch.get_num_threads()}


def composition(towers: Towers, *, per_pair: int = 12, seed: int = 78_000) -> dict[str, float]:
    """AUC of held-out pairs of leg and arm pose, against frames with the right legs or the right arms but not both."""
    rng = np.random.default_rng(seed)
    held_out = combinations(held_out=True)
    involved = sorted(set(held_out) | {pair for pair in combinations(held_out=False) if rng.random() < 0.4})
    poses = np.stack([reference_pose(*pair, rng=rng, variation=0.7) for pair in involved for _ in range(per_pair)])
    embeddings = towers.embed_frames(render_now("humanoid", poses, seed))
    legs = np.array([pair[0] for pair in involved for _ in range(per_pair)])
    arms = np.array([pair[1] for pair in involved for _ in range(per_pair)])
    grammar, figures = Grammar(), {}
    for pair in held_out:
        parts = zip(("legs", "arms"), pair, strict=True)
        legs_phrase, arms_phrase = (grammar.humanoid[part][name]["train"][0] for part, name in parts)
        sentence = f"a humanoid robot {legs_phrase} with {arms_phrase}"
        goal = towers.embed_sentences([sentence])[0]
        right = (legs == pair[0]) & (arms == pair[1])
        half = (legs == pair[0]) ^ (arms == pair[1])
        chosen = right | half
        figures[" + ".join(pair)] = area((embeddings @ goal)[chosen].astype(float), right[chosen])
    assert set(held_out) <= HELD_OUT_PAIRS
    return figures
