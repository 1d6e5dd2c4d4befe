"""Entry points: what `gymnasium.make` and `gymnasium.make_vec` call to build a task."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.reward import choose_frame_size, load_reward_model
from gym_vlmrm.task import catalog
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import make_world, make_worlds
from gym_vlmrm.wrappers import VectorVLMReward
from gym_vlmrm.wrappers.single import BuiltVLMReward

__all__ = ["make_env", "make_vec_env"]

RewardKind: TypeAlias = Literal["vlm", "task"]
_METADATA = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.NEXT_STEP}


def make_env(
    task: str | Mapping[str, Any],
    *,
    reward: RewardKind = "vlm",
    render_mode: str | None = None,
    scene: str | Mapping[str, Any] | None = None,
    render_size: int | None = None,
    **judge: Any,
) -> gym.Env[Any, Any]:
    """Entry point of `gymnasium.make`: one environment, whose time limit `gymnasium.make` adds.

    Args:
        task: name of a built-in task, or a whole task as JSON-able data.
        reward: ``vlm`` for the reward model's reward, ``task`` for the environment's own (loads no model).
        render_mode: ``rgb_array`` whatever is given: the reward needs the frames.
        scene: ``textured``, ``original``, or any keys of a task's ``scene:``.
        render_size: side of the frames [px]; the reward model's input size if not given.
        judge: ``model``, ``goal``, ``baseline``, ``alpha``, ``device``, ``precision`` of `load_reward_model`.

    Raises:
        TaskError, ModelError, RenderingError: as their names say.
    """
    spec = _resolve(task, reward, scene=scene, render_size=render_size, **judge)
    model = load_reward_model(spec) if reward == "vlm" else None
    world = make_world(spec, render_size=choose_frame_size(spec, model))
    return world if model is None else BuiltVLMReward(world, model, spec.reward.every)


def make_vec_env(
    task: str | Mapping[str, Any],
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
    **judge: Any,
) -> VectorEnv[Any, Any, Any]:
    """Entry point of `gymnasium.make_vec`: workers simulate and render, this process scores the whole batch.

    Args:
        task: see `make_env`, as are the arguments that are not named here.
        num_envs: number of environments.
        max_episode_steps: steps until truncation.
        autoreset_mode: any of Gymnasium's three.
        workers: worker processes; one per core if not given, 1 stays in this process.
        timeout: how long a worker may take to start, or for one step or reset [s], before it counts as hung; if not
            given, what the environment variable ``GYM_VLMRM_TIMEOUT`` says, else five minutes.

    Raises:
        TaskError, ModelError, RenderingError: as their names say.
    """
    spec = _resolve(task, reward, scene=scene, render_size=render_size, max_episode_steps=max_episode_steps, **judge)
    model = load_reward_model(spec) if reward == "vlm" else None
    worlds = make_worlds(
        spec,
        num_envs,
        render_size=choose_frame_size(spec, model),
        frames=model is not None,
        workers=workers,
        autoreset_mode=autoreset_mode,
        timeout=timeout,
    )
    return worlds if model is None else VectorVLMReward(worlds, model, spec.reward.every)


def _resolve(task: str | Mapping[str, Any], reward: str, **changes: Any) -> TaskSpec:
    if reward not in get_args(RewardKind):
        raise TaskError(f"reward must be 'vlm' or 'task', got {reward!r}")
    for name in changes:
        if name not in catalog.OVERRIDES:
            raise TaskError(f"'{name}' is no argument of a task's environment{did_you_mean(name, catalog.OVERRIDES)}")
    spec = catalog.load_task(task) if isinstance(task, str) else catalog.task_from_dict(task)
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
