"""LeRobot.

The distribution `lerobot_env_vlmrm` (`examples/lerobot_env_vlmrm`) adds the type: `lerobot-eval --env.type=vlmrm
--env.task=Humanoid-Kneeling-v0`. Observations are `pixels` and `agent_pos`, `info["is_success"]` is the task's rule,
`task_description` the goal prompt. LeRobot's policies give vectors of numbers, so tasks with discrete actions
(CartPole) are refused. LeRobot 0.4 needs `--env.discover_packages_path=lerobot_env_vlmrm`.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples" / "lerobot_env_vlmrm"))

import torch
from lerobot.envs.factory import make_env
from lerobot.envs.utils import env_to_policy_features, preprocess_observation
from lerobot.policies.act.modeling_act import ACTConfig, ACTPolicy
from lerobot_env_vlmrm import VLMRMEnvConfig
from telling import Refused, run

from gym_vlmrm.errors import TaskError

LIBRARY = "lerobot"
WORKERS = "fork (0.4), forkserver"


def train(task: str) -> int:
    task = task.rpartition("/")[2]
    try:
        # lines
        config = VLMRMEnvConfig(task=task)
        envs = make_env(config, n_envs=2)["vlmrm"][0]
        features = env_to_policy_features(config)
        # end of lines
    except TaskError as error:
        raise Refused(str(error)) from None
    inputs = {name: feature for name, feature in features.items() if name != "action"}
    policy = ACTPolicy(
        ACTConfig(
            input_features=inputs,
            output_features={"action": features["action"]},
            chunk_size=4,
            n_action_steps=1,
            dim_model=32,
            n_heads=2,
            dim_feedforward=32,
            n_encoder_layers=1,
            n_vae_encoder_layers=1,
            pretrained_backbone_weights=None,
            device="cpu",
        )
    )
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-4)
    observation, _ = envs.reset(seed=[0, 1])
    steps = ended = 0
    for turn in range(120):
        policy.eval()
        batch = preprocess_observation(observation)
        actions = policy.select_action(dict(batch)) if turn % 2 else torch.as_tensor(envs.action_space.sample())
        observation, _, _, _, info = envs.step(actions.detach().numpy())
        steps += 2
        if "final_info" in info:
            ended += len(info["final_info"]["is_success"].tolist())
        if turn % 10 == 0:
            policy.train()
            chunk = actions.detach()[:, None].repeat(1, 4, 1)
            loss, _ = policy.forward({**batch, "action": chunk, "action_is_pad": torch.zeros(2, 4, dtype=torch.bool)})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    envs.close()
    if not ended:
        raise AssertionError("no episode ended with is_success")
    return steps


if __name__ == "__main__":
    run(train)
