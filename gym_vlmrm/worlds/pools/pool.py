"""A vector environment over one worker process per core, each of which steps its share of the environments.

Gymnasium's `AsyncVectorEnv` starts one process per environment; with software OpenGL and more environments than cores
that wastes memory and time. Here every worker holds a Gymnasium `SyncVectorEnv`, so seeding and the three autoreset
modes are Gymnasium's own. Workers simulate and render; they never load a reward model.
"""

import itertools
import operator
import pickle
import sys
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import (
    CloudpickleWrapper,
    batch_space,
    create_shared_memory,
    iterate,
    read_from_shared_memory,
)
from numpy.typing import NDArray

from gym_vlmrm.errors import ResetNeededError, VLMRMError, did_you_mean, whole_number
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.pools.processes import in_main_thread, pack_registrations, patience, worker_context
from gym_vlmrm.worlds.pools.server import TypedInfos, work
from gym_vlmrm.worlds.pools.workers import Workers

__all__ = ["INTERRUPTED", "EnvPool", "Seeds", "find_autoreset_mode", "make_pool"]

INTERRUPTED = "the last step was cut short, so what comes next belongs to no step; call reset() first"
Seeds: TypeAlias = int | np.integer[Any] | Sequence[int | None] | NDArray[np.integer[Any]] | None
OnEnvs: TypeAlias = Callable[[Sequence[gym.Env[Any, Any]], Sequence[Any]], list[Any]]
OnShare: TypeAlias = Callable[[slice, Any, dict[str, Any]], None]


class _WrongArgument(VLMRMError, ValueError):
    pass


def find_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    """Return one of Gymnasium's three modes, given it, its value (``SameStep``) or its name (``SAME_STEP``).

    Raises:
        VLMRMError, which is a ValueError as well: there is no such mode.
    """
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    guess = did_you_mean(str(mode), [known.value for known in AutoresetMode])
    raise _WrongArgument(f"autoreset_mode is {mode!r}, and there is no such mode{guess}")


def make_pool(
    make_env: Callable[[], gym.Env[Any, Any]],
    num_envs: int,
    *,
    workers: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    timeout: float | None = None,
) -> VectorEnv[Any, Any, Any]:
    """Build a vector environment of `num_envs` copies.

    Args:
        make_env: builds one environment; must be picklable (by cloudpickle).
        num_envs: number of environments, at least 1.
        workers: worker processes; ``None`` takes one per usable core, 1 stays in this process.
        autoreset_mode: one of Gymnasium's three modes.
        timeout: how long a worker may take to start, or for one step, reset or call [s]; ``None`` takes what the
            environment variable ``GYM_VLMRM_TIMEOUT`` says, else five minutes; ``inf`` waits for ever.

    Raises:
        VLMRMError, which is a ValueError as well: `num_envs` or `workers` is no number from 1; there is no such mode.
        WorkerError: a worker died or hangs while it starts.
        VLMRMError: `timeout` is no positive number.
    """
    num_envs = whole_number("num_envs", num_envs, 1, error=_WrongArgument)
    if workers is not None:
        workers = whole_number("workers", workers, 1, error=_WrongArgument)
    mode = find_autoreset_mode(autoreset_mode)
    seconds = patience(timeout)
    workers = min(num_envs, workers or usable_cores())
    if workers == 1:
        return _OneProcess([make_env] * num_envs, autoreset_mode=mode)
    return EnvPool(make_env, num_envs, workers, mode, seconds)


def rows_of(actions: Any, envs: VectorEnv[Any, Any, Any]) -> list[Any]:
    """Return a batch of actions one by one, as many as there are environments.

    Raises:
        VLMRMError, which is a ValueError as well: they are more or fewer, or no batch.
    """
    try:
        rows = list(iterate(envs.action_space, actions))
    except (TypeError, ValueError, LookupError):
        kind = type(actions).__name__
        raise _WrongArgument(f"actions must be a batch of {envs.num_envs}, one per environment; got {kind}") from None
    if len(rows) != envs.num_envs:
        raise _WrongArgument(f"actions must be a batch of {envs.num_envs}, one per environment; got {len(rows)}")
    return rows


