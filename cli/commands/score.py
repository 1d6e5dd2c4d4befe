"""`vlmrm score`: what does the reward say of pictures, films, data sets?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import print_json, print_table, say
from ..options import Alpha, Baseline, Device, Goal, Json, Model, Quiet, Task, sentences
from ..paying import MaxQueries, PricePerQuery
from ..progress import number, phase_bar

if TYPE_CHECKING:
    from gym_vlmrm.footage.scores import ClipScores, FootageScores

__all__ = ["score"]

SHOWN = 30
"""Most pictures that the terminal lists."""
Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES...", help="Pictures, films, folders of them, or data sets of Minari (.hdf5) or LeRobot."
    ),
]
Table = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="A table of every frame: .csv or .parquet.")
]
Curve = Annotated[
    Path | None, typer.Option("--curve", metavar="FILE", help="Reward over time as a picture: .png, .svg or .pdf.")
]
Film = Annotated[
    Path | None, typer.Option("--film", metavar="FILE", help="The frames with sentence and reward over them: .mp4.")
]
Progress = Annotated[
    bool, typer.Option("--progress", help="Rank correlation of reward and time: does it grow along each clip?")
]
Camera = Annotated[
    str | None, typer.Option("--camera", metavar="NAME", help="Which pictures of a data set; its first by default.")
]


def score(
    task: Task,
    files: Sources,
    model: Model = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    output: Table = None,
    curve: Curve = None,
    film: Film = None,
    progress: Progress = False,
    camera: Camera = None,
    device: Device = None,
    max_queries: MaxQueries = None,
    price_per_query: PricePerQuery = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score pictures, films or data sets by a task's reward, without any environment.

    Frames that are not square are padded, as those of environments are.
    """
    from gym_vlmrm.footage.clips import open_clips
    from gym_vlmrm.footage.scores import check_one_view, score_clips
    from gym_vlmrm.footage.writing import check_names, write_curve, write_film, write_table
    from gym_vlmrm.reward import load_reward_model
    from gym_vlmrm.task.catalog import load_task, override

    spec = override(
        load_task(task), model=model, goal=sentences(goal), baseline=sentences(baseline), alpha=alpha, device=device
    )
    check_one_view(spec.reward)
    check_names(output, curve, film, files)
    clips = open_clips(files, camera)
    with phase_bar(shown=not quiet) as on_progress:
        scores = score_clips(spec, load_reward_model(spec), clips, on_progress)
        if film is not None:
            write_film(scores, clips, film)
    if output is not None:
        write_table(scores, output)
    if curve is not None:
        write_curve(scores, curve)
    if json:
        print_json(scores.model_dump(mode="json"))
    elif not quiet:
        _print(scores, progress)
        for path in (output, curve, film):
            if path is not None:
                say(f"wrote {path}")


def _print(scores: "FootageScores", progress: bool) -> None:
    goal = scores.goal if isinstance(scores.goal, str) else "; ".join(scores.goal)
    title = f"{goal} (model {scores.model})"
    clips = scores.clips
    if len(clips) == 1 and clips[0].times[0] is None and len(clips[0].frames) <= SHOWN:
        clip = clips[0]
        print_table(("frame", "reward"), list(zip(clip.frames, map(_reward, clip.rewards), strict=True)), title=title)
        if progress:
            say(f"progress: {number(clip.progress, '.3f')} (rank correlation of reward and order)")
        return
    columns = ["clip", "frames", "mean", "lowest", "highest", "best frame", *(["progress"] if progress else [])]
    print_table(columns, [_row(clip)[: len(columns)] for clip in clips], title=title, whole=0, spare=("lowest",))
    if progress:
        say("progress: rank correlation of reward and time, -1 to 1")


def _row(clip: "ClipScores") -> list[str]:
    best, time = clip.frames[clip.best], clip.times[clip.best]
    return [
        clip.name,
        f"{len(clip.frames):,}",
        _reward(clip.mean),
        _reward(min(clip.rewards)),
        _reward(max(clip.rewards)),
        best if time is None else f"{best} ({time:.2f} s)",
        number(clip.progress, ".3f"),
    ]


def _reward(value: float) -> str:
    return f"{value:.4f}"
