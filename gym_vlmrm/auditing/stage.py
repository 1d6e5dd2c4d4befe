"""Where states are shown: environments in worker processes that take a state, draw it and judge it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import TaskError, WorkerError
from gym_vlmrm.task.rules import quantity_names
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.pools.processes import (
    DEFAULT_TIMEOUT,
    adopt_registrations,
    begin_worker,
    pack_registrations,
    patience,
    starting_workers,
    too_slow,
    wait_patiently,
    worker_context,
)
from gym_vlmrm.worlds.scene import can_pose
from gym_vlmrm.worlds.world import episode_limit, make_world

__all__ = ["Seen", "Stage", "StagePool", "join_seen"]

CHUNK = 24
"""States that a worker draws at a time."""
DEFAULT_EPISODE = 200


@dataclass(frozen=True)
class Seen:
    """N states as they were shown."""

    frames: NDArray[np.uint8]
    """(N, S, S, 3); (N, 0, 0, 3) where nothing was drawn."""
    success: NDArray[np.bool_]
    """(N,)"""
    quantities: list[dict[str, float]]
    """Named quantities of each state: all that the scene has, or those that the rule reads."""
    states: Floats
    """(N, D) configurations; (N, 0) where the environment cannot be put into a state."""

    def __len__(self) -> int:
        return len(self.success)

    def pick(self, rows: NDArray[Any]) -> "Seen":
        """Return some of the states; `rows` are indices or a mask."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        quantities = [self.quantities[row] for row in rows]
        return Seen(self.frames[rows], self.success[rows], quantities, self.states[rows])


