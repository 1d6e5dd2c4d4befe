"""Trainings that end within a second: on CartPole, rewarded for brightness."""

import csv
from typing import Any

from gym_vlmrm import load_task
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import Recipe, TaskSpec

SMALL = {"policy_kwargs": {"net_arch": [8]}}
PPO = Recipe(
    algorithm="PPO",
    steps=256,
    num_envs=2,
    checkpoint_every=128,
    normalize_observation=True,
    normalize_reward=True,
    reward_every=2,
    hyperparameters={"n_steps": 32, "batch_size": 32, "n_epochs": 2, **SMALL},
)
DQN = Recipe(
    algorithm="DQN",
    steps=200,
    num_envs=2,
    checkpoint_every=100,
    updates_per_step=0.25,
    hyperparameters={"learning_starts": 50, "batch_size": 16, "buffer_size": 1000, **SMALL},
)


def cartpole(**changes: Any) -> TaskSpec:
    return override(load_task("cartpole"), model="brightness", max_episode_steps=20, **changes)


def cartpole_of_parts() -> TaskSpec:
    """A task whose reward remembers: windows, last potentials, weights that fade."""
    return load_changed({
        "goal": "light", "avoid": "dark", "model": "brightness", "every": 2, "task": 0.5, "weight": 2.0,
        "fade": {"to": 0.5, "over": 150},
        "parts": [
            {"name": "brighter", "goal": "light", "baseline": "dark", "window": {"frames": 3, "join": "change"}},
            {"name": "shaped", "goal": "light", "window": {"frames": 2, "stride": 2}, "shape": "potential"},
        ],
    })  # fmt: skip


def load_changed(reward: dict[str, Any]) -> TaskSpec:
    """CartPole with another reward and short episodes."""
    task = cartpole()
    return task_from_dict({**task.model_dump(exclude_unset=True), "reward": reward})


def rows(run: RunFolder) -> list[dict[str, str]]:
    with (run.path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
