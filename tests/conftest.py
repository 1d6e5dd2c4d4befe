"""Fixtures that several test files share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cartpole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder of a short training on CartPole, rewarded for brightness; do not change it."""
    from gym_vlmrm import load_task
    from gym_vlmrm.catalog import override
    from gym_vlmrm.spec import Recipe
    from gym_vlmrm.training import train

    task = override(load_task("cartpole"), model="brightness", max_episode_steps=20)
    hyperparameters = {"n_steps": 32, "batch_size": 32, "policy_kwargs": {"net_arch": [8]}}
    recipe = Recipe(
        algorithm="PPO",
        steps=128,
        num_envs=2,
        checkpoint_every=64,
        normalize_observation=True,
        hyperparameters=hyperparameters,
    )
    path = tmp_path_factory.mktemp("runs") / "cartpole"
    train(task, recipe, output=path, workers=1)
    return path
