"""One environment in a plain loop: random actions, and what each step says.

Shows that the reward of a step is the model's score of the frame, beside the environment's own reward and the verdict
of the task's rule: ``python examples/plain_loop.py [--task ID] [--steps N]``.
"""

import argparse

import gymnasium as gym

import gym_vlmrm  # noqa: F401  (registers VLMRM/...)


def main() -> None:
    """Step an environment and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="VLMRM/CartPole-Balance-v0")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    env = gym.make(options.task)
    env.action_space.seed(0)
    env.reset(seed=0)
    print("step  reward  task_reward  success")
    for step in range(options.steps):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        print(f"{step:4}  {reward:6.3f}  {info['task_reward']:11.3f}  {info['success']}")
        if terminated or truncated:
            env.reset()
    print(f"the last frame, which the last reward scored: {env.render().shape}")
    env.close()


if __name__ == "__main__":
    main()
