"""`vlmrm teach`: from captions by rule to a reward model that knows your world."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..completion import complete_tasks
from ..console import note, print_json, print_table, say
from ..options import Device, Json, Output, Quiet, Seed, Workers
from ..progress import phase_bar

if TYPE_CHECKING:
    from gym_vlmrm.teaching import TeachingResult

__all__ = ["teach"]

Tasks = Annotated[
    list[str],
    typer.Argument(
        metavar="TASK...",
        help="Task files, or names of tasks, with `captions:`; one model is taught the worlds of all of them.",
        autocompletion=complete_tasks,
    ),
]
Captions = Annotated[
    Path | None,
    typer.Option("--captions", metavar="FILE", help="A YAML file whose `captions:` stand in for the tasks' own."),
]
BaseModel = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="`scratch` for a small new model, or any that `vlmrm train --model` takes."
    ),
]
Minutes = Annotated[
    float,
    typer.Option("--minutes", metavar="N", help="How much to draw and to learn: what two cores do in about N minutes."),
]
Rounds = Annotated[
    int, typer.Option("--rounds", metavar="N", min=0, max=20, help="Hunts for the states that fool the model.")
]
Policies = Annotated[
    list[Path] | None,
    typer.Option("--policy", metavar="RUN", help="A run whose policy shows frames too; may be repeated."),
]


def teach(
    tasks: Tasks,
    output: Output = None,
    minutes: Minutes = 5.0,
    model: BaseModel = "scratch",
    captions: Captions = None,
    policy: Policies = None,
    rounds: Rounds = 2,
    device: Device = None,
    workers: Workers = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a reward model what your captions say of an environment: draw, learn, hunt what fools it, audit.

    The result is a folder for --model local-dir:DIR. It appears when all is learned; a stop before leaves nothing.
    """
    if not 0 < minutes <= 600:
        raise typer.BadParameter(f"{minutes:g} is not above 0 and at most 600", param_hint="--minutes")
    if model == "scratch" and device not in (None, "auto", "cpu"):
        raise typer.BadParameter(
            f"{device}: a model from scratch is small and learns on the CPU", param_hint="--device"
        )
    from gym_vlmrm.files import free_folder
    from gym_vlmrm.task.catalog import load_task, with_captions
    from gym_vlmrm.teaching import TeachingSettings
    from gym_vlmrm.teaching import teach as teach_tasks

    specs = [load_task(task) for task in tasks]
    if captions is not None:
        specs = [with_captions(spec, captions) for spec in specs]
    folder = output or free_folder(Path("models"), specs[0].id.rpartition("/")[2].lower())
    settings = TeachingSettings(
        model=model, minutes=minutes, rounds=rounds, policies=tuple(map(str, policy or ())), seed=seed,
        workers=workers, device=device or "auto",
    )  # fmt: skip
    with phase_bar(shown=not quiet) as on_progress:
        result = teach_tasks(specs, folder, settings, on_progress, note)
    if json:
        print_json(_summary(result))
    elif not quiet:
        _print(result, tasks)


def _summary(result: "TeachingResult") -> dict[str, Any]:
    return {
        "output": str(result.output),
        "model": f"local-dir:{result.output}",
        "seconds": result.seconds,
        "frames": result.frames,
        "worlds": [row.model_dump(mode="json") for row in result.worlds],
        "captions": [row.model_dump(mode="json") for row in result.captions],
        "rounds": [row.model_dump(mode="json") for row in result.rounds],
        "verdicts": [verdict.model_dump(mode="json") for verdict in result.verdicts],
    }


def _print(result: "TeachingResult", tasks: list[str]) -> None:
    for world in result.worlds:
        say(f"{world.world}: explored {world.explored}; {world.held_out:,} frames of another exploration judge")
    rows = [
        (*map(_cell, (row.auc, row.spearman)), f"{row.true_in:,}", f"{row.sentence}{' (goal)' if row.goal else ''}",
         row.world)
        for row in result.captions
    ]  # fmt: skip
    title = (
        "AUC and rank (correlation with its truth) of held-out frames: 1 at best, 0.5 and 0 by chance; true in: of the "
        f"{result.frames:,} frames it learned from"
    )
    print_table(("AUC", "rank", "true in", "caption", "world"), rows, title=title, whole=3)
    for number, hunted in enumerate(result.rounds, 1):
        fooled = f"{hunted.fooled:.1%} of {hunted.seen:,} states fooled the model"
        say(f"hunt {number}: {fooled}; {hunted.kept:,} were taught")
    for verdict in result.verdicts:
        say(f"\n{verdict.task}: {verdict.label.upper()}")
        for reason in verdict.reasons:
            say(f"  - {reason}")
    say(f"\n{result.frames:,} frames, {result.seconds:.0f} s; the model is in {result.output}, its card in README.md")
    for row in result.rare_goals:
        say(f"the goal '{row.sentence}' is true of only {row.true_in} of the frames: teach again first, with more"
            " --minutes, --policy RUN that shows it, or another rule")  # fmt: skip
    inseparable = [verdict.task for verdict in result.verdicts if verdict.label == "not separable"]
    if inseparable:
        say(f"the reward does not tell the goal of {', '.join(inseparable)} from other states: try more --minutes, or a"
            " camera, sentence or grade that shows it (docs/teaching.md, When it does not work)")  # fmt: skip
    elif not result.rare_goals:
        say(f"next: vlmrm train {shlex.quote(tasks[0])} --model {shlex.quote(f'local-dir:{result.output}')}")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