class _OneProcess(TypedInfos, SyncVectorEnv):
    """Gymnasium's vector environment in one process, with the seeds that `EnvPool` takes."""

    def reset(self, *, seed: Seeds = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=_seeds(seed, self.num_envs), options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        rows_of(actions, self)  # Gymnasium would step the first few
        return super().step(actions)

    def apply(self, function: OnEnvs, rows: Sequence[int], arguments: Sequence[Any]) -> list[Any]:
        """Return what a function makes of some environments (see `EnvPool.apply`)."""
        return function([self.envs[row] for row in rows], arguments)


class EnvPool(VectorEnv[Any, Any, Any]):
    """The vector environment that `make_pool` returns for more than one worker.

    Every method raises WorkerError where a worker died or does not answer, and what an environment raised in one.
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env[Any, Any]],
        num_envs: int,
        workers: int,
        autoreset_mode: AutoresetMode,
        timeout: float,
    ) -> None:
        self.num_envs = num_envs
        shares = [len(share) for share in np.array_split(np.arange(num_envs), workers)]
        edges = np.cumsum([0, *shares])
        self._slices = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
        blueprint = make_env()
        self.single_observation_space = blueprint.observation_space
        self.single_action_space = blueprint.action_space
        self.autoreset_mode = autoreset_mode
        self.metadata = {**blueprint.metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = blueprint.render_mode
        blueprint.close()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        memory = create_shared_memory(self.single_observation_space, n=num_envs, ctx=worker_context())
        self._views = read_from_shared_memory(self.single_observation_space, memory, n=num_envs)
        self._whole = True
        self._packed = pickle.dumps((pack_registrations(), CloudpickleWrapper(make_env)))
        self._arguments = [(memory, num_envs, share, autoreset_mode) for share in self._slices]
        self._start(timeout)

    def _start(self, timeout: float) -> None:
        arguments = [(*entry, in_main_thread()) for entry in self._arguments]
        self._workers = Workers(work, arguments, timeout, self._packed)
        try:
            self._workers.receive()
        except BaseException:
            self._workers.stop(0.0)
            raise

    def restart(self) -> None:
        """End all worker processes, whatever state they are in, and start new ones; call `reset` next."""
        self._workers.stop(0.0)
        self._whole = False
        self._start(self._workers.timeout)

    def reset(self, *, seed: Seeds = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all environments; `seed` and ``options["reset_mask"]`` mean what they mean in `SyncVectorEnv`."""
        seeds = _seeds(seed, self.num_envs)
        mask = (options or {}).get("reset_mask")
        arguments: list[Any] = []
        for share in self._slices:
            part = dict(options) if options else None
            if part is not None and mask is not None:
                part["reset_mask"] = mask[share]
            arguments.append((seeds[share], part))
        was_whole, self._whole = self._whole, False
        infos = self._obey("reset", arguments)
        self._whole = was_whole or mask is None or bool(np.all(mask))
        return self._observations(), self._join(infos)

    def step(self, actions: Any, on_share: OnShare | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments; arrays have one row per environment, in order.

        `on_share` is called as soon as a worker has made its share of the step, while others are still busy, with the
        share, the observations of all (only those of the share are there yet, and the next step overwrites them), and
        the infos of the share, which it may change.
        """
        self.step_async(actions)
        return self.step_wait(on_share)

    def step_async(self, actions: Any) -> None:
        """Start a step in the workers without waiting for it."""
        self.check_workers()
        rows = rows_of(actions, self)
        if not self._whole:
            raise ResetNeededError(INTERRUPTED)
        self._whole = False
        self._workers.send("step", [rows[share] for share in self._slices])

    def step_wait(self, on_share: OnShare | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Wait for the step that `step_async` started."""

        def tell(index: int, answer: tuple[Any, ...]) -> None:
            if on_share is not None:
                on_share(self._slices[index], self._views, answer[-1])

        rewards, terminations, truncations, infos = zip(*self._workers.receive(tell), strict=True)
        self._whole = True
        joined = (np.concatenate(rewards), np.concatenate(terminations), np.concatenate(truncations))
        return self._observations(), *joined, self._join(list(infos))

    def render(self) -> tuple[Any, ...]:
        """Return the current frame of every environment."""
        return self.call("render")

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method (or read an attribute) of every environment."""
        answers = self._obey("call", [(name, args, kwargs)] * len(self._slices))
        return tuple(result for results in answers for result in results)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment, to one value or to one value each."""
        each = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(each) != self.num_envs:
            raise _WrongArgument(f"{len(each)} values of '{name}' for {self.num_envs} environments")
        self._obey("set_attr", [(name, each[share]) for share in self._slices])

    def apply(self, function: OnEnvs, rows: Sequence[int], arguments: Sequence[Any]) -> list[Any]:
        """Return what a function makes of some environments, where they are.

        Args:
            function: takes environments and as many arguments, and returns as many values; it must pickle. Each worker
                calls it once for all of its environments that are meant.
            rows: their numbers, from 0.
            arguments: one per row.
        """
        places = [
            [place for place, row in enumerate(rows) if share.start <= row < share.stop] for share in self._slices
        ]
        answers = self._obey(
            "apply",
            [
                (function, [rows[place] - share.start for place in chosen], [arguments[place] for place in chosen])
                for share, chosen in zip(self._slices, places, strict=True)
            ],
        )
        values = {
            place: value
            for chosen, found in zip(places, answers, strict=True)
            for place, value in zip(chosen, found, strict=True)
        }
        return [values[place] for place in range(len(rows))]

    def check_workers(self) -> None:
        """Raise the WorkerError after which nothing goes on, if there was one."""
        self._workers.check()

    def close_extras(self, **kwargs: Any) -> None:
        """End the worker processes."""
        self._workers.stop()

    def _obey(self, command: str, arguments: Sequence[Any]) -> list[Any]:
        self._workers.send(command, arguments)
        return self._workers.receive()

    @property
    def num_workers(self) -> int:
        """Worker processes."""
        return len(self._slices)

    @property
    def _processes(self) -> list[Any]:
        return self._workers.processes

    def _observations(self) -> Any:
        return _copied(self._views)

    def _join(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        return _join_infos(infos, [share.stop - share.start for share in self._slices])

    def __reduce__(self) -> Any:
        raise TypeError(
            "a vector environment over worker processes cannot be copied or pickled; make another by gymnasium.make_vec"
        )

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # As Python ends, modules are empty already, and workers were ended before that.
        if not ending() and hasattr(self, "_workers"):
            self.close()


def _copied(views: Any) -> Any:
    if isinstance(views, dict):
        return {key: _copied(value) for key, value in views.items()}
    if isinstance(views, tuple):
        return tuple(_copied(value) for value in views)
    return views.copy() if isinstance(views, np.ndarray) else views


def _join_infos(infos: list[dict[str, Any]], sizes: list[int]) -> dict[str, Any]:
    """Concatenate the infos of vector environments along the environments; absent keys become masked blanks."""
    joined: dict[str, Any] = {}
    for key in dict.fromkeys(key for info in infos for key in info):
        if any(isinstance(info.get(key), dict) for info in infos):
            joined[key] = _join_infos([info.get(key, {}) for info in infos], sizes)
            continue
        like = next(info[key] for info in infos if key in info)
        parts = [_blank(like, size) if key not in info else info[key] for info, size in zip(infos, sizes, strict=True)]
        joined[key] = np.concatenate(parts)
    return joined


def _blank(like: Any, size: int) -> Any:
    fill = None if like.dtype == object else 0
    return np.full((size, *like.shape[1:]), fill, dtype=like.dtype)


def _seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed per environment; numpy's integers and arrays become Python's, which Gymnasium insists on."""
    if seed is None or isinstance(seed, Integral):
        return [None if seed is None else int(seed) + index for index in range(num_envs)]
    seeds = [None if one is None else operator.index(one) for one in seed]
    if len(seeds) != num_envs:
        raise ValueError(f"{len(seeds)} seeds for {num_envs} environments")
    return seeds
