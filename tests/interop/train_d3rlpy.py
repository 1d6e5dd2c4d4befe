"""d3rlpy.

Single environments, online (`fit_online`) or as a judge of offline training. It demands `gymnasium==1.0.0` and the
old `gym`; with gymnasium 1.4 it works when it is installed with `pip install --no-deps`.
"""

import d3rlpy
import gymnasium as gym
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "d3rlpy"
WORKERS = "none"


def train(task: str) -> int:
    # lines
    env = gym.make(task)
    config = d3rlpy.algos.DQNConfig() if hasattr(env.action_space, "n") else d3rlpy.algos.SACConfig()
    agent = config.create()
    # end of lines
    buffer = d3rlpy.dataset.create_fifo_replay_buffer(limit=500, env=env)
    options = {"n_steps": 200, "n_steps_per_epoch": 200, "update_start_step": 150, "show_progress": False}
    agent.fit_online(env, buffer, logger_adapter=d3rlpy.logging.NoopAdapterFactory(), **options)
    env.close()
    return 200


if __name__ == "__main__":
    run(train)
