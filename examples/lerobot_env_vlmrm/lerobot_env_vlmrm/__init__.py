"""The environments of gym-vlmrm as a type of LeRobot's: ``--env.type=vlmrm --env.task=Humanoid-Kneeling-v0``."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGE, OBS_STATE

import gym_vlmrm  # noqa: F401  (registers gym_vlmrm/...)

__all__ = ["VLMRMEnvConfig"]


@EnvConfig.register_subclass("vlmrm")
@dataclass
class VLMRMEnvConfig(EnvConfig):
    """Any task of gym-vlmrm whose actions are continuous.

    `task` is a built-in task's ID without ``VLMRM/``, or any task's name, whole ID or path to a YAML file.
    """

    task: str | None = "Humanoid-Kneeling-v0"
    fps: int = 67
    obs_type: str = "pixels_agent_pos"
    episode_length: int | None = None
    render_size: int | None = None
    reward: str = "vlm"
    model: str | None = None
    goal: str | None = None
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(
        default_factory=lambda: {ACTION: ACTION, "agent_pos": OBS_STATE, "pixels": OBS_IMAGE}
    )

    def __post_init__(self) -> None:
        """Ask the environment for its shapes, where no features are given; no reward model is loaded for it."""
        if self.features:
            return
        env = gym.make(self.gym_id, **{**self.gym_kwargs, "reward": "task"})
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, env.action_space.shape)}
        for name, space in env.observation_space.items():
            kind = FeatureType.VISUAL if name == "pixels" else FeatureType.STATE
            self.features[name] = PolicyFeature(kind, space.shape)
        env.close()

    @property
    def gym_id(self) -> str:
        """The task's own ID, or the one that takes any task."""
        own = f"{self.package_name}/{self.task}"
        return own if own in gym.registry else f"{self.package_name}/Task-v0"

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """What `gymnasium.make` gets."""
        names = ("obs_type", "episode_length", "render_size", "reward", "model", "goal")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given if f"{self.package_name}/{self.task}" in gym.registry else {**given, "task": self.task}
