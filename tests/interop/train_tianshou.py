"""Tianshou.

`make_vec_env` returns a `BaseVectorEnv` for any Collector: one model for all. Tianshou's own `DummyVectorEnv` and
`SubprocVectorEnv` over `gym.make` load one model per environment.
"""

import gymnasium as gym
import torch
from telling import run
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy, ProbabilisticActorPolicy, Reinforce
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic
from tianshou.utils.net.discrete import DiscreteActor

from gym_vlmrm.tianshou import make_vec_env

LIBRARY = "tianshou"
WORKERS = "ours"


def train(task: str) -> int:
    # lines
    envs = make_vec_env(task, n_envs=4, seed=0)
    # end of lines
    space, actions = envs.observation_space[0], envs.action_space[0]
    net = Net(state_shape=space.shape, hidden_sizes=[16])
    if isinstance(actions, gym.spaces.Discrete):
        actor = DiscreteActor(preprocess_net=net, action_shape=actions.n, softmax_output=False)
        policy = DiscreteActorPolicy(actor=actor, action_space=actions)
    else:
        actor = ContinuousActorProbabilistic(preprocess_net=net, action_shape=actions.shape, unbounded=True)
        policy = ProbabilisticActorPolicy(
            actor=actor,
            dist_fn=lambda parts: torch.distributions.Independent(torch.distributions.Normal(*parts), 1),
            action_space=actions,
        )
    # lines
    agent = Reinforce(policy=policy, optim=AdamOptimizerFactory(lr=1e-3))
    collector = Collector(agent, envs, VectorReplayBuffer(1000, len(envs)))
    # end of lines
    agent.run_training(
        OnPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=200,
            collection_step_num_env_steps=100,
            update_step_num_repetitions=1,
            batch_size=64,
            test_step_num_episodes=0,
            show_progress=False,
            verbose=False,
        )
    )
    steps = collector.collect_step
    envs.close()
    return int(steps)


if __name__ == "__main__":
    run(train)
