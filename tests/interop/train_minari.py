"""Minari.

`DataCollector` records single environments, infos included (`record_infos=True`); frames are no part of the
observations. Datasets go to `MINARI_DATASETS_PATH`.
"""

import os
import tempfile

os.environ["MINARI_DATASETS_PATH"] = tempfile.mkdtemp()

import gymnasium as gym
import minari
import torch
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "minari"
WORKERS = "none"


def train(task: str) -> int:
    # lines
    env = minari.DataCollector(gym.make(task), record_infos=True)
    # end of lines
    for episode in range(2):
        env.reset(seed=episode)
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
    # lines
    dataset = env.create_dataset("vlmrm/random-v0")
    episodes = list(dataset.iterate_episodes())
    # end of lines
    minari.delete_dataset("vlmrm/random-v0")
    inputs = torch.as_tensor(episodes[0].observations[1:], dtype=torch.float32)
    rewards = torch.as_tensor(episodes[0].rewards, dtype=torch.float32)
    net = torch.nn.Linear(inputs.shape[1], 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(10):
        loss = (net(inputs).squeeze(-1) - rewards).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if "task_reward" not in episodes[0].infos:
        raise AssertionError(f"infos of the data set have {sorted(episodes[0].infos)}")
    env.close()
    return int(dataset.total_steps)


if __name__ == "__main__":
    run(train)
