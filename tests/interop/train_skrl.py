"""skrl.

`wrap_env` takes `gym.make_vec` (one model for all) and single environments. Its default trainer asks `gym.vector`'s
`call` for frames unless `headless` is set, which is served too.
"""

import gymnasium as gym
import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer
from telling import run

import gym_vlmrm  # noqa: F401

LIBRARY = "skrl"
WORKERS = "ours"


class Gaussian(GaussianMixin, Model):
    def __init__(self, env) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space)
        GaussianMixin.__init__(self)
        self.net = torch.nn.Linear(self.num_observations, self.num_actions)
        self.log_std = torch.nn.Parameter(torch.full((self.num_actions,), -1.0))

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Categorical(CategoricalMixin, Model):
    def __init__(self, env) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space)
        CategoricalMixin.__init__(self)
        self.net = torch.nn.Linear(self.num_observations, self.num_actions)

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    def __init__(self, env) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space)
        DeterministicMixin.__init__(self)
        self.net = torch.nn.Linear(self.num_observations, 1)

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {}


def train(task: str) -> int:
    # lines
    env = wrap_env(gym.make_vec(task, num_envs=4))
    policy = Categorical(env) if isinstance(env.action_space, gym.spaces.Discrete) else Gaussian(env)
    # end of lines
    agent = PPO(
        models={"policy": policy, "value": Value(env)},
        memory=RandomMemory(memory_size=16, num_envs=env.num_envs),
        observation_space=env.observation_space,
        action_space=env.action_space,
        cfg={"rollouts": 16, "learning_epochs": 2, "experiment": {"write_interval": 0, "checkpoint_interval": 0}},
    )
    # lines
    SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 64}).train()
    # end of lines
    env.close()
    return 64 * 4


if __name__ == "__main__":
    run(train)
