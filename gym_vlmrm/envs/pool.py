"""A vector environment over one worker process per core, each of which steps its share of the environments.

Gymnasium's `AsyncVectorEnv` starts one process per environment; with software OpenGL and more environments than cores
that wastes memory and time. Here every worker holds a Gymnasium `SyncVectorEnv`, so seeding and the three autoreset
modes are Gymnasium's own. Workers simulate and render; they never load a reward model.
"""

import contextlib
import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias, cast

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

from gym_vlmrm.envs.pool_worker import work

__all__ = ["EnvPool", "make_pool", "usable_cores", "without_main_module"]

OnShare: TypeAlias = Callable[[slice, Any, dict[str, Any]], None]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_pool(
    make_env: Callable[[], gym.Env[Any, Any]],
    num_envs: int,
    *,
    workers: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
) -> VectorEnv[Any, Any, Any]:
    """Build a vector environment of `num_envs` copies.

    Args:
        make_env: builds one environment; must be picklable (by cloudpickle).
        num_envs: number of environments, at least 1.
        workers: worker processes; ``None`` takes one per usable core, 1 stays in this process.
        autoreset_mode: one of Gymnasium's three modes.

    Raises:
        ValueError: `num_envs` or `workers` is below 1.
    """
    if num_envs < 1 or (workers is not None and workers < 1):
        raise ValueError(f"num_envs and workers must be at least 1, got {num_envs} and {workers}")
    workers = min(num_envs, workers or usable_cores())
    if workers == 1:
        return SyncVectorEnv([make_env] * num_envs, autoreset_mode=autoreset_mode)
    return EnvPool(make_env, num_envs, workers, AutoresetMode(autoreset_mode))


class EnvPool(VectorEnv[Any, Any, Any]):
    """The vector environment that `make_pool` returns for more than one worker."""

    def __init__(
        self, make_env: Callable[[], gym.Env[Any, Any]], num_envs: int, workers: int, autoreset_mode: AutoresetMode
    ) -> None:
        # A thread-free start method: fork after an OpenGL or CUDA context exists hangs the child.
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self.num_envs = num_envs
        shares = [len(share) for share in np.array_split(np.arange(num_envs), workers)]
        edges = np.cumsum([0, *shares])
        self._slices = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
        blueprint = make_env()
        self.single_observation_space = blueprint.observation_space
        self.single_action_space = blueprint.action_space
        self.metadata = {**blueprint.metadata, "autoreset_mode": autoreset_mode}
        self.render_mode = blueprint.render_mode
        blueprint.close()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        memory = create_shared_memory(self.single_observation_space, n=num_envs, ctx=context)
        self._views = read_from_shared_memory(self.single_observation_space, memory, n=num_envs)
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        with without_main_module():
            for share in self._slices:
                ours, theirs = context.Pipe()
                arguments = (theirs, CloudpickleWrapper(make_env), memory, num_envs, share, autoreset_mode)
                process = context.Process(target=work, args=arguments, daemon=True, name=f"gym_vlmrm-{share.start}")
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)
        self._receive()

    def _send(self, command: str, arguments: Sequence[Any]) -> None:
        if not self._connections:
            raise RuntimeError("the vector environment is closed")
        for index, connection in enumerate(self._connections):
            try:
                connection.send((command, arguments[index]))
            except OSError:
                raise self._death(index) from None

    def _receive(self, on_answer: Callable[[int, Any], None] | None = None) -> list[Any]:
        """Collect one answer per worker; an exception raised in a worker is raised here.

        `on_answer` is called with the index of a worker and its answer as soon as that is there.
        """
        answers: dict[int, Any] = {}
        failures: dict[int, BaseException] = {}
        waiting = {connection: index for index, connection in enumerate(self._connections)}
        while waiting:
            for connection in wait(list(waiting)):
                index = waiting.pop(cast(Connection, connection))
                try:
                    ok, answer = cast(Connection, connection).recv()
                except (EOFError, OSError):
                    raise self._death(index) from None
                if not ok:
                    failures[index] = answer
                elif on_answer is not None:
                    on_answer(index, answer)
                answers[index] = answer
        if failures:
            self._stop()
            raise failures[min(failures)]
        return [answers[index] for index in sorted(answers)]

    def _death(self, index: int) -> RuntimeError:
        process = self._processes[index]
        process.join(timeout=2)
        self._stop()
        end = f"signal {-process.exitcode}" if (process.exitcode or 0) < 0 else f"exit code {process.exitcode}"
        return RuntimeError(
            f"worker process {index + 1} of {len(self._slices)} died ({end}); perhaps memory ran out: "
            "try fewer environments or workers"
        )

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments; `seed` and ``options["reset_mask"]`` mean what they mean in `SyncVectorEnv`."""
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        mask = (options or {}).get("reset_mask")
        arguments: list[Any] = []
        for share in self._slices:
            part = dict(options) if options else None
            if part is not None and mask is not None:
                part["reset_mask"] = mask[share]
            arguments.append((seeds[share], part))
        self._send("reset", arguments)
        infos = self._receive()
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
        rows = list(iterate(self.action_space, actions))
        self._send("step", [rows[share] for share in self._slices])

    def step_wait(self, on_share: OnShare | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Wait for the step that `step_async` started."""

        def tell(index: int, answer: tuple[Any, ...]) -> None:
            if on_share is not None:
                on_share(self._slices[index], self._views, answer[-1])

        rewards, terminations, truncations, infos = zip(*self._receive(tell), strict=True)
        joined = (np.concatenate(rewards), np.concatenate(terminations), np.concatenate(truncations))
        return self._observations(), *joined, self._join(list(infos))

    def render(self) -> tuple[Any, ...]:
        """Return the current frame of every environment."""
        return self.call("render")

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method (or read an attribute) of every environment."""
        self._send("call", [(name, args, kwargs)] * len(self._slices))
        return tuple(result for results in self._receive() for result in results)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment, to one value or to one value each."""
        each = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        self._send("set_attr", [(name, each[share]) for share in self._slices])
        self._receive()

    def close_extras(self, **kwargs: Any) -> None:
        """End the worker processes."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(("close", None))
        self._stop()

    def _stop(self) -> None:
        """End every worker, however it is; the vector environment is closed from then on."""
        self.closed = True
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=2)
            if process.is_alive():
                process.kill()
                process.join()
        self._connections, self._processes = [], []

    def _observations(self) -> Any:
        return _copied(self._views)

    def _join(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        return _join_infos(infos, [share.stop - share.start for share in self._slices])

    def __del__(self) -> None:
        if getattr(self, "_processes", None):
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


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Keep new processes from importing `__main__` again.

    Workers need nothing from it, and a user's script need not hide behind ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)
