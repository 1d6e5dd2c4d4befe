"""`vlmrm train`: from a sentence to an agent."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..completion import complete_tasks
from ..console import note, say
from ..options import (
    Algorithm,
    Alpha,
    Baseline,
    Cluster,
    Device,
    Goal,
    Json,
    Log,
    Model,
    NumEnvs,
    Output,
    Quiet,
    RecipeName,
    ReplicaCores,
    Replicas,
    Resume,
    Seed,
    Steps,
    Workers,
    check_replicas,
    sentences,
)  # fmt: skip
from ..paying import MaxQueries, PricePerQuery
from ..progress import training_bar
from ..resuming import check_resume, conclude
from .compare import print_comparison

if TYPE_CHECKING:
    from gym_vlmrm.cluster.training import Cluster as Where
    from gym_vlmrm.learning import TrainingResult

__all__ = ["train"]

OptionalTask = Annotated[
    str | None,
    typer.Argument(
        metavar="TASK",
        help="A task file, a built-in task's name (splits), or an environment ID.",
        autocompletion=complete_tasks,
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds", metavar="N", min=2, max=1000, help="Train so many seeds from --seed on, one after the other."
    ),
]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Train even where the model never saw the environment and says so.")
]


def train(
    context: typer.Context,
    task: OptionalTask = None,
    steps: Steps = None,
    algorithm: Algorithm = None,
    recipe: RecipeName = None,
    model: Model = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    device: Device = None,
    max_queries: MaxQueries = None,
    price_per_query: PricePerQuery = None,
    num_envs: NumEnvs = None,
    workers: Workers = None,
    cluster: Cluster = None,
    replicas: Replicas = None,
    replica_cores: ReplicaCores = None,
    seed: Seed = 0,
    seeds: Seeds = None,
    output: Output = None,
    resume: Resume = None,
    log: Log = None,
    anyway: Anyway = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an agent on a task and leave everything in a run folder.

    Ctrl-C, SIGTERM and a closed terminal save a checkpoint; the last line says how to go on.
    """
    if resume is not None:
        free = ("steps", "device", "workers", "cluster", "replicas", "replica_cores", "log", "max_queries")
        check_resume(context, "TASK", *free, "price_per_query")
    elif task is None:
        raise typer.BadParameter("name a task, or a run by --resume", param_hint="TASK")
    where = _cluster(cluster, replicas, replica_cores)
    if seeds is not None or (resume is not None and _is_of_seeds(resume)):
        changes = {
            "recipe": recipe, "algorithm": algorithm, "steps": steps, "num_envs": num_envs, "model": model,
            "goal": sentences(goal), "baseline": sentences(baseline), "alpha": alpha,
        }  # fmt: skip
        if resume is not None and steps is not None:
            raise typer.BadParameter(
                "the seeds of a folder keep their steps; resume one of its runs", param_hint="--steps"
            )
        folder = resume or _prepare(str(task), range(seed, seed + (seeds or 0)), output, changes, anyway)
        _train_seeds(folder, device, workers, log, where, json=json, quiet=quiet)
        return
    with training_bar(shown=not quiet) as on_progress:
        settings: dict[str, Any] = {
            "workers": workers,
            "on_progress": on_progress,
            "on_notice": note,
            "log": log or (),
            "cluster": where,
        }
        if resume is not None:
            from gym_vlmrm import learning

            result = learning.resume(resume, steps=steps, device=device, **settings)
        else:
            from gym_vlmrm import api
            from gym_vlmrm.reward.loading import refuse_strangers
            from gym_vlmrm.task.catalog import load_task, override
            from gym_vlmrm.teaching.card import hardly_taught

            spec = override(load_task(str(task)), model=model)
            refuse_strangers(spec, anyway)
            for line in hardly_taught(spec):
                note(line)
            result = api.train(
                str(task), recipe=recipe, algorithm=algorithm, steps=steps, num_envs=num_envs, seed=seed, output=output,
                model=model, goal=sentences(goal), baseline=sentences(baseline), alpha=alpha, device=device,
                anyway=anyway, **settings,
            )  # fmt: skip
    conclude(result, _summary(result), _print_result, "train", result.run.path, json=json, quiet=quiet)


def _cluster(address: str | None, replicas: int | None, cores: int | None) -> "Where | None":
    check_replicas(address, replicas, cores)
    if address is None:
        return None
    from gym_vlmrm.cluster.training import Cluster as Where

    return Where(address, replicas, cores)


def _summary(result: "TrainingResult") -> dict[str, Any]:
    return {
        "run": str(result.run.path),
        "status": "interrupted" if result.interrupted else "finished",
        "step": result.step,
        "seconds": round(result.seconds, 3),
        "best": None if result.best is None else result.best.model_dump(mode="json"),
    }


def _print_result(result: "TrainingResult") -> None:
    say(f"trained {result.step:,} steps in {result.seconds:.0f} s; everything is in {result.run.path}")
    if result.best is not None:
        success = "" if result.best.success is None else f", success in {result.best.success:.0%} of steps"
        judged = "" if result.best.episodes is None else f", over {result.best.episodes} greedy episodes of its own"
        reward = f"VLM reward {result.best.vlm_reward:.4f} per step{success}{judged}"
        say(f"best checkpoint: step {result.best.step:,}, {reward}")
    say(f"next: vlmrm eval {shlex.quote(str(result.run.path))}")


def _is_of_seeds(folder: Path) -> bool:
    from gym_vlmrm.learning.seeds import holds_seeds

    return holds_seeds(folder)


def _prepare(task: str, seeds: range, output: Path | None, changes: dict[str, Any], anyway: bool) -> Path:
    from gym_vlmrm.learning import choose_recipe
    from gym_vlmrm.learning.seeds import prepare_seeds
    from gym_vlmrm.reward.loading import refuse_strangers
    from gym_vlmrm.task.catalog import load_task, override

    how = {name: changes.pop(name) for name in ("recipe", "algorithm", "steps", "num_envs")}
    spec = override(load_task(task), **changes)
    refuse_strangers(spec, anyway)
    name, chosen = choose_recipe(spec, how.pop("recipe"), **how)
    return prepare_seeds(spec, chosen, seeds, recipe_name=name, output=output)


def _train_seeds(
    folder: Path, device: str | None, workers: int | None, log: list[str] | None, cluster: "Where | None", *,
    json: bool, quiet: bool,
) -> None:  # fmt: skip
    from gym_vlmrm.learning.comparison import compare
    from gym_vlmrm.learning.seeds import SeedsResult, train_seeds

    def begin(seed: int) -> None:
        if not quiet:
            note(f"seed {seed} begins")

    with training_bar(shown=not quiet) as on_progress:
        result = train_seeds(
            folder,
            device=device,
            workers=workers,
            log=log or (),
            cluster=cluster,
            on_seed=begin,
            on_progress=on_progress,
            on_notice=note,
        )
    found = compare([folder])

    def show(_: SeedsResult) -> None:
        print_comparison(found)
        say(f"next: vlmrm compare {shlex.quote(str(folder))}, or vlmrm eval on each of its runs")

    status = "interrupted" if result.interrupted else "finished"
    summary = {"output": str(folder), "status": status, "step": result.step, **found.model_dump(mode="json")}
    conclude(result, summary, show, "train", folder, json=json, quiet=quiet)
