"""`vlmrm new`: a task file to begin with."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import note, print_json, say
from ..options import Alpha, Baseline, Goal, Json, Model, Quiet

if TYPE_CHECKING:
    from gym_vlmrm.worlds.description import WorldDescription

__all__ = ["new"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="The task file to write, such as mine.yaml.")]
Environment = Annotated[
    str | None,
    typer.Option("--env", metavar="ID", help="humanoid, cartpole, mountain-car, or any Gymnasium ID (Ant-v5)."),
]
Identity = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="The task's own ID; made of the sentence if not given.")
]
Success = Annotated[
    list[str] | None,
    typer.Option("--success", metavar="RULE", help="A comparison such as 'obs[0] < 0.4'; several must all hold."),
]
Limit = Annotated[
    int | None, typer.Option("--max-episode-steps", metavar="N", min=1, help="Steps after which an episode is cut.")
]


def new(
    file: File,
    env: Environment = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    model: Model = None,
    success: Success = None,
    id: Identity = None,
    max_episode_steps: Limit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a commented task file that passes `vlmrm check`, from options, or from questions in a terminal."""
    asking = sys.stdin.isatty() and sys.stderr.isatty() and not (json or quiet)
    if env is None and asking:
        env = typer.prompt("environment (humanoid, cartpole, mountain-car, or a Gymnasium ID)", err=True)
    if not goal and asking:
        goal = [typer.prompt("goal prompt, one sentence", err=True)]
        if baseline is None and (said := typer.prompt("baseline prompt (empty for none)", "", err=True)):
            baseline = [said]
        if success is None and (
            said := typer.prompt("rule of success, such as obs[0] < 0.4 (empty for none)", "", err=True)
        ):
            success = [said]
    for value, hint in ((env, "--env"), (goal, "--goal")):
        if not value:
            raise typer.BadParameter("missing, and there is no terminal to ask in", param_hint=hint)
    from gym_vlmrm.learning.new import write_new_task

    path, world = write_new_task(
        file, str(env), goal or [], task_id=id, baseline=baseline or [], alpha=alpha, model=model,
        success=success or [], max_episode_steps=max_episode_steps, on_notice=note,
    )  # fmt: skip
    if json:
        print_json({"file": str(path), "environment": world.environment})
    elif not quiet:
        _print(path, world)


def _print(path: Path, world: "WorldDescription") -> None:
    say(f"wrote {path}: {world.environment}, an observation of {len(world.observation)} numbers")
    say("it passes `vlmrm check`; lines that begin with # are there to be uncommented")
    named = shlex.quote(str(path))
    say(f"next: vlmrm show {named}; vlmrm train {named}")
