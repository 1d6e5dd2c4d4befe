"""CleanRL's style.

One file, `gym.make_vec` or Gymnasium's vector classes, `NEXT_STEP`. A whole PPO is in `examples/cleanrl_ppo.py`.
"""

import gymnasium as gym
import numpy as np
import torch
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "gymnasium"
WORKERS = "ours"


def train(task: str) -> int:
    # lines
    envs = gym.make_vec(task, num_envs=4)
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    observations, _ = envs.reset(seed=0)
    # end of lines
    discrete = isinstance(envs.single_action_space, gym.spaces.Discrete)
    width = int(envs.single_action_space.n) if discrete else int(np.prod(envs.single_action_space.shape))
    torch.manual_seed(0)
    policy = torch.nn.Linear(int(np.prod(envs.single_observation_space.shape)), width)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    steps = 0
    for _ in range(4):
        losses, rewards = [], []
        for _ in range(16):
            scores = policy(torch.as_tensor(observations, dtype=torch.float32))
            law: torch.distributions.Distribution = (
                torch.distributions.Categorical(logits=scores) if discrete else torch.distributions.Normal(scores, 0.3)
            )
            actions = law.sample()
            observations, reward, _, _, _ = envs.step(actions.numpy())
            losses.append(law.log_prob(actions).reshape(4, -1).sum(-1))
            rewards.append(torch.as_tensor(reward))
            steps += 4
        gain = torch.stack(rewards)
        loss = -(torch.stack(losses) * (gain - gain.mean())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    envs.close()
    return steps


if __name__ == "__main__":
    run(train)
