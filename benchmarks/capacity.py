"""What the machine can do: simulation, rendering and embedding, each alone and with every core."""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from speed import Speed

from gym_vlmrm.reward import RewardModel
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.world import make_world

__all__ = ["Embedding", "Worlds", "bound", "calls_per_second", "torch_threads"]

BATCHES = (8, 16, 32, 64)
WORLDS = 16
"""Worlds that each process draws in turn."""
LONGEST_BATCH = 1.5
"""Larger batches are not tried once one takes this long [s]."""


def bound(simulate: float, render: float, embed: float, every: int = 1, accelerator: bool = False) -> float:
    """Return the steps/s that perfectly shared or overlapped work would reach.

    Args:
        simulate: steps/s of simulation alone, with every core.
        render: frames/s of rendering alone, with every core.
        embed: frames/s of embedding alone, with every core or on the accelerator.
        every: every k-th step is rendered and embedded.
        accelerator: whether embedding leaves the cores to the environments.
    """
    worlds = 1 / simulate + 1 / render / every
    if accelerator:
        return min(1 / worlds, embed * every)
    return 1 / (worlds + 1 / embed / every)


class Worlds:
    """One process per core, each with some worlds of the task; they simulate or render, all at once, when asked to."""

    def __init__(self, task: TaskSpec, frame_size: int) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connections: list[Connection] = []
        self.processes: list[Any] = []
        for number in range(usable_cores()):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, task, frame_size, number), daemon=True)
            process.start()
            self.connections.append(ours)
            self.processes.append(process)
        self.frames: NDArray[np.uint8] = np.concatenate([connection.recv() for connection in self.connections])
        """Frames of a random policy (N, S, S, 3)."""

    def rate(self, what: str, seconds: float) -> Speed:
        """Say how fast the processes together ``simulate`` or ``render``."""
        for connection in self.connections:
            connection.send((what, seconds))
        found = [connection.recv() for connection in self.connections]
        return Speed(sum(rate for rate, _ in found), float(np.mean([cpu for _, cpu in found])))

    def close(self) -> None:
        """End the processes."""
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send(("close", 0.0))
            process.join(timeout=5)


def _work(connection: Connection, task: TaskSpec, frame_size: int, seed: int) -> None:
    envs = [make_world(task, render_size=frame_size, limited=True) for _ in range(WORLDS)]
    frames = []
    for index, env in enumerate(envs):
        env.reset(seed=seed + index)
        env.action_space.seed(seed + index)
        _advance(env)
        frames.append(env.render())
    connection.send(np.stack(frames))
    while True:
        what, seconds = connection.recv()
        if what == "close":
            for env in envs:
                env.close()
            return
        connection.send(calls_per_second(envs if what == "render" else envs[:1], what, seconds))


def _advance(env: gym.Env[Any, Any]) -> None:
    _, _, terminated, truncated, _ = env.step(env.action_space.sample())
    if terminated or truncated:
        env.reset()


def calls_per_second(envs: list[gym.Env[Any, Any]], what: str, seconds: float) -> tuple[float, float]:
    """Return how often worlds ``simulate`` or ``render`` per second, and the processor time of each call [s].

    Every frame is of a new state, and making that state is no part of the rendering's time. All worlds get theirs
    before the first is drawn, so that drawing does not find the simulation's data in the processor's caches each time.
    """
    count, spent, cpu, end = 0, 0.0, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        if what == "render":
            for env in envs:
                _advance(env)
        began, cpu_began = time.perf_counter(), time.process_time()
        for env in envs:
            if what == "render":
                env.render()
            else:
                _advance(env)
        spent += time.perf_counter() - began
        cpu += time.process_time() - cpu_began
        count += len(envs)
    return count / spent, cpu / count


class Embedding:
    """A reward model at its best batch size: one batch at a time with torch's threads, or one per core."""

    def __init__(self, model: RewardModel, frames: NDArray[np.uint8]) -> None:
        """Try out batch sizes on `frames` (N, S, S, 3)."""
        self.model = model
        self.frames = np.tile(frames, (-(-BATCHES[-1] // len(frames)), 1, 1, 1))
        self.team = ScoringTeam(model)
        ways = ["together"] if self.team.threads == 1 else ["one per core", "together"]
        self.tried = {(way, batch): rate for way in ways for batch, rate in self._try(way)}
        self.way, self.batch = max(self.tried, key=lambda key: self.tried[key])

    def _try(self, way: str) -> list[tuple[int, float]]:
        found = []
        self._measure(way, BATCHES[0], 0.0)
        for batch in BATCHES:
            rate = self._measure(way, batch, 0.2).rate
            found.append((batch, rate))
            if batch / rate > LONGEST_BATCH:
                break
        return found

    def rate(self, seconds: float) -> Speed:
        """Say how fast the best of what was tried is."""
        return self._measure(self.way, self.batch, seconds)

    def by_batch(self, batches: Sequence[int], seconds: float) -> dict[int, float]:
        """Say how fast batches of each size are, one per core beside each other [frames/s]."""
        return {batch: self._measure("one per core", batch, seconds).rate for batch in batches}

    def _measure(self, way: str, batch: int, seconds: float) -> Speed:
        frames = self.frames[:batch]
        at_once = self.team.threads if way == "one per core" else 1
        score = partial(self._beside, frames) if way == "one per core" else partial(self.model, frames)
        with torch_threads(usable_cores()):
            count, began, spent = 0, time.perf_counter(), time.process_time()
            while count == 0 or time.perf_counter() - began < seconds:
                score()
                count += batch * at_once
            return Speed(count / (time.perf_counter() - began), (time.process_time() - spent) / count)

    def _beside(self, frames: NDArray[np.uint8]) -> None:
        for part in [self.team.submit(frames) for _ in range(self.team.threads)]:
            part.result()

    def close(self) -> None:
        """End the threads."""
        self.team.close()


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Give this thread a number of torch threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
