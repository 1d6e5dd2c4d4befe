"""Does a long training keep what it takes? Memory, descriptors, threads and processes of one run, sampled on the way.

    python benchmarks/soak.py --steps 200000 --workers 8

Trains CartPole by PPO, rewarded for brightness, with checkpoints and their trials, and prints a table: steps made, the
resident memory of this process and of its workers, open file descriptors, threads, and processes. The first fifth is
warm-up; after it nothing may grow. Exit code 1 says that something did.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from gym_vlmrm.learning import train
from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.spec import Recipe

SAMPLES = 20
WARM_UP = 0.2
MOST_MEMORY = 1.05
"""Memory may wander by allocators' whims; what leaks grows by more than this factor over a long run."""
COLUMNS = ("step", "MB here", "MB in workers", "descriptors", "threads", "processes")


@dataclass(frozen=True)
class Sample:
    """What a training takes at one step."""

    step: int
    memory: float
    """Resident memory of the training process [MB]."""
    workers_memory: float
    """The same of all of its workers together [MB]."""
    descriptors: int
    """Of all processes."""
    threads: int
    processes: int


def take_sample(step: int) -> Sample:
    """Look at this process and all that it started."""
    here = psutil.Process()
    family = [here, *here.children(recursive=True)]
    memory = [process.memory_info().rss / 1e6 for process in family]
    return Sample(
        step,
        memory[0],
        sum(memory[1:]),
        sum(process.num_fds() for process in family),
        sum(process.num_threads() for process in family),
        len(family),
    )


def soak(steps: int, workers: int, num_envs: int, checkpoints: int, model: str, folder: Path) -> list[Sample]:
    """Train and sample `SAMPLES` times, evenly; the first sample is that of the first checkpoint."""
    recipe = Recipe(
        algorithm="PPO",
        steps=steps,
        num_envs=num_envs,
        checkpoint_every=max(steps // checkpoints, 1),
        hyperparameters={"n_steps": 64, "batch_size": 256, "n_epochs": 2, "policy_kwargs": {"net_arch": [32]}},
    )
    task = override(load_task("cartpole"), model=model, max_episode_steps=50)
    samples: list[Sample] = []

    def look(progress: Progress) -> None:
        if progress.step >= (len(samples) + 1) * steps / SAMPLES:
            samples.append(take_sample(progress.step))

    train(task, recipe, output=folder / "run", workers=workers, on_progress=look)
    return samples


def growth(samples: Sequence[Sample]) -> list[str]:
    """Say what grew after the warm-up; nothing where all is flat."""
    settled = list(samples)[int(len(samples) * WARM_UP) :]
    found = []
    for index, name in enumerate(COLUMNS[1:], 1):
        column = [astuple(sample)[index] for sample in settled]
        half = len(column) // 2
        before, after = max(column[:half]), max(column[half:])
        if after > before * (MOST_MEMORY if name.startswith("MB") else 1.0):
            found.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak and print what it took; returns 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--model", default="brightness")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(chosen.steps, chosen.workers, chosen.num_envs, chosen.checkpoints, chosen.model, Path(folder))
    print(("{:>14}" * len(COLUMNS)).format(*COLUMNS))
    for sample in samples:
        print(("{:>14,.0f}" * len(COLUMNS)).format(*astuple(sample)))
    found = growth(samples)
    print("; ".join(found) or "flat")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
