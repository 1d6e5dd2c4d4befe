"""RLlib.

`gym_vlmrm:VLMRM/...` as the environment: its runners are processes that have imported nothing of ours. Each loads a
model of its own. `ray[rllib]` demands `gymnasium==1.2.2`; with gymnasium 1.4 it works when `ray` is installed without
that extra.
"""

from ray.rllib.algorithms.ppo import PPOConfig
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "ray"
WORKERS = "ray"


def train(task: str) -> int:
    # lines
    config = PPOConfig().environment(task).env_runners(num_env_runners=1, rollout_fragment_length=64)
    agent = config.training(train_batch_size=128, minibatch_size=64, num_epochs=1).build_algo()
    result = agent.train()
    # end of lines
    result = agent.train()  # one batch of it is few steps
    agent.stop()
    return int(result["num_env_steps_sampled_lifetime"])


if __name__ == "__main__":
    run(train)
