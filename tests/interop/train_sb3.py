"""stable-baselines3.

`make_vec_env` has stable-baselines3's own arguments; one model in this process scores the frames of all environments.
stable-baselines3's own `make_vec_env(task, n)` works too, with `SubprocVecEnv` for processes, and loads one model per
environment.
"""

from stable_baselines3 import PPO
from telling import run

from gym_vlmrm.sb3 import make_vec_env

LIBRARY = "stable-baselines3"
WORKERS = "ours"


def train(task: str) -> int:
    # lines
    envs = make_vec_env(task, n_envs=4, seed=0)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64)
    model.learn(256)
    # end of lines
    envs.close()
    return model.num_timesteps


if __name__ == "__main__":
    run(train)
