"""TorchRL.

`GymEnv` takes IDs and `ParallelEnv` runs it in processes; `GymWrapper` takes `gym.make_vec`, one model for all.
TorchRL refuses vector environments in autoreset mode `NextStep`, so write `autoreset_mode="SameStep"`.
"""

import gymnasium as gym
import torch
from telling import run
from tensordict.nn import TensorDictModule
from torch.distributions import Normal, OneHotCategorical
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper, ParallelEnv
from torchrl.modules import ProbabilisticActor

import gym_vlmrm  # noqa: F401

LIBRARY = "torchrl"
WORKERS = "`ParallelEnv`: spawn; `GymWrapper`: one model for all"


class Head(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = torch.nn.Linear(inputs, outputs)
        self.scale = torch.nn.Parameter(torch.full((outputs,), 0.3))

    def forward(self, observation):
        loc = self.net(observation.float())
        return loc, self.scale.abs().expand_as(loc)


def train(task: str) -> int:
    # lines
    env = GymEnv(task)
    envs = ParallelEnv(2, GymEnv, create_env_kwargs={"env_name": task})
    batched = GymWrapper(gym.make_vec(task, num_envs=4, autoreset_mode="SameStep"))
    # end of lines
    discrete = env.action_spec.dtype is torch.int64
    head = Head(env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1])
    actor = ProbabilisticActor(
        TensorDictModule(head, in_keys=["observation"], out_keys=["logits" if discrete else "loc", "scale"]),
        in_keys=["logits"] if discrete else ["loc", "scale"],
        distribution_class=OneHotCategorical if discrete else Normal,
        return_log_prob=False,
    )
    steps = int(env.rollout(20, actor).numel())
    steps += int(envs.rollout(20, actor, break_when_any_done=False).numel())
    optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    # lines
    collector = Collector(batched, actor, frames_per_batch=64, total_frames=256)
    # end of lines
    for data in collector:
        steps += int(data.numel())
        chosen = actor.get_dist(data).log_prob(data["action"])
        chosen = chosen if discrete else chosen.sum(-1)
        reward = data["next", "reward"].squeeze(-1)
        loss = -(chosen * (reward - reward.mean())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    collector.shutdown()
    for each in (env, envs):
        each.close()
    return steps


if __name__ == "__main__":
    run(train)
