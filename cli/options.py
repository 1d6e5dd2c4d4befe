"""Arguments and options: each is defined here once, so that it bears the same name and meaning in every command."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .completion import complete_runs, complete_tasks
from .console import note

__all__ = [
    "Algorithm", "Alpha", "Alphas", "Baseline", "Checkpoint", "Cluster", "Device", "Episodes", "Goal", "Horizon",
    "Json", "Log", "Model", "NumEnvs", "OptionalRun", "Output", "Pictures", "Precision", "Quiet", "RecipeName",
    "ReplicaCores", "Replicas", "Resume", "Seed", "Steps", "Task", "Workers", "check_replicas", "named_or_newest",
    "sentences", "which_checkpoint",
]  # fmt: skip

Task = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="A task file, a built-in task's name (splits), or an environment ID.",
        autocompletion=complete_tasks,
    ),
]  # fmt: skip
OptionalRun = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run folder, or zoo:TASK (see `vlmrm zoo`); the newest of ./runs if none is named.",
        autocompletion=complete_runs,
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", min=1, help="Environment steps, all environments together.")
]
Algorithm = Annotated[
    str | None,
    typer.Option(
        "--algorithm",
        metavar="NAME",
        help="Any algorithm of stable-baselines3 or sb3-contrib, such as PPO, SAC or QR-DQN.",
    ),
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="A recipe of the task's `training:` section.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Reward model: `embedded`, any open_clip model as architecture/pretrained-tag, openai:NAME@URL or http://HOST:PORT.",
    ),
]
Goal = Annotated[
    list[str] | None,
    typer.Option("--goal", metavar="SENTENCE", help="Goal prompt; give it several times to average several sentences."),
]
Baseline = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline", metavar="SENTENCE", help="Baseline prompt: the scene without the goal; may be repeated."
    ),
]
Alpha = Annotated[
    float | None, typer.Option("--alpha", metavar="X", min=0, max=1, help="Strength of goal-baseline regularisation.")
]
Alphas = Annotated[
    list[float] | None,
    typer.Option(
        "--alpha", metavar="X", min=0, max=1, help="Strength of goal-baseline regularisation; may be repeated."
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="Where the reward model runs: auto, cpu, cuda, cuda:1.")
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="KIND", help="Arithmetic of the image tower: auto, fp32, bf16, fp16, or int8 on a CPU."
    ),
]
NumEnvs = Annotated[
    int | None, typer.Option("--num-envs", metavar="N", min=1, help="Environments that are stepped together.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Processes that simulate and draw; one per usable core if not given."
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="Seed of everything random.")]
Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="The folder to make and write to.")]
Resume = Annotated[
    Path | None, typer.Option("--resume", metavar="RUN", help="Go on with this run from its last checkpoint.")
]
Episodes = Annotated[int, typer.Option("--episodes", metavar="N", min=1, help="Episodes to play.")]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", metavar="WHICH", help="Which policy: `best` (by VLM reward), `last`, or a step.")
]
Horizon = Annotated[
    int | None,
    typer.Option("--horizon", min=1, help="Steps of an episode beyond the task's own: is what was reached held?"),
]
Pictures = Annotated[
    Path | None,
    typer.Option("--pictures", metavar="DIR", help="Your own pictures in DIR/goal and DIR/other, for any environment."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="A Ray cluster: HOST:PORT, or auto for this machine's own (or a new) one."
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        "--replicas", metavar="N", min=1, help="Copies of the reward model there; one per free accelerator, or core."
    ),
]
ReplicaCores = Annotated[
    int | None, typer.Option("--replica-cores", metavar="N", min=1, help="Cores of each copy; 1 if not given.")
]
Log = Annotated[
    list[str] | None,
    typer.Option("--log", metavar="TRACKER", help="Log to wandb or trackio as well; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing on stdout and show no progress.")]


def sentences(prompts: list[str] | None) -> str | list[str] | None:
    """Return a repeated prompt option as task files write it."""
    return prompts[0] if prompts and len(prompts) == 1 else prompts or None


def which_checkpoint(text: str) -> Literal["best", "last"] | int:
    """Return the policy that ``--checkpoint`` names.

    Raises:
        typer.BadParameter: neither ``best``, ``last`` nor a step.
    """
    if text.isdecimal():
        return int(text)
    names: dict[str, Literal["best", "last"]] = {"best": "best", "last": "last"}
    if text in names:
        return names[text]
    raise typer.BadParameter(f"'{text}' is neither best, last nor a step", param_hint="--checkpoint")


def check_replicas(cluster: str | None, replicas: int | None, cores: int | None) -> None:
    """Raise typer.BadParameter where copies of the reward model are asked for without a cluster."""
    if cluster is None and (replicas is not None or cores is not None):
        raise typer.BadParameter("copies of the reward model are a cluster's; give --cluster", param_hint="--replicas")


def named_or_newest(run: Path | None, *, playable: bool = True) -> Path:
    """Return the run that was named, else the newest of ``./runs``, and say which; `playable`: it has a checkpoint.

    Raises:
        typer.BadParameter: none was named, and there is none.
    """
    if run is not None:
        return run
    from gym_vlmrm.errors import RunError
    from gym_vlmrm.learning.runs import newest_run

    try:
        path = newest_run(playable=playable).path
    except RunError as error:
        raise typer.BadParameter(str(error), param_hint="RUN") from None
    note(f"no run was named; taking the newest, {path}")
    return path
