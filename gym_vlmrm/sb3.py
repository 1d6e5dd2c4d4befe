"""For stable-baselines3, sb3-contrib, sbx and rl_zoo3: many environments, one reward model.

```python
from stable_baselines3 import PPO
from gym_vlmrm.sb3 import make_vec_env

env = make_vec_env("VLMRM/Humanoid-Kneeling-v0", n_envs=8, seed=0)
PPO("MlpPolicy", env).learn(100_000)
```
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from gym_vlmrm.entry_points import Task, build_vec_env, resolve_task
from gym_vlmrm.errors import TaskError, did_you_mean, whole_number

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

__all__ = ["make_vec_env"]

_OF_POOL = ("workers", "timeout", "share_model")


def make_vec_env(
    task: Task,
    n_envs: int = 1,
    seed: int | None = None,
    start_index: int = 0,
    monitor_dir: str | os.PathLike[str] | None = None,
    wrapper_class: Callable[..., gym.Env[Any, Any]] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    vec_env_cls: None = None,
    vec_env_kwargs: Mapping[str, Any] | None = None,
    monitor_kwargs: Mapping[str, Any] | None = None,
    wrapper_kwargs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> "VecEnv":
    """Make a monitored VecEnv, as ``stable_baselines3.common.env_util.make_vec_env`` does.

    One worker process per core simulates and draws; this process scores the frames of all environments by one model.
    Episodes are monitored: ``rollout/ep_rew_mean`` is the model's reward. Infos hold what the environment said,
    ``task_reward`` and, where the task has a rule, ``success``.

    Args:
        task: a task, or its name, environment ID or path.
        n_envs: number of environments.
        seed: environment i is first reset with ``seed + i``.
        start_index: added to the seed of the action space, as in stable-baselines3.
        monitor_dir: folder for ``monitor.csv``, one file for all environments.
        wrapper_class: wraps each environment, below the reward: it may change observations, actions and infos.
        env_kwargs: arguments of ``gym.make``: ``goal``, ``alpha``, ``model``, ``reward`` and so on.
        vec_env_cls: nothing else than this VecEnv has one model.
        vec_env_kwargs: ``workers`` and ``timeout`` of ``gym.make_vec``.
        monitor_kwargs: ``info_keywords`` of ``VecMonitor``.
        wrapper_kwargs: arguments of `wrapper_class`.
        kwargs: the same as `env_kwargs` and `vec_env_kwargs`, one by one.

    Raises:
        TaskError: no such task or argument, or a value that is not allowed.
        TrainingError: no policy can read such observations or take such actions.
        ModelError, RenderingError, WorkerError: as their names say.
        ImportError: stable-baselines3 is not installed.
    """
    if vec_env_cls is not None:
        raise TaskError(
            f"vec_env_cls is {vec_env_cls!r}; this VecEnv has workers of its own: leave it out, or use "
            "stable_baselines3's make_vec_env with share_model=True in env_kwargs"
        )
    for name in _options("vec_env_kwargs", vec_env_kwargs):
        if name not in _OF_POOL:
            raise TaskError(f"vec_env_kwargs has '{name}'; this VecEnv takes {', '.join(_OF_POOL)} there")
    settings = _joined(env_kwargs=env_kwargs, vec_env_kwargs=vec_env_kwargs, kwargs=kwargs)
    start = whole_number("start_index", start_index, 0, error=TaskError)
    pool = {name: settings.pop(name) for name in _OF_POOL if name in settings}
    reward = settings.pop("reward", "vlm")
    settings.pop("render_mode", None)  # frames are needed, whatever is asked for
    spec = resolve_task(task, reward, **settings)
    try:
        from stable_baselines3.common.vec_env import VecMonitor

        from gym_vlmrm.learning.pool_vec_env import RewardedVecEnv
    except ModuleNotFoundError as error:
        raise ImportError(f"gym_vlmrm.sb3 needs stable-baselines3 ({error}); pip install stable-baselines3") from None
    wrap = _wrapper(wrapper_class, wrapper_kwargs)
    monitor = _monitor_options(monitor_dir, monitor_kwargs)
    envs = build_vec_env(
        spec,
        whole_number("n_envs", n_envs, 1, error=TaskError),
        reward,
        autoreset_mode="SameStep",
        wrap=wrap,
        **pool,
    )
    try:
        env = VecMonitor(RewardedVecEnv(envs, spec.id), **monitor)
    except BaseException:
        envs.close()
        raise
    if seed is not None:
        env.seed(whole_number("seed", seed, 0, error=TaskError))
        env.action_space.seed(int(seed) + start)
    return env


def _joined(**given: Any) -> dict[str, Any]:
    """Return all arguments as one dict; each stands in one place only."""
    joined: dict[str, Any] = {}
    for place, options in given.items():
        for name, value in _options(place, options).items():
            if name in joined:
                raise TaskError(f"'{name}' is given twice, as {joined[name]!r} and as {value!r}")
            joined[name] = value
    return joined


def _options(place: str, options: Any) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise TaskError(f"{place} must be a dict of arguments, got {options!r}")
    return dict(options or {})


def _wrapper(wrapper: Any, options: Any) -> Callable[..., Any] | None:
    given = _options("wrapper_kwargs", options)
    if wrapper is None:
        if given:
            raise TaskError(f"wrapper_kwargs is {options!r}, and there is no wrapper_class to take it")
        return None
    if not callable(wrapper):
        raise TaskError(f"wrapper_class must be a class or function that takes an environment, got {wrapper!r}")
    if isinstance(wrapper, type) and issubclass(wrapper, gym.RewardWrapper):
        raise TaskError(
            f"wrapper_class is {wrapper.__name__}, which changes the environment's own reward and not the model's; "
            "wrap what make_vec_env returns by a VecEnvWrapper"
        )
    return partial(wrapper, **given)


def _monitor_options(folder: str | os.PathLike[str] | None, options: Any) -> dict[str, Any]:
    known, given = ("info_keywords",), _options("monitor_kwargs", options)
    for name in given:
        if name not in known:
            raise TaskError(f"monitor_kwargs has '{name}', which VecMonitor does not know{did_you_mean(name, known)}")
    if folder is None:
        return given
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise TaskError(f"monitor_dir {os.fspath(folder)!r} cannot be made: {error.strerror or error}") from None
    return {**given, "filename": os.path.join(folder, "monitor.csv")}
