"""Gymnasium's wrappers.

Any wrapper of single or vector environments, `RecordVideo` among them (it needs moviepy), and `AsyncVectorEnv` and
`SyncVectorEnv`, which load one model per environment; `gym.make_vec(task, num_envs=n)` loads one for all.
`AsyncVectorEnv` forks on Linux up to Python 3.13.
"""

import tempfile
from pathlib import Path

import gymnasium as gym
from gymnasium.wrappers import NormalizeObservation, RecordEpisodeStatistics, RecordVideo, RescaleAction
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "gymnasium"
WORKERS = "fork"


def train(task: str) -> int:
    folder = tempfile.mkdtemp()
    # lines
    env = RecordVideo(gym.make(task, render_mode="rgb_array"), folder, name_prefix="agent")
    env = NormalizeObservation(RecordEpisodeStatistics(env))
    envs = gym.make_vec(task, num_envs=2, vectorization_mode="async")
    # end of lines
    if isinstance(env.action_space, gym.spaces.Box):
        env = RescaleAction(env, -1, 1)
    steps = 0
    env.reset(seed=0)
    for _ in range(100):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        steps += 1
        if terminated or truncated:
            if "episode" not in info:
                raise AssertionError("no statistics of the episode")
            env.reset()
    env.close()
    if not list(Path(folder).glob("agent*.mp4")):
        raise AssertionError("RecordVideo wrote no film")
    envs.reset(seed=0)
    for _ in range(50):
        envs.step(envs.action_space.sample())
        steps += 2
    envs.close()
    return steps


if __name__ == "__main__":
    run(train)
