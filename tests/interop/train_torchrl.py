"""TorchRL.

`GymEnv` takes IDs, `ParallelEnv` runs it in processes, `GymWrapper` takes `gym.make_vec` (in autoreset mode `SameStep` or `Disabled`: TorchRL refuses
`NextStep`) and so one model for all.
"""

import gymnasium as gym
import torch
from telling import run
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, ParallelEnv
from torchrl.envs.libs.gym import GymWrapper

import gym_vlmrm  # noqa: F401

LIBRARY = "torchrl"
WORKERS = "fork"


def train(task: str) -> int:
    # lines
    env = GymEnv(task)
    envs = ParallelEnv(2, lambda: GymEnv(task))
    batched = GymWrapper(gym.make_vec(task, num_envs=4, autoreset_mode="SameStep"))
    # end of lines
    steps = int(env.rollout(20).numel())
    steps += int(envs.rollout(20, break_when_any_done=False).numel())
    envs.close()
    width = env.action_spec.shape[-1]
    net = TensorDictModule(torch.nn.LazyLinear(width), in_keys=["observation"], out_keys=["scores"])
    policy = TensorDictModule(lambda _: batched.action_spec.rand(), in_keys=["scores"], out_keys=["action"])
    actor = torch.nn.Sequential()
    del actor, policy
    optimizer = None
    for data in Collector(batched, None, frames_per_batch=64, total_frames=256):
        if optimizer is None:
            net.module.to(torch.get_default_dtype())
            net.module(data["observation"].to(torch.get_default_dtype()))
            optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        value = net.module(data["observation"].to(torch.get_default_dtype())).mean(-1, keepdim=True)
        loss = (value - data["next", "reward"]).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += int(data.numel())
    return steps


if __name__ == "__main__":
    run(train)
