"""What the machine can do beside what the loops reach, measured in turns so that ratios stand side by side."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from capacity import Embedding, Worlds, bound
from loops import TrainingLoop, VectorLoop
from original import OriginalLoop
from processes import Peak
from speed import Loop, Speed

from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["Bench", "Row", "Table", "measure_rates"]

ORIGINAL_PROCESSES = 8
"""At most so many environments for the original's way, which starts a process for each."""
ALONE = ("simulate", "render", "embed")


@dataclass(frozen=True)
class Row:
    """One loop beside its bound."""

    name: str
    num_envs: int
    every: int
    rate: float
    """Steps/s, median of the rounds."""
    bound: float | None
    """Steps/s that simulation, rendering and embedding imply; ``None`` for the original, which draws other frames."""
    ratio: float | None
    """Median over the rounds of rate / bound, both of the same round."""
    useful_cpu: float | None
    """Share of the loop's processor time that simulation, rendering and embedding alone would have taken."""


@dataclass(frozen=True)
class Table:
    """Rows that were measured in turns, and what each kind of work reaches alone."""

    task: str
    model: str
    frame_size: int
    cores: int
    simulate: float
    """Steps/s with every core, nothing drawn."""
    render: float
    """Frames/s with every core."""
    embed: float
    """Frames/s at the best batch size."""
    embed_batch: int
    embed_way: str
    """``one per core``: batches beside each other; ``together``: one batch with torch's own threads."""
    rows: list[Row]
    peak_mb: float
    """Largest resident memory [MB] of this process and the loops' workers; pages that they share count in each."""


class Bench:
    """One task with one model: simulation, rendering and embedding alone, ready to be measured beside any loops."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.model = load_reward_model(task)
        self.accelerator = getattr(self.model, "device", "cpu") != "cpu"
        self.worlds = Worlds(task, self.model.frame_size)
        self.embedding = Embedding(self.model, self.worlds.frames)

    def alone(self, seconds: float) -> dict[str, Speed]:
        """Say how fast each kind of work alone is, measured for `seconds` each."""
        speeds = {what: self.worlds.rate(what, seconds) for what in ("simulate", "render")}
        return speeds | {"embed": self.embedding.rate(seconds)}

    def limit(self, alone: Mapping[str, Speed], every: int) -> float:
        """Return the bound in steps/s."""
        simulate, render, embed = (alone[what].rate for what in ALONE)
        return bound(simulate, render, embed, every, self.accelerator)

    def rollout(self, num_envs: int, every: int, seconds: float) -> int:
        """Return vector steps per update that take about twice `seconds`, so that slow models are done in time."""
        return max(4, int(2 * seconds * self.limit(self.alone(seconds / 10), every) / num_envs))

    def training(self, num_envs: int, every: int, seconds: float) -> TrainingLoop:
        """Build a training loop whose updates come often enough for measurements of `seconds`."""
        return TrainingLoop(self.task, num_envs, every, self.rollout(num_envs, every, seconds))

    def measure(self, loops: Mapping[tuple[str, int, int], Loop], seconds: float, rounds: int) -> Table:
        """Measure everything in turns, `rounds` times; keys of `loops` are name, environments and every."""
        others = [process.pid for process in self.worlds.processes]
        others += [pid for loop in loops.values() if isinstance(loop, OriginalLoop) for pid in loop.pids]
        found: list[dict[Any, Speed]] = []
        with Peak(leave_out=others) as memory:
            for _ in range(rounds):
                alone = self.alone(seconds)
                found.append({**alone, **{key: loop.rate(seconds) for key, loop in loops.items()}})
        simulate, render, embed = (median(values[what].rate for values in found) for what in ALONE)
        return Table(
            self.task.id,
            self.task.reward.model,
            self.model.frame_size,
            usable_cores(),
            simulate,
            render,
            embed,
            self.embedding.batch,
            self.embedding.way,
            [self._row(key, found) for key in loops],
            memory.megabytes,
        )

    def _row(self, key: tuple[str, int, int], found: list[dict[Any, Speed]]) -> Row:
        rate = median(values[key].rate for values in found)
        if key[0] == "original":
            return Row(*key, rate, None, None, None)
        every = key[2]
        bounds = [self.limit(values, every) for values in found]
        ratios = [values[key].rate / limit for values, limit in zip(found, bounds, strict=True)]
        return Row(*key, rate, median(bounds), median(ratios), median(_useful(values, key) for values in found))

    def close(self) -> None:
        """End what this started."""
        self.embedding.close()
        self.worlds.close()


def _useful(values: Mapping[Any, Speed], key: tuple[str, int, int]) -> float:
    needed = values["simulate"].cpu + (values["render"].cpu + values["embed"].cpu) / key[2]
    return needed / values[key].cpu


def measure_rates(
    task: TaskSpec,
    num_envs: list[int],
    *,
    seconds: float = 3.0,
    rounds: int = 3,
    original: bool = False,
    vector: bool = True,
    everies: list[int] | None = None,
) -> list[Table]:
    """Measure one task with one model; one table per number of environments.

    Args:
        task: the task; ``task.reward.model`` is measured.
        num_envs: numbers of environments of the loops.
        seconds: length of each measurement of a round [s].
        rounds: measurements of each; medians are reported.
        original: also work as the original does.
        vector: measure the loop over `gymnasium.make_vec`.
        everies: values of ``reward.every`` in training; by default 1 and the recipe's.
    """
    everies = everies or sorted({1, task.training["default"].reward_every or task.reward.every})
    with contextlib.closing(Bench(task)) as bench:
        tables = []
        for number in num_envs:
            with contextlib.ExitStack() as closing:
                loops: dict[tuple[str, int, int], Loop] = {}
                if vector:
                    loops["make_vec", number, task.reward.every] = VectorLoop(task, number)
                for every in everies:
                    loops["training", number, every] = bench.training(number, every, seconds)
                if original:
                    processes = min(number, ORIGINAL_PROCESSES)
                    loops["original", processes, 1] = OriginalLoop(task, processes)
                for loop in loops.values():
                    closing.callback(loop.close)
                tables.append(bench.measure(loops, seconds, rounds))
        return tables
