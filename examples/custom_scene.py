"""A world of one's own: a lamp to be turned up, as a task that `gym_vlmrm.train` and ``gym.make`` know.

Shows a Gymnasium environment that draws itself, a task for it with a rule of success, and a training with workers.
The judge is the model ``brightness``, which looks at the mean of all pixels; for real scenes name an open_clip model.
``python examples/custom_scene.py [--steps N]``
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

import gym_vlmrm


class Lamp(gym.Env[Any, Any]):
    """Action 1 turns the lamp up, action 0 down; the observation is its brightness."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        """Take Gymnasium's render mode; `rgb_array` is what a reward from pictures needs."""
        self.render_mode = render_mode
        self.power = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Dim the lamp."""
        super().reset(seed=seed)
        self.power = float(self.np_random.uniform(0.3, 0.6))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Turn it; the environment itself pays nothing."""
        self.power = min(1.0, max(0.0, self.power + (0.05 if action else -0.05)))
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> Any:
        return np.array([self.power], np.float32)

    def render(self) -> Any:
        """Draw a round lamp on black."""
        rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
        light = np.clip(1.2 - np.hypot(rows, columns), 0, 1) * self.power
        return (255 * light[..., None] * np.array([1.0, 0.9, 0.6])).astype(np.uint8)


TASK = """\
id: Mine/Lamp-Bright-v0
description: Turn the lamp up.
env: {id: Mine/Lamp-v0, max_episode_steps: 20}
reward: {goal: a bright lamp, model: brightness}
success: "obs[0] > 0.9"
training:
  default:
    algorithm: PPO
    steps: 2048
    num_envs: 4
    hyperparameters: {n_steps: 64, batch_size: 64, learning_rate: 0.003}
"""


def main() -> None:
    """Register, look, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2048)
    options = parser.parse_args()

    gym.register(id="Mine/Lamp-v0", entry_point=Lamp)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lamp.yaml"
        path.write_text(TASK)
        task = gym_vlmrm.register_task(str(path))
        env = gym.make(task.id)
        env.reset(seed=0)
        up, down = env.step(1)[1], env.step(0)[1]
        print(f"one step up is worth {up:.3f}, one down {down:.3f}")
        env.close()
        result = gym_vlmrm.train(task, steps=options.steps, seed=0, output=Path(folder) / "run")
        policy = gym_vlmrm.load_policy(result.run.path)
        print("a dim lamp is turned", "up" if policy.predict(np.array([0.3], np.float32))[0] == 1 else "down")


if __name__ == "__main__":
    main()
