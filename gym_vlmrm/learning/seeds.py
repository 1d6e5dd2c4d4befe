"""Several seeds of one training, in one folder of runs, one after the other; what is finished is not made again."""

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.errors import RunError, whole_number
from gym_vlmrm.files import free_folder
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.records import MAX_SEED, RunRecord
from gym_vlmrm.learning.run_folder import ROOT, RunFolder
from gym_vlmrm.learning.runs import find_runs
from gym_vlmrm.learning.trainer import TrainingResult, resume
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.spec import Recipe, TaskSpec

__all__ = ["SeedsResult", "holds_seeds", "prepare_seeds", "train_seeds"]

MOST = 1000


@dataclass(frozen=True)
class SeedsResult:
    """How the trainings of several seeds ended."""

    folder: Path
    """Of all their runs."""
    results: Sequence[TrainingResult]
    """Of those that were trained now."""
    runs: Sequence[RunFolder]
    """All, by seed."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it."""
        return any(result.interrupted for result in self.results)

    @property
    def signal(self) -> int | None:
        """Number of that signal."""
        return next((result.signal for result in self.results if result.interrupted), None)

    @property
    def step(self) -> int:
        """Environment steps made, over all seeds."""
        return sum(run.record.step for run in self.runs)


def holds_seeds(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is one of runs, and no run itself."""
    path = Path(folder)
    return path.is_dir() and not (path / "run.json").exists() and any(path.glob("seed-*/run.json"))


def prepare_seeds(
    task: TaskSpec, recipe: Recipe, seeds: Sequence[int], *, recipe_name: str = "default",
    output: str | os.PathLike[str] | None = None,
) -> Path:  # fmt: skip
    """Make a folder with a run for each seed, none of which has begun; returns it.

    Args:
        task: the task, overrides applied.
        recipe: how to train.
        seeds: their seeds.
        recipe_name: for the records.
        output: the folder; ``runs/<task>-<algorithm>-seeds-<n>`` if not given.

    Raises:
        TrainingError: unknown algorithm, or no seeds. RunError: the folder is not empty, or cannot be written.
    """
    algorithm = find_algorithm(recipe.algorithm)
    whole_number("number of seeds", len(seeds), 1, MOST)
    for seed in seeds:
        whole_number("seed", seed, 0, MAX_SEED)
    stem = f"{short_name(task.id)}-{algorithm.name.lower()}-seeds"
    folder = Path(output) if output is not None else free_folder(ROOT, stem)
    RunFolder.check_new(folder)
    versions = library_versions()
    for seed in seeds:
        run = RunFolder.create(folder / f"seed-{seed}")
        run.write_task(task)
        run.write_record(
            RunRecord(
                task=task.id, recipe_name=recipe_name, recipe=recipe, seed=seed, status="interrupted", versions=versions
            )
        )
    return folder


def train_seeds(
    folder: str | os.PathLike[str],
    *,
    device: str | None = None,
    workers: int | None = None,
    log: Sequence[str] = (),
    cluster: Cluster | None = None,
    on_seed: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> SeedsResult:
    """Train each seed of a folder that is not finished yet, from its last checkpoint, one after the other.

    Args:
        folder: as `prepare_seeds` made it.
        device: where the reward model runs; where it ran if not given.
        workers: as in `gym_vlmrm.learning.train`.
        log: as in `gym_vlmrm.learning.train`.
        cluster: as in `gym_vlmrm.learning.train`.
        on_seed: called with each seed that begins.
        on_progress: as in `gym_vlmrm.learning.train`.
        on_notice: as in `gym_vlmrm.learning.train`.

    Raises:
        RunError: no such folder, nothing left to do, or another process trains into it. Others as in
            `gym_vlmrm.learning.train`; where nothing was learned until then, the folder is removed.
    """
    runs = sorted((RunFolder.open(path) for path in find_runs([folder])), key=lambda run: run.record.seed)
    left = [run for run in runs if run.record.status != "finished"]
    if not left:
        raise RunError(
            f"'{folder}' has trained its {len(runs)} seeds; compare them: vlmrm compare {shlex.quote(str(folder))}"
        )
    results: list[TrainingResult] = []
    try:
        for run in left:
            on_seed(run.record.seed)
            new = not run.checkpoints()
            results.append(
                resume(
                    run, device=device, workers=workers, log=log, cluster=cluster, on_progress=on_progress,
                    on_notice=(lambda text: None if text.startswith("the run has no checkpoint") else on_notice(text))
                    if new
                    else on_notice,
                )
            )  # fmt: skip
            if results[-1].interrupted:
                break
    except Exception:
        if not any(run.checkpoints() for run in runs):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return SeedsResult(Path(folder), results, runs)
