"""Does memory grow with the steps of a training?"""

import contextlib
from dataclasses import dataclass
from typing import Any

from loops import TrainingLoop
from processes import Peak, resident_megabytes

from gym_vlmrm.task.spec import TaskSpec

__all__ = ["Memory", "measure_memory"]


@dataclass(frozen=True)
class Memory:
    """Resident memory of a training and its workers [MB], its replay buffer left out."""

    task: str
    model: str
    num_envs: int
    steps: list[int]
    peak_mb: list[float]
    """Peak up to the first number of steps, then between each and the next."""
    growth: float
    """Last peak over the first one."""


def measure_memory(task: TaskSpec, num_envs: int, every: int, steps: list[int]) -> Memory:
    """Train, gradient steps included, and note the peak of memory on the way to each of `steps`."""
    peaks, made = [], 0
    with contextlib.closing(TrainingLoop(task, num_envs, every, learn=True)) as loop:
        for until in steps:
            with Peak() as peak:
                loop.run(until - made)
            made = until
            peaks.append(max(peak.megabytes, resident_megabytes()) - _replay_megabytes(loop.model))
    return Memory(task.id, task.reward.model, num_envs, steps, peaks, peaks[-1] / peaks[0])


def _replay_megabytes(model: Any) -> float:
    """Part of the replay buffer that was written to: the rest is not resident yet."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return 0.0
    arrays = [value for value in vars(buffer).values() if hasattr(value, "nbytes")]
    filled = float(buffer.size() / buffer.buffer_size)
    return float(sum(array.nbytes for array in arrays)) * filled / 1e6
