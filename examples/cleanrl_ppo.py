"""A whole PPO in one file, CleanRL's way, over ``gym.make_vec``: nothing is hidden, everything may be changed.

Shows one batched call of the reward model per step for all environments, and what the autoreset mode ``NextStep`` asks
of a learner: the step after the end of an episode only resets, so it is left out of the loss.
``python examples/cleanrl_ppo.py [--task ID] [--num-envs N] [--total-timesteps N]``
"""

import argparse
import time

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical, Normal

import gym_vlmrm  # noqa: F401  (registers VLMRM/...)


class Agent(nn.Module):
    """Policy and value of flat observations; discrete actions or a Box."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        """Build both networks for the spaces of a vector environment."""
        super().__init__()
        space = envs.single_action_space
        size = int(np.prod(envs.single_observation_space.shape))
        self.discrete = isinstance(space, gym.spaces.Discrete)
        outputs = int(space.n) if self.discrete else int(np.prod(space.shape))
        self.actor = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, outputs))
        self.critic = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 1))
        self.log_std = nn.Parameter(torch.full((outputs,), -0.5))

    def value(self, observations: torch.Tensor) -> torch.Tensor:
        """Return values (N,) of observations (N, D)."""
        return self.critic(observations).squeeze(-1)

    def act(self, observations: torch.Tensor, actions: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Return actions (drawn where not given), their log-probabilities (N,) and the entropy (N,)."""
        scores = self.actor(observations)
        if self.discrete:
            law = Categorical(logits=scores)
            actions = law.sample() if actions is None else actions
            return actions, law.log_prob(actions), law.entropy()
        law = Normal(scores, self.log_std.exp())
        actions = law.sample() if actions is None else actions
        return actions, law.log_prob(actions).sum(-1), law.entropy().sum(-1)


def main() -> None:
    """Train and print the returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="VLMRM/CartPole-Balance-v0")
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--num-steps", type=int, default=64)
    parser.add_argument("--total-timesteps", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    gamma, gae_lambda, clip, epochs, minibatches = 0.99, 0.95, 0.2, 4, 4

    torch.manual_seed(options.seed)
    envs = gym.make_vec(options.task, num_envs=options.num_envs)
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
    rng = np.random.default_rng(options.seed)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32).reshape(options.num_envs, -1))

    observations, _ = envs.reset(seed=options.seed)
    following, ended = tensor(observations), torch.zeros(options.num_envs)
    returns: list[float] = []
    start = time.monotonic()
    for update in range(1, options.total_timesteps // (options.num_envs * options.num_steps) + 1):
        rows = []
        for _ in range(options.num_steps):
            with torch.no_grad():
                actions, logs, _ = agent.act(following)
                values = agent.value(following)
            sent = actions.numpy()
            if not agent.discrete:
                sent = np.clip(sent, envs.single_action_space.low, envs.single_action_space.high)
            observations, rewards, terminations, truncations, infos = envs.step(sent)
            reset_only = ended  # NextStep: this step made no transition
            done = torch.as_tensor(np.logical_or(terminations, truncations), dtype=torch.float32)
            rows.append((following, actions, logs, torch.as_tensor(rewards), values, done, 1 - reset_only))
            following, ended = tensor(observations), done
            if "episode" in infos:
                returns += [float(total) for total in infos["episode"]["r"][infos["_episode"]]]

        states, acts, logs, rewards, values, dones, real = (torch.stack(column) for column in zip(*rows, strict=True))
        advantages, running = torch.zeros_like(rewards), torch.zeros(options.num_envs)
        with torch.no_grad():
            after = agent.value(following)
        for t in reversed(range(options.num_steps)):
            error = rewards[t] + gamma * after * (1 - dones[t]) - values[t]
            running = error + gamma * gae_lambda * (1 - dones[t]) * running
            advantages[t], after = running, values[t]

        kept = real.flatten().bool()
        states, logs, goals = states.flatten(0, 1)[kept], logs.flatten()[kept], (advantages + values).flatten()[kept]
        acts, gains = acts.flatten(0, 1)[kept], advantages.flatten()[kept]
        for _ in range(epochs):
            for rows_of_batch in np.array_split(rng.permutation(len(states)), minibatches):
                index = torch.as_tensor(rows_of_batch)
                _, new_logs, entropy = agent.act(states[index], acts[index])
                ratio = (new_logs - logs[index]).exp()
                gain = (gains[index] - gains[index].mean()) / (gains[index].std() + 1e-8)
                policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
                value_loss = 0.5 * (agent.value(states[index]) - goals[index]).pow(2).mean()
                loss = policy_loss + 0.5 * value_loss - 0.01 * entropy.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        steps = update * options.num_envs * options.num_steps
        mean = f"{np.mean(returns[-20:]):.1f}" if returns else "none yet"
        print(f"{steps} steps, {steps / (time.monotonic() - start):.0f} a second, mean return of 20 episodes: {mean}")
    envs.close()


if __name__ == "__main__":
    main()
