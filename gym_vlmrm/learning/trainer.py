"""Training a task into a run folder, and going on with one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.errors import RunError, whole_number
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.learning.checkpoints import load_whole_state
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.records import MAX_SEED, RunRecord
from gym_vlmrm.learning.run_folder import Checkpoint, RunFolder, default_run_path
from gym_vlmrm.learning.session import Session, TrainingResult
from gym_vlmrm.learning.stored_policy import load_agent, read_description
from gym_vlmrm.learning.zoo import is_in_zoo
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.catalog import override
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
    log: Sequence[str] = (),
    cluster: Cluster | None = None,
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
        log: trackers to log to as well: ``wandb``, ``trackio``.
        cluster: where judges and worlds are, if not in this process and its workers.

    Raises:
        TrainingError, ModelError, RenderingError, RunError, TaskError: as their names say. Before the first step
            nothing is left on disk; after it a run folder with what was learned until then.
        KeyboardInterrupt: at a second Ctrl-C; the first one, SIGTERM and SIGHUP end in a checkpoint and a result.
    """
    algorithm = find_algorithm(recipe.algorithm)
    seed = whole_number("seed", seed, 0, MAX_SEED)
    workers = None if workers is None else whole_number("workers", workers, 1)
    path = Path(output) if output is not None else default_run_path(task, algorithm.name, seed)
    RunFolder.check_new(path)
    record = RunRecord(task=task.id, recipe_name=recipe_name, recipe=recipe, seed=seed, versions=library_versions())
    with Session(task, record, workers, on_progress, on_notice, log, cluster) as session:
        session.describe_machine()
        session.open_trackers(path)
        session.heed_signals()
        run = RunFolder.create(path)
        with run.only_writer():
            run.write_task(task)
            return session.learn(run)


def resume(
    run: RunFolder | str | os.PathLike[str],
    *,
    steps: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
    log: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> TrainingResult:
    """Go on with a run from its last checkpoint to its number of steps, or to `steps`.

    It goes on as if it had never stopped, to the bit where everything computes on a CPU: what lies after the
    checkpoint is made again. A verdict that the checkpoint still lacks is given first. A run that has no checkpoint yet
    begins again, and a damaged checkpoint is passed over for the newest whole one.

    Args:
        run: the run folder.
        steps: environment steps of the whole run, earlier ones included.
        device: where the reward model runs from now on; where it ran if not given.
        workers: as in `train`.
        on_progress: as in `train`.
        on_notice: as in `train`.
        log: as in `train`.
        cluster: as in `train`; equal runs may go on with or without one.

    Raises:
        RunError: no such run, nothing left to do, a damaged checkpoint, or another process is training into it.
        Others as `train` does.
    """
    run = run if isinstance(run, RunFolder) else RunFolder.open(run)
    if is_in_zoo(run.name):
        raise RunError(
            f"'{run.name}' comes with the package and holds nothing to go on with; train a run of your own "
            f"(vlmrm train {short_name(run.record.task)})"
        )
    steps = None if steps is None else whole_number("steps", steps, 1)
    workers = None if workers is None else whole_number("workers", workers, 1)
    with run.only_writer():
        record, step = run.record, 0
        checkpoint = _newest_whole(run, on_notice)
        if checkpoint is not None:
            step = checkpoint.step
        recipe = record.recipe.model_copy(update={} if steps is None else {"steps": steps})
        unjudged = record.status != "finished" and step >= record.recipe.steps and steps is None
        if recipe.steps <= step and not unjudged:
            raise RunError(f"'{run.path}' has made its {step:,} steps; ask for more (--steps)")
        versions = library_versions()
        for name, version in versions.items():
            if version != record.versions.get(name, version):
                on_notice(f"{name} was {record.versions[name]} when this run began and is {version} now")
        record = record.model_copy(update={"recipe": recipe, "versions": versions, "step": step})
        task = override(run.task, device=device)
        if checkpoint is not None:
            _check_policy(checkpoint, recipe)
        run.name_model()
        with Session(task, record, workers, on_progress, on_notice, log, cluster) as session:
            session.describe_machine()
            if checkpoint is not None:
                session.restore(checkpoint.path)
            session.open_trackers(run.path)
            if device is not None:
                run.write_task(task)
            session.heed_signals()
            return session.learn(run)


def _check_policy(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Check that a checkpoint's policy is of this recipe and as large as its weights, before anything is built from it.

    Raises:
        RunError: it is not.
    """
    agent = load_agent(checkpoint.path)
    stored = read_description(checkpoint.path)[0]
    names = ("policy", "policy_kwargs")
    asked, was = ([each.hyperparameters.get(name) for name in names] for each in (recipe, stored))
    if (stored.algorithm, was) != (recipe.algorithm, asked):
        raise RunError(f"{checkpoint.path}: its policy ({type(agent.model).__name__}) is not that of run.json's recipe")


def _newest_whole(run: RunFolder, on_notice: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that is what was written, or ``None`` where none was made yet.

    Raises:
        RunError: there are some, and every one is damaged.
    """
    found = run.checkpoints()
    for checkpoint in reversed(found):
        try:
            load_whole_state(checkpoint.path)
        except RunError as error:
            if checkpoint == found[0]:
                raise
            on_notice(f"{error}; going on from an earlier checkpoint")
        else:
            return checkpoint
    on_notice("the run has no checkpoint yet, so it begins again")
    return None
