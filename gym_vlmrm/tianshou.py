"""For Tianshou: many environments, one reward model.

```python
from gym_vlmrm.tianshou import make_vec_env

train_envs = make_vec_env("VLMRM/Humanoid-Kneeling-v0", n_envs=8, seed=0)  # a BaseVectorEnv for any Collector
```
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from gym_vlmrm.entry_points import Task, build_vec_env, resolve_task
from gym_vlmrm.errors import TaskError, whole_number
from gym_vlmrm.worlds.pools import each
from gym_vlmrm.wrappers.separate import SeparateEnvs

if TYPE_CHECKING:
    from tianshou.env import BaseVectorEnv

__all__ = ["make_vec_env"]


def make_vec_env(
    task: Task,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    wrapper_class: Callable[[Any], gym.Env[Any, Any]] | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    reward: str = "vlm",
    share_model: bool | None = None,
    render_mode: str | None = None,
    **kwargs: Any,
) -> "BaseVectorEnv":
    """Make a `tianshou.env.BaseVectorEnv`, which steps and resets any of its environments, as Collectors want it.

    One worker process per core simulates and draws; this process scores the frames of a step by one model. It is
    synchronous: for `AsyncCollector` there is nothing to wait for.

    Args:
        task: a task, or its name, environment ID or path.
        n_envs: number of environments.
        seed: environment i is first reset with ``seed + i``.
        wrapper_class: wraps each environment, below the reward: it may change observations, actions and infos.
        workers: worker processes; one per core if not given, 1 stays in this process.
        timeout: how long a worker may take [s] (see `gym.make_vec`).
        reward: ``vlm`` for the model's reward, ``task`` for the environment's own.
        share_model: whether a server of this host holds the model (see `gym.make`).
        render_mode: ``rgb_array`` whatever is given: the reward needs the frames.
        kwargs: ``goal``, ``alpha``, ``model`` and what else ``gym.make`` takes.

    Raises:
        TaskError: no such task or argument, or a value that is not allowed.
        ModelError, RenderingError, WorkerError: as their names say.
        ImportError: Tianshou is not installed.
    """
    spec = resolve_task(task, reward, **kwargs)
    try:
        from tianshou.env import BaseVectorEnv
        from tianshou.env.worker import EnvWorker
    except ModuleNotFoundError as error:
        raise ImportError(f"gym_vlmrm.tianshou needs Tianshou ({error}); pip install tianshou") from None
    EnvWorker.register(_Worker)
    count = whole_number("n_envs", n_envs, 1, error=TaskError)
    separate = SeparateEnvs(
        build_vec_env(
            spec,
            count,
            reward,
            share_model,
            autoreset_mode="Disabled",
            wrap=wrapper_class,
            workers=workers,
            timeout=timeout,
        )
    )
    together = _Together(separate, spec.id)
    try:
        venv: BaseVectorEnv = BaseVectorEnv(
            [partial(_Worker, together, row) for row in range(count)], lambda make: make()
        )
        if seed is not None:
            venv.seed(whole_number("seed", seed, 0, error=TaskError))
    except BaseException:
        separate.close()
        raise
    return venv


class _Together:
    """Collects what `BaseVectorEnv` sends to its workers one by one, and does it at once when the first answer is due.

    An answer that was never fetched, because an exception came in between, is thrown away with the next order.
    """

    def __init__(self, separate: SeparateEnvs, env_id: str) -> None:
        self.separate = separate
        self.spec = gym.registry.get(env_id)
        self.open = separate.num_envs
        self._resets: dict[int, dict[str, Any]] = {}
        self._actions: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}

    def send(self, row: int, action: Any, reset: dict[str, Any]) -> None:
        """Take an order for one environment: a step, or (``None``) a reset."""
        if self._answers:
            self._resets, self._actions, self._answers = {}, {}, {}
        if action is None:
            self._resets[row] = reset
        else:
            self._actions[row] = action

    def receive(self, row: int) -> Any:
        """Return the answer to the latest order for an environment."""
        if row not in self._answers:
            resets, actions, self._resets, self._actions = self._resets, self._actions, {}, {}
            if resets:
                self._answers.update(zip(resets, self.separate.reset([*resets], [*resets.values()]), strict=True))
            if actions:
                self._answers.update(zip(actions, self.separate.step([*actions], [*actions.values()]), strict=True))
        return self._answers.pop(row)


class _Worker:
    """What `BaseVectorEnv` takes for the worker of one environment; registered as an `EnvWorker` of Tianshou's."""

    def __init__(self, together: _Together, row: int) -> None:
        self._together, self._row = together, row
        self._seed: int | None = None
        self.is_closed = False
        self.action_space = deepcopy(together.separate.single_action_space)  # each has random numbers of its own

    def get_env_attr(self, key: str) -> Any:
        """Return an attribute of the environment."""
        separate = self._together.separate
        known = {
            "action_space": self.action_space,
            "observation_space": separate.single_observation_space,
            "spec": self._together.spec,
        }
        return known[key] if key in known else each.get_attribute(separate.pool, key, self._row)[0]

    def set_env_attr(self, key: str, value: Any) -> None:
        """Set an attribute of the environment."""
        each.set_attribute(self._together.separate.pool, key, value, self._row)

    def send(self, action: Any, **kwargs: Any) -> None:
        """Order a step or, without an action, a reset with Gymnasium's arguments."""
        reset = dict(kwargs)
        if action is None:
            if self._seed is not None:
                reset.setdefault("seed", self._seed)
            self._seed = None
        self._together.send(self._row, action, reset)

    def recv(self) -> Any:
        """Return what `send` ordered."""
        return self._together.receive(self._row)

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment."""
        self.send(None, **kwargs)
        return self.recv()

    def step(self, action: Any) -> Any:
        """Step the environment."""
        self.send(action)
        return self.recv()

    @staticmethod
    def wait(workers: Any, wait_num: int, timeout: float | None = None) -> Any:
        """Return all: an answer comes as soon as it is asked for."""
        return workers

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the action space, and the environment at its next reset."""
        self._seed = seed
        self.action_space.seed(seed)
        return [seed]

    def render(self, **kwargs: Any) -> Any:
        """Return the current picture (H, W, 3)."""
        return each.call_method(self._together.separate.pool, "render", self._row, (), {})[0]

    def close(self) -> None:
        """Close the environment; the last one ends the pool."""
        if not self.is_closed:
            self.is_closed = True
            self._together.open -= 1
            if self._together.open == 0:
                self._together.separate.close()
