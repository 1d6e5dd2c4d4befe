"""sbx.

stable-baselines3 in JAX. JAX warns of `fork` with its threads; our workers are not forked.
"""

from sbx import PPO
from telling import run

from gym_vlmrm.sb3 import make_vec_env

LIBRARY = "sbx-rl"
WORKERS = "ours"


def train(task: str) -> int:
    # lines
    envs = make_vec_env(task, n_envs=4, seed=0)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64)
    model.learn(256)
    # end of lines
    envs.close()
    return int(model.num_timesteps)


if __name__ == "__main__":
    run(train)
