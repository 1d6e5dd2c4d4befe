"""stable-baselines3 over many environments that share one reward model.

Shows `gym_vlmrm.sb3.make_vec_env` in place of stable-baselines3's own: the returns of the episodes are the model's
rewards. ``python examples/sb3_ppo.py [--task ID] [--envs N] [--steps N]``; 200,000 steps make a kneeling humanoid.
"""

import argparse

from stable_baselines3 import PPO

from gym_vlmrm.sb3 import make_vec_env


def main() -> None:
    """Train and say what the episodes earned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="VLMRM/CartPole-Balance-v0")
    parser.add_argument("--envs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=512)
    options = parser.parse_args()

    envs = make_vec_env(options.task, n_envs=options.envs, seed=0)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, seed=0, device="cpu")
    model.learn(options.steps)
    returns = [episode["r"] for episode in model.ep_info_buffer]
    mean = f"{sum(returns) / len(returns):.1f}" if returns else "no"
    print(f"{model.num_timesteps} steps, {len(returns)} episodes, mean return of the model's rewards: {mean}")
    envs.close()


if __name__ == "__main__":
    main()