def join_seen(parts: Sequence[Seen]) -> Seen:
    """Put parts one behind the other; empty ones do not count."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    return Seen(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.success for part in parts]),
        [quantities for part in parts for quantities in part.quantities],
        np.concatenate([part.states for part in parts]),
    )


class Stage:
    """One environment that shows states."""

    def __init__(self, task: TaskSpec, size: int) -> None:
        """Build the environment of a task that has a rule of success; `size` is the side of its frames [px]."""
        rule = task.success_rule
        if rule is None:
            raise TaskError(f"task '{task.id}' has no 'success:' rule, so nothing says which frames show the goal")
        self.rule, self.size = rule, size
        self.names = list(dict.fromkeys(quantity_names(rule)))
        self.limit = episode_limit(task) or DEFAULT_EPISODE
        self.world: gym.Env[Any, Any] = make_world(task, render_size=size)
        self.poses = can_pose(task)
        self.world.reset(seed=0)

    def show(self, states: Floats, draw: bool) -> Seen:
        """Put the environment into each of the states (N, D), draw it and judge it."""
        env: Any = self.world.unwrapped
        frames, quantities = self._blank(len(states) if draw else 0), []
        for index, state in enumerate(states):
            env.place(state)
            quantities.append(dict(env.quantities()))
            if draw:
                frames[index] = self.world.render()  # type: ignore[assignment]
        success = np.array([self.rule.holds(values) for values in quantities], np.bool_)
        return Seen(frames if draw else np.zeros((len(states), 0, 0, 3), np.uint8), success, quantities, states)

    def roll(self, seed: int, stride: int, act: Callable[[Any], Any] | None = None) -> Seen:
        """Play as many steps as an episode may have; show every `stride`-th state.

        Where the environment itself ends the episode (terminated or truncated), the next one begins.

        Args:
            seed: of the first episode and of random actions.
            stride: steps from one state that is shown to the next.
            act: turns an observation into an action; at random if not given.

        Returns:
            (limit // stride) states, in order.
        """
        observation, _ = self.world.reset(seed=seed)
        self.world.action_space.seed(seed)
        frames, success, quantities, states = [], [], [], []
        for step in range(self.limit):
            action = self.world.action_space.sample() if act is None else act(observation)
            observation, _, terminated, truncated, info = self.world.step(action)
            if step % stride == stride - 1:
                frames.append(self.world.render())
                success.append(bool(info["success"]))
                quantities.append(self._quantities(observation, info))
                states.append(self.world.unwrapped.configuration() if self.poses else [])  # type: ignore[attr-defined]
            if terminated or truncated:
                observation, _ = self.world.reset()
        shown = np.array(frames, np.uint8).reshape(-1, self.size, self.size, 3)
        placed = np.array(states, np.float64).reshape(len(success), -1) if states else np.zeros((0, 0))
        return Seen(shown, np.array(success, np.bool_), quantities, placed)

    def _quantities(self, observation: Any, info: dict[str, Any]) -> dict[str, float]:
        env: Any = self.world.unwrapped
        values = dict(env.quantities()) if hasattr(env, "quantities") else {}
        flat = np.asarray(observation).reshape(-1) if not isinstance(observation, dict) else np.zeros(0)
        for name in self.names:
            if name.startswith("obs["):
                values[name] = float(flat[int(name[4:-1])])
            elif name.startswith("info."):
                values[name] = float(np.asarray(info[name.removeprefix("info.")], float).reshape(-1)[0])
        return values

    def _blank(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, self.size, self.size, 3), np.uint8)


_stage: Stage | Exception | None = None


def _open(registrations: bytes, task: TaskSpec, size: int) -> None:
    global _stage
    begin_worker(heeds_sigterm=True)
    try:
        adopt_registrations(registrations)
        _stage = Stage(task, size)
    except Exception as error:
        _stage = error  # the first job raises it where the parent hears of it


def _opened() -> Stage:
    if isinstance(_stage, Exception):
        raise _stage
    assert _stage is not None
    return _stage


def _show(states: Floats, draw: bool) -> Seen:
    return _opened().show(states, draw)


def _roll(seed: int, stride: int) -> Seen:
    return _opened().roll(seed, stride)


class StagePool:
    """Stages in worker processes, one per core; with one worker everything stays in this process."""

    def __init__(self, task: TaskSpec, size: int, workers: int | None = None) -> None:
        """Start the workers.

        Args:
            task: a task with a rule of success.
            size: side of the frames [px].
            workers: processes; one per usable core if not given.

        Raises:
            TaskError, RenderingError: as `Stage` and its world do, here or in `show` and `roll`.
        """
        self.task, self.size = task, size
        self._stage: Stage | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._processes: set[Any] = set()
        workers = workers or usable_cores()
        if workers == 1:
            self._stage = Stage(task, size)
            return
        limit = episode_limit(task) or DEFAULT_EPISODE
        self._patience = patience(default=DEFAULT_TIMEOUT + limit)  # a job is up to an episode, at a second a step
        arguments = (pack_registrations(), task, size)
        self._executor = ProcessPoolExecutor(workers, worker_context(), _open, arguments)
        self._submit(_show, [(np.zeros((0, 0)), False)] * workers)  # each starts one process while none is idle
        self._processes |= set(self._executor._processes.values())  # the executor forgets them when one dies

    def __enter__(self) -> "StagePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers."""
        if self._executor is not None:
            self._end(self._executor)
            self._executor = None
        if self._stage is not None:
            self._stage.world.close()

    def _end(self, executor: ProcessPoolExecutor) -> None:
        # Workers keep nothing that is worth waiting for, and waiting for one that hangs would never end.
        processes = self._processes | set((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()

    def show(self, states: Floats, *, draw: bool = True, on_done: Callable[[int], None] | None = None) -> Seen:
        """Show states (N, D), N > 0; `on_done` is told how many are finished."""
        chunks = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)]
        return join_seen(list(self._map(_show, Stage.show, [(chunk, draw) for chunk in chunks], on_done)))

    def roll(self, seeds: Sequence[int], stride: int, *, on_done: Callable[[int], None] | None = None) -> list[Seen]:
        """Play one random episode per seed and show every `stride`-th state of each."""
        return list(self._map(_roll, Stage.roll, [(seed, stride) for seed in seeds], on_done))

    def _map(
        self,
        remote: Callable[..., Seen],
        local: Callable[..., Seen],
        jobs: Sequence[tuple[Any, ...]],
        on_done: Callable[[int], None] | None,
    ) -> Iterator[Seen]:
        futures = [] if self._stage is not None else self._submit(remote, jobs)
        finished = 0
        for index, job in enumerate(jobs):
            seen = self._result(futures[index], remote.__name__) if futures else local(self._stage, *job)
            finished += len(seen)
            if on_done is not None:
                on_done(finished)
            yield seen

    def _submit(self, remote: Callable[..., Seen], jobs: Sequence[tuple[Any, ...]]) -> list[Future[Seen]]:
        if self._executor is None:
            raise WorkerError("the processes that draw frames are closed")
        try:
            with starting_workers():
                return [self._executor.submit(remote, *job) for job in jobs]
        except BrokenProcessPool:
            raise self._death() from None

    def _result(self, future: Future[Seen], job: str) -> Seen:
        if wait_patiently(lambda seconds: wait([future], seconds).done, self._patience) is None:
            self.close()
            raise too_slow("a process that draws frames", job.strip("_"), self._patience)
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._death() from None

    def _death(self) -> WorkerError:
        self.close()
        return WorkerError("a process that draws frames has died; is there enough memory?")
