"""Training a task into a run folder, and going on with one."""

import os
from collections.abc import Callable
from pathlib import Path

from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.run_folder import RunFolder, RunRecord, default_run_path
from gym_vlmrm.learning.session import Session, TrainingResult
from gym_vlmrm.task.spec import Recipe, TaskSpec

__all__ = ["TrainingResult", "resume", "train"]


def train(
    task: TaskSpec,
    recipe: Recipe,
    *,
    recipe_name: str = "default",
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Train a new agent.

    Args:
        task: the task, overrides applied.
        recipe: how to train (see `gym_vlmrm.learning.choose_recipe`).
        recipe_name: for the record.
        seed: of environments, networks and exploration.
        output: the run folder; ``runs/<task>-<algorithm>-<seed>-<n>`` if not given.
        workers: worker processes for the environments; one per core if not given.
        on_progress: called a few times per second.
        on_notice: called with a sentence that the user should read.

    Raises:
        TrainingError, ModelError, RenderingError, RunError, TaskError: as their names say; nothing is left on disk.
    """
    algorithm = find_algorithm(recipe.algorithm)
    path = Path(output) if output is not None else default_run_path(task, algorithm.name, seed)
    RunFolder.check_new(path)
    record = RunRecord(task=task.id, recipe_name=recipe_name, recipe=recipe, seed=seed, versions=library_versions())
    with Session(task, record, workers, on_progress, on_notice) as session:
        session.describe_machine()
        run = RunFolder.create(path)
        run.write_task(task)
        return session.learn(run)


def resume(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> TrainingResult:
    """Go on with a run from its last checkpoint to its number of steps, or to `steps`.

    Raises:
        RunError: no such run, nothing left to do, or a damaged checkpoint.
        Others as `train` does.
    """
    run = RunFolder.open(path)
    record, checkpoint = run.record, run.checkpoint("last")
    recipe = record.recipe.model_copy(update={} if steps is None else {"steps": steps})
    if recipe.steps <= checkpoint.step:
        raise RunError(f"'{run.path}' has made its {checkpoint.step:,} steps; ask for more by --steps")
    versions = library_versions()
    for name, version in versions.items():
        if version != record.versions.get(name, version):
            on_notice(f"{name} was {record.versions[name]} when this run began and is {version} now")
    record = record.model_copy(update={"recipe": recipe, "versions": versions})
    with Session(run.task, record, workers, on_progress, on_notice) as session:
        session.describe_machine()
        session.restore(checkpoint.path)
        return session.learn(run)
