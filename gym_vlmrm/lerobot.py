"""For LeRobot: environments as its policies and `lerobot-eval` know them, under IDs ``gym_vlmrm/...``.

LeRobot makes ``gym.make("gym_<type>/<task>")``; with ``--env.type=vlmrm --env.task=Humanoid-Kneeling-v0`` that is
``gym_vlmrm/Humanoid-Kneeling-v0``. The type itself is registered by the distribution ``lerobot_env_vlmrm``
(`examples/lerobot_env_vlmrm`).
"""

import logging
from typing import Any, Literal, TypeAlias, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.entry_points import RewardKind, Task, resolve_task
from gym_vlmrm.entry_points import make_env as make_rewarded
from gym_vlmrm.errors import TaskError, whole_number
from gym_vlmrm.reward import choose_frame_size
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.world import episode_limit

__all__ = ["LeRobotEnv", "make_env"]

logger = logging.getLogger("gym_vlmrm")

ObservationType: TypeAlias = Literal["state", "pixels", "pixels_agent_pos"]
_KEYS: dict[str, tuple[str, ...]] = {
    "state": ("agent_pos",),
    "pixels": ("pixels",),
    "pixels_agent_pos": ("agent_pos", "pixels"),
}


class LeRobotEnv(HiddenWrapper):
    """Observations ``{"pixels": uint8 (H, W, 3), "agent_pos": float32 (D,)}`` and ``info["is_success"]`` (bool).

    ``pixels`` is the frame that the reward saw, ``agent_pos`` the environment's own observation, flattened. LeRobot
    reads `task` and `task_description` (the goal prompt) and `_max_episode_steps` from the outermost wrapper, which
    this is.
    """

    def __init__(
        self, env: gym.Env[Any, Any], task: TaskSpec, limit: int, obs_type: ObservationType, side: int
    ) -> None:
        """Wrap an environment whose frames have `side` pixels each way (see `make_env`)."""
        super().__init__(env)
        self.task_description = task.reward.said[0]
        self.task = task.id
        self._max_episode_steps = limit
        self._judged = task.success is not None
        self._parts = _KEYS[obs_type]
        parts: dict[str, spaces.Space[Any]] = {}
        if "agent_pos" in self._parts:
            size = spaces.flatdim(env.observation_space)
            parts["agent_pos"] = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        if "pixels" in self._parts:
            parts["pixels"] = spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.observation_space = spaces.Dict(parts)

    def _observation(self, observation: Any) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if "agent_pos" in self._parts:
            parts["agent_pos"] = np.asarray(spaces.flatten(self.env.observation_space, observation), np.float32)
        if "pixels" in self._parts:
            parts["pixels"] = np.asarray(self.env.render())
        return parts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observation(observation), self._told(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._observation(observation), reward, terminated, truncated, self._told(info)

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "is_success": np.bool_(self._judged and info.get("success", False))}


def make_env(
    task: Task | None = None,
    *,
    obs_type: ObservationType = "pixels_agent_pos",
    episode_length: int | None = None,
    reward: RewardKind = "vlm",
    render_mode: str | None = None,
    **changes: Any,
) -> LeRobotEnv:
    """Entry point of the IDs ``gym_vlmrm/...``.

    Args:
        task: a task's name, environment ID or path, or a whole one as JSON-able data.
        obs_type: ``state``, ``pixels`` or ``pixels_agent_pos``.
        episode_length: steps until truncation; the task's own if not given.
        reward: ``vlm`` or ``task``, as in `gym_vlmrm.entry_points.make_env`.
        render_mode: ``rgb_array`` whatever is given.
        changes: what else ``gym.make`` of the task takes: ``goal``, ``model``, ``scene``, ``render_size`` and so on.

    Raises:
        TaskError: no such task or argument, its actions are not continuous (LeRobot's policies give nothing else), or
            it has no limit of steps.
        ModelError, RenderingError: as their names say.
    """
    if task is None:
        raise TaskError("which task? gym_vlmrm/Task-v0 wants task=: a name, an environment ID or a path")
    if not isinstance(obs_type, str) or obs_type not in _KEYS:
        raise TaskError(f"obs_type must be one of {', '.join(get_args(ObservationType))}, got {obs_type!r}")
    spec = resolve_task(task, reward, **changes)
    given = episode_length
    limit = episode_limit(spec) if given is None else whole_number("episode_length", given, 1, error=TaskError)
    if limit is None:
        raise TaskError(f"task '{spec.id}' has no limit of steps, which LeRobot needs; give episode_length")
    env = make_rewarded(spec, reward=reward)
    if not isinstance(env.action_space, spaces.Box) or len(env.action_space.shape) != 1:
        env.close()
        raise TaskError(f"task '{spec.id}' has actions {env.action_space}; LeRobot's policies give vectors of numbers")
    if spec.success is None:
        logger.warning("task '%s' has no rule of success, so is_success is always false", spec.id)
    return LeRobotEnv(TimeLimit(env, limit), spec, limit, obs_type, choose_frame_size(spec))


make_env.metadata = {"render_modes": ["rgb_array"]}  # type: ignore[attr-defined]
