"""A reward model of one's own: any object with a name, a frame size, and a call from frames to numbers.

Shows `gym_vlmrm.VLMReward` around an environment that draws itself, here rewarded for how much of the picture is as
black as CartPole's cart: ``python examples/custom_reward_model.py [--steps N]``.
"""

import argparse

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import gym_vlmrm


class Darkness:
    """Rewards the share of dark pixels."""

    name = "darkness"
    frame_size = 400

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards (N,) of frames (N, H, W, 3)."""
        return (frames.max(axis=-1) < 64).mean(axis=(1, 2), dtype=np.float32)


def main() -> None:
    """Wrap, step, and compare with what the model says of the frame itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    model = Darkness()
    assert isinstance(model, gym_vlmrm.RewardModel)
    env = gym_vlmrm.VLMReward(gym.make("CartPole-v1", render_mode="rgb_array"), model)
    env.action_space.seed(0)
    env.reset(seed=0)
    for step in range(options.steps):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        print(f"step {step}: {reward:.4f} from the picture, {info['task_reward']:.1f} from CartPole")
        if terminated or truncated:
            break
    assert reward == float(model(env.render()[None])[0])
    env.close()


if __name__ == "__main__":
    main()
