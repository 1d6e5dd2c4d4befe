"""Export to stable-baselines3: what it loads acts as the run's policy does."""

from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.export import export_sb3
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent


def test_the_exported_policy_acts_alike(cartpole_run: Path, tmp_path: Path) -> None:
    policy, scale = export_sb3(cartpole_run, tmp_path / "exported", "last")
    agent = load_agent(RunFolder.open(cartpole_run).checkpoint("last").path)
    states = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    loaded, normalizer = PPO.load(policy, device="cpu"), VecNormalize.load(str(scale), make_vec_env("CartPole-v1"))
    theirs, _ = loaded.predict(normalizer.normalize_obs(states), deterministic=True)
    assert np.array_equal(theirs, agent.act(states, np.zeros(32, np.bool_)))
    normalizer.close()


def test_a_folder_that_cannot_be_made_is_one_line(cartpole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to"):
        export_sb3(cartpole_run, tmp_path / "file" / "below")
