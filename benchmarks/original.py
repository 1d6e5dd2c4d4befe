"""The original's way: large frames with every effect, one process per environment, rewards after the rollout.

A plain implementation of what the research code does, from public parts of Gymnasium and open_clip: one process per
environment draws 480x480 frames with shadows and multisampling, every frame of the rollout is sent to the main process
and kept there, and then all are embedded in float32.
"""

import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as functional
from capacity import torch_threads
from gymnasium.vector import AsyncVectorEnv
from numpy.typing import NDArray
from processes import started
from speed import Loop

from gym_vlmrm.reward.clip.opening import open_clip
from gym_vlmrm.reward.folders import MERGES_FILE
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["OriginalLoop", "OriginalReward"]

SIDE = 480
BATCH = 16


class OriginalReward:
    """Goal-baseline rewards in float32, as one would write them with open_clip alone."""

    def __init__(self, task: TaskSpec) -> None:
        judge = task.reward
        if judge.model == "embedded":
            name = f"local-dir:{EMBEDDED_FOLDER}"
            tokenizer = open_clip.get_tokenizer(name, bpe_path=str(EMBEDDED_FOLDER / MERGES_FILE))
            self.model = open_clip.create_model(name).eval()
        else:
            name, _, pretrained = judge.model.partition("/")
            tokenizer = open_clip.get_tokenizer(name)
            weights = None if pretrained == "untrained" else pretrained
            self.model = open_clip.create_model(name, pretrained=weights).eval()
        config = self.model.visual.preprocess_cfg
        self.size = config["size"][0] if isinstance(config["size"], list | tuple) else config["size"]
        self.mean, self.std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        sentences = [judge.goals, judge.baselines or judge.goals]
        with torch.no_grad():
            text = [self.model.encode_text(tokenizer(s)) for s in sentences]
        self.goal, self.baseline = (functional.normalize(functional.normalize(t).mean(0), dim=0) for t in text)
        self.alpha = judge.alpha

    @torch.no_grad()
    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return rewards (N,) of frames (N, H, W, 3)."""
        rewards = [self._batch(torch.from_numpy(frames[i : i + BATCH])) for i in range(0, len(frames), BATCH)]
        return torch.cat(rewards).numpy()

    def _batch(self, frames: torch.Tensor) -> torch.Tensor:
        images = frames.permute(0, 3, 1, 2).float() / 255
        if images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        embedded = functional.normalize(self.model.encode_image((images.clamp(0, 1) - self.mean) / self.std))
        direction = self.goal - self.baseline
        length = direction.square().sum().clamp_min(1e-12)
        offset = embedded - self.goal
        along = (offset @ direction)[:, None] * direction / length
        rewards: torch.Tensor = 1 - (self.alpha * along + (1 - self.alpha) * offset).square().sum(-1) / 2
        return rewards


class OriginalLoop(Loop):
    """Rollouts as the original collects them; one process and one renderer per environment."""

    def __init__(self, task: TaskSpec, num_envs: int) -> None:
        self.num_envs = num_envs
        self.reward = OriginalReward(task)
        with started() as self.pids:
            self.envs = AsyncVectorEnv([partial(_make_env, task)] * num_envs, context="forkserver")
        self.envs.reset(seed=0)
        self.envs.action_space.seed(0)
        self.envs.render()

    def _steps(self, end: float) -> int:
        """One rollout, whose rewards take their time after `end`."""
        frames: list[Any] = []
        while not frames or time.perf_counter() < end:
            self.envs.step(self.envs.action_space.sample())
            frames.extend(self.envs.render() or ())
        with torch_threads(usable_cores()):
            self.reward(np.stack(frames))
        return len(frames)

    def close(self) -> None:
        """End the processes."""
        self.envs.close()


def _make_env(task: TaskSpec) -> gym.Env[Any, Any]:
    from gym_vlmrm.worlds.gl import ensure_gl

    arguments: dict[str, Any] = {}
    if task.scene.camera is not None:
        ensure_gl()
        camera = {**task.scene.camera.model_dump(), "lookat": np.array(task.scene.camera.lookat)}
        arguments = {"width": SIDE, "height": SIDE, "camera_id": -1, "default_camera_config": camera}
        arguments |= {"terminate_when_unhealthy": False}
    limit = task.env.max_episode_steps
    return gym.make(task.env.id, render_mode="rgb_array", max_episode_steps=limit, **arguments)
