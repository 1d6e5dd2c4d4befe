"""sb3-contrib.

As stable-baselines3. An environment with `action_masks()` reaches `MaskablePPO` through `env_method`.
"""

from sb3_contrib import TRPO
from telling import run

from gym_vlmrm.sb3 import make_vec_env

LIBRARY = "sb3-contrib"
WORKERS = "ours"


def train(task: str) -> int:
    # lines
    envs = make_vec_env(task, n_envs=4, seed=0)
    model = TRPO("MlpPolicy", envs, n_steps=64, batch_size=64)
    model.learn(256)
    # end of lines
    envs.close()
    return model.num_timesteps


if __name__ == "__main__":
    run(train)
