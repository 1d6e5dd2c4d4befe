"""`vlmrm train`: from a sentence to an agent."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import note, say
from ..options import (
    Algorithm,
    Alpha,
    Baseline,
    Device,
    Goal,
    Json,
    Log,
    Model,
    NumEnvs,
    Output,
    Quiet,
    RecipeName,
    Resume,
    Seed,
    Steps,
    Workers,
    sentences,
)  # fmt: skip
from ..progress import training_bar
from ..resuming import check_resume, conclude

if TYPE_CHECKING:
    from gym_vlmrm.learning import TrainingResult

__all__ = ["train"]

OptionalTask = Annotated[
    str | None,
    typer.Argument(metavar="TASK", help="A task file, a built-in task's name (splits), or an environment ID."),
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
    num_envs: NumEnvs = None,
    workers: Workers = None,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = None,
    log: Log = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train an agent on a task and leave everything in a run folder.

    Ctrl-C, SIGTERM and a closed terminal save a checkpoint; the last line says how to go on.
    """
    if resume is not None:
        check_resume(context, "TASK", "steps", "device", "workers", "log")
    elif task is None:
        raise typer.BadParameter("name a task, or a run by --resume", param_hint="TASK")
    with training_bar(shown=not quiet) as on_progress:
        settings: dict[str, Any] = {"workers": workers, "on_progress": on_progress, "on_notice": note, "log": log or ()}
        if resume is not None:
            from gym_vlmrm import learning

            result = learning.resume(resume, steps=steps, device=device, **settings)
        else:
            from gym_vlmrm import api

            result = api.train(
                str(task), recipe=recipe, algorithm=algorithm, steps=steps, num_envs=num_envs, seed=seed, output=output,
                model=model, goal=sentences(goal), baseline=sentences(baseline), alpha=alpha, device=device, **settings,
            )  # fmt: skip
    conclude(result, _summary(result), _print_result, "train", result.run.path, json=json, quiet=quiet)


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
        judged = "" if result.best.episodes is None else f", over {result.best.episodes} episodes"
        reward = f"VLM reward {result.best.vlm_reward:.4f} per step{success}{judged}"
        say(f"best checkpoint: step {result.best.step:,}, {reward}")
    say(f"next: vlmrm eval {result.run.path}")
