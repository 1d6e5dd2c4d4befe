"""Entry points: what `gymnasium.make` and `gymnasium.make_vec` call to build a task."""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import HumanRendering

from gym_vlmrm.errors import RenderingError, TaskError, UnknownArgumentError, did_you_mean
from gym_vlmrm.reward import RewardModel, choose_frame_size, load_reward_model
from gym_vlmrm.reward.loading import asks_a_server
from gym_vlmrm.serving.wanted import wants_sharing
from gym_vlmrm.task import catalog
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.pool import find_autoreset_mode
from gym_vlmrm.worlds.world import make_world, make_worlds
from gym_vlmrm.wrappers import VectorVLMReward
from gym_vlmrm.wrappers.single import BuiltVLMReward

__all__ = ["Task", "build_vec_env", "make_env", "make_vec_env", "resolve_task"]

Task: TypeAlias = TaskSpec | str | os.PathLike[str] | Mapping[str, Any]
"""A task, or its name, environment ID or path, or a whole task as plain data."""
RewardKind: TypeAlias = Literal["vlm", "task"]
_METADATA = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.NEXT_STEP}


def make_env(
    task: Task,
    *,
    reward: RewardKind = "vlm",
    render_mode: str | None = None,
    scene: str | Mapping[str, Any] | None = None,
    render_size: int | None = None,
    share_model: bool | None = None,
    **judge: Any,
) -> gym.Env[Any, Any]:
    """Entry point of `gymnasium.make`: one environment, whose time limit `gymnasium.make` adds.

    Args:
        task: name of a built-in task, or a whole task as JSON-able data.
        reward: ``vlm`` for the reward model's reward, ``task`` for the environment's own (loads no model).
        render_mode: ``rgb_array`` whatever is given: the reward needs the frames.
        scene: ``textured``, ``original``, or any keys of a task's ``scene:``.
        render_size: side of the frames [px]; the reward model's input size if not given.
        share_model: whether a server of this host holds the model for all processes (see docs/many-environments.md); if
            not given, what the environment variable ``GYM_VLMRM_SHARE_MODEL`` says.
        judge: ``model``, ``goal``, ``baseline``, ``alpha``, ``device``, ``precision`` of `load_reward_model`.

    Raises:
        TaskError, ModelError, RenderingError: as their names say.
    """
    spec = resolve_task(task, reward, scene=scene, render_size=render_size, **judge)
    model = _load(spec, share_model) if reward == "vlm" else None
    world = make_world(spec, render_size=choose_frame_size(spec, model))
    return world if model is None else BuiltVLMReward(world, model, spec.reward.every)


def make_vec_env(
    task: Task,
    *,
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    workers: int | None = None,
    timeout: float | None = None,
    reward: RewardKind = "vlm",
    render_mode: str | None = None,
    scene: str | Mapping[str, Any] | None = None,
    render_size: int | None = None,
    share_model: bool | None = None,
    **judge: Any,
) -> VectorEnv[Any, Any, Any]:
    """Entry point of `gymnasium.make_vec`: workers simulate and render, this process scores the whole batch.

    Args:
        task: see `make_env`, as are the arguments that are not named here.
        num_envs: number of environments.
        max_episode_steps: steps until truncation.
        autoreset_mode: any of Gymnasium's three, also by value (``SameStep``) or name (``SAME_STEP``).
        render_mode: ``human`` shows all environments in one window; otherwise as `make_env`.
        workers: worker processes; one per core if not given, 1 stays in this process.
        timeout: how long a worker may take to start, or for one step or reset [s], before it counts as hung; if not
            given, what the environment variable ``GYM_VLMRM_TIMEOUT`` says, else five minutes.

    Raises:
        TaskError, ModelError, RenderingError: as their names say.
    """
    if render_mode not in (None, "rgb_array", "human"):
        raise TaskError(f"render_mode of gymnasium.make_vec must be 'rgb_array' or 'human', got {render_mode!r}")
    if render_mode == "human" and importlib.util.find_spec("cv2") is None:
        raise RenderingError(
            "render_mode='human' of gymnasium.make_vec needs a package: pip install opencv-python (gymnasium[other])"
        )
    mode = find_autoreset_mode(autoreset_mode)
    spec = resolve_task(
        task, reward, scene=scene, render_size=render_size, max_episode_steps=max_episode_steps, **judge
    )
    pool = {"workers": workers, "autoreset_mode": mode, "timeout": timeout}
    envs = build_vec_env(spec, num_envs, reward, share_model, **pool)
    return _shown(envs) if render_mode == "human" else envs


def _shown(envs: VectorEnv[Any, Any, Any]) -> VectorEnv[Any, Any, Any]:
    try:
        return HumanRendering(envs)
    except ValueError as error:
        envs.close()
        raise TaskError(f"render_mode='human' does not fit this task: {error}") from None


def build_vec_env(
    task: TaskSpec, num_envs: int, reward: str, share_model: bool | None = None, **pool: Any
) -> VectorEnv[Any, Any, Any]:
    """Build what `make_vec_env` does of a task; `pool` is what `make_worlds` takes."""
    model = _load(task, share_model) if reward == "vlm" else None
    worlds = make_worlds(task, num_envs, render_size=choose_frame_size(task, model), frames=model is not None, **pool)
    return worlds if model is None else VectorVLMReward(worlds, model, task.reward.every)


def _load(task: TaskSpec, share_model: bool | None) -> RewardModel:
    if not wants_sharing(share_model) or (
        task.reward.plain and asks_a_server(task.reward.model)
    ):  # that is shared already
        return load_reward_model(task)
    from gym_vlmrm.serving.client import share_reward_model

    return share_reward_model(task.reward)


def resolve_task(task: Task, reward: str = "vlm", **changes: Any) -> TaskSpec:
    """Return the task that is meant, with its overrides.

    Raises:
        TaskError: no such task, reward or argument.
    """
    if reward not in get_args(RewardKind):
        raise TaskError(f"reward must be 'vlm' or 'task', got {reward!r}")
    for name in changes:
        if name not in catalog.OVERRIDES:
            raise UnknownArgumentError(
                f"got an unexpected keyword argument '{name}': "  # TorchRL reads these words
                f"'{name}' is no argument of a task's environment{did_you_mean(name, catalog.OVERRIDES)}"
            )
    if isinstance(task, TaskSpec):
        spec = task
    elif isinstance(task, str | os.PathLike):
        spec = catalog.load_task(task)
    elif isinstance(task, Mapping):
        spec = catalog.task_from_dict(task)
    else:
        raise TaskError(f"a task is a name, an environment ID, a path or a TaskSpec, got {type(task).__name__}")
    return _with_gamma(catalog.override(spec, **changes))


def _with_gamma(task: TaskSpec) -> TaskSpec:
    """Let potential shaping discount as the task's default recipe says, where the task itself does not."""
    recipe = task.training.get("default")
    gamma = None if recipe is None else recipe.hyperparameters.get("gamma")
    if task.reward.without_gamma is None or not isinstance(gamma, int | float):
        return task
    reward = task.reward.discounted(float(gamma), "recipe 'default' trains with")
    return task.model_copy(update={"reward": reward})


# What `gymnasium.make` asks of an entry point that is a function.
make_env.metadata = _METADATA  # type: ignore[attr-defined]
make_vec_env.metadata = _METADATA  # type: ignore[attr-defined]
