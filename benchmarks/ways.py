"""The ways to many environments beside each other: ours, Gymnasium's, stable-baselines3's; idle and on busy cores."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
from processes import started
from speed import Loop
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import gym_vlmrm
from gym_vlmrm.sb3 import make_vec_env
from gym_vlmrm.task.spec import TaskSpec

__all__ = ["WAYS", "Way", "measure_ways"]


def _gymnasium(spec: Any, num_envs: int, mode: str | None) -> Any:
    return gym.make_vec(spec, num_envs=num_envs, vectorization_mode=mode)


def _baselines(kind: Any, spec: Any, num_envs: int) -> Any:
    return kind([partial(gym.make, spec)] * num_envs)


WAYS: dict[str, tuple[Callable[[Any, int], Any], bool]] = {
    "gym.make_vec": (partial(_gymnasium, mode=None), False),
    "gym.make_vec, sync": (partial(_gymnasium, mode="sync"), False),
    "gym.make_vec, async": (partial(_gymnasium, mode="async"), True),
    "gym_vlmrm.sb3.make_vec_env": (lambda spec, num_envs: make_vec_env(spec.id, num_envs), False),
    "DummyVecEnv of gym.make": (partial(_baselines, DummyVecEnv), False),
    "SubprocVecEnv of gym.make": (partial(_baselines, SubprocVecEnv), True),
}
"""Name of a way to how it builds N environments, and whether each of them gets a process and a model of its own."""


@dataclass(frozen=True)
class Way:
    """What one way reached with one number of environments."""

    name: str
    num_envs: int
    busy: int
    """Processes beside it that did nothing but keep a core busy."""
    rate: float
    """Steps/s of all environments, median of the rounds."""
    cpu: float
    """Processor time of a step, median of the rounds [s]."""


class WayLoop(Loop):
    """Random actions in a vector environment, Gymnasium's or stable-baselines3's."""

    def __init__(self, spec: Any, build: Callable[[Any, int], Any], num_envs: int) -> None:
        self.num_envs = num_envs
        with started() as self.pids:
            self.envs = build(spec, num_envs)
        self.envs.reset()
        self.envs.action_space.seed(0)
        self._steps(0.0)

    def _steps(self, end: float) -> int:
        count = 0
        while count < 2 * self.num_envs or time.perf_counter() < end:
            self.envs.step(self._actions())
            count += self.num_envs
        return count

    def _actions(self) -> Any:
        space = self.envs.action_space
        if isinstance(self.envs, gym.vector.VectorEnv):
            return space.sample()
        return np.array([space.sample() for _ in range(self.num_envs)])

    def close(self) -> None:
        """End the processes."""
        self.envs.close()


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Have so many processes compute for nothing in the block."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure_ways(
    task: TaskSpec, num_envs: int, *, seconds: float, rounds: int, busy: int, most_processes: int
) -> list[Way]:
    """Measure every way in turns, round by round, so that all meet the same machine.

    Args:
        task: the task.
        num_envs: number of environments.
        seconds: length of each measurement of a round [s].
        rounds: measurements of each; medians are reported.
        busy: processes that compute for nothing meanwhile.
        most_processes: ways that start a process per environment are left out above so many.
    """
    own = task.model_copy(update={"id": f"Benchmark/{task.id.rpartition('/')[2]}"})
    gym_vlmrm.register_task(own)
    spec = gym.spec(own.id)  # which processes that know no such name can make as well
    with contextlib.ExitStack() as closing:
        loops: dict[str, Loop] = {}
        for name, (build, of_processes) in WAYS.items():
            if of_processes and num_envs > most_processes:
                continue
            loops[name] = WayLoop(spec, build, num_envs)
            closing.callback(loops[name].close)
        closing.enter_context(busy_cores(busy))
        found = [{name: loop.rate(seconds) for name, loop in loops.items()} for _ in range(rounds)]
    return [
        Way(name, num_envs, busy, median(v[name].rate for v in found), median(v[name].cpu for v in found))
        for name in loops
    ]
