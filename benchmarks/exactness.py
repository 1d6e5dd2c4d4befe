"""What exact resuming costs: steps/s of a training with its checkpoints and without, and how large they are.

    python benchmarks/exactness.py --cases kneeling,cartpole --steps 20000 --rounds 2

Each case trains the default recipe of its task from the rewards of the embedded model, with checkpoints at the period
that the whole recipe has by default, and without any but the last, in turns. Of those with checkpoints it also says
where the time went: remembering the state between rollouts, writing checkpoints, and judging their policies, which is
what training asks checkpoints for and no part of exactness.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gym_vlmrm.learning import train
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.saver import Saver
from gym_vlmrm.learning.session import CHECKPOINTS_PER_RUN, Session
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.spec import Recipe, TaskSpec

PARTS: tuple[tuple[str, type[Any], str], ...] = (
    ("remembering", Saver, "keep"),
    ("writing", Saver, "write"),
    ("judging", Session, "_judge"),
)


def timed(method: Callable[..., Any], name: str, seconds: "Counter[str]") -> Callable[..., Any]:
    """Return a method that notes how long it takes."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - began  # type: ignore[assignment]

    return measured


def run_once(task: TaskSpec, recipe: Recipe, workers: int | None, folder: Path) -> tuple[float, "Counter[str]", Path]:
    """Train; returns steps/s, the seconds of each part, and the run."""
    seconds: Counter[str] = Counter()
    whole = {name: getattr(owner, method) for name, owner, method in PARTS}
    for name, owner, method in PARTS:
        setattr(owner, method, timed(whole[name], name, seconds))
    try:
        result = train(task, recipe, output=folder, workers=workers)
    finally:
        for name, owner, method in PARTS:
            setattr(owner, method, whole[name])
    seconds["whole"] = result.seconds  # type: ignore[assignment]
    return result.step / result.seconds, seconds, result.run.path


def size_of(run: Path) -> str:
    """Say how large the last checkpoint is, by file."""
    files = RunFolder(run).checkpoint("last").path.iterdir()
    sizes = sorted(((path.stat().st_size, path.name) for path in files), reverse=True)
    shown = ", ".join(f"{name} {size / 1e6:.2f}" for size, name in sizes if size >= 10_000)
    return f"{sum(size for size, _ in sizes) / 1e6:.2f} MB ({shown})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one block per case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default="kneeling,cartpole", help="names of tasks")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--model", default="embedded")
    chosen = parser.parse_args(arguments)
    for name in chosen.cases.split(","):
        task = override(load_task(name), model=chosen.model)
        recipe = task.training["default"]
        period = recipe.checkpoint_every or recipe.steps // CHECKPOINTS_PER_RUN
        speeds: dict[int, list[float]] = {period: [], 10**12: []}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(2 * chosen.rounds):
                every = (period, 10**12)[turn % 2]
                changes = {"steps": chosen.steps, "checkpoint_every": every}
                run = Path(folder) / str(turn)
                speed, seconds, path = run_once(task, recipe.model_copy(update=changes), chosen.workers, run)
                speeds[every].append(speed)
                if every == period:
                    shares = ", ".join(f"{part} {seconds[part] / seconds['whole']:.1%}" for part, _, _ in PARTS)
                    size = size_of(path)
        with_them, without = (statistics.median(values) for values in speeds.values())
        print(f"{name}, {recipe.algorithm}, a checkpoint every {period:,} of {chosen.steps:,} steps:")
        print(f"  {with_them:,.0f} steps/s with checkpoints, {without:,.0f} with the last one alone; {shares}")
        print(f"  one checkpoint: {size}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
