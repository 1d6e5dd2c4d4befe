"""A run as one HTML file: learning curves, success, film, settings, versions."""

import os
import shlex
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.files import make_folder, read_bytes, write_json, write_text
from gym_vlmrm.learning.recipes import choose_recipe
from gym_vlmrm.learning.reward_check import FRAME_KINDS
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import run_summary
from gym_vlmrm.reports.charts import curve_chart, episode_chart, gaps, scatter_chart
from gym_vlmrm.reports.page import data_uri, render
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.yaml_file import yaml_text

__all__ = ["report_run"]

_TWO = ("training", "checkpoints")
CURVES: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    ("VLM reward per step", "vlm_reward", ("rollout/vlm_reward", "eval/vlm_reward")),
    ("share of steps in success", "success_share", ("rollout/success", "eval/success")),
    ("share of steps in success, as the judge sees it", None, ("rollout/success_seen",)),
    ("task reward per step", "task_reward", ("rollout/task_reward", "eval/task_reward")),
    ("steps per episode", "episode_length", ("rollout/episode_length",)),
    ("steps per second", None, ("time/steps_per_second",)),
)
"""Title of a chart, what an evaluation calls it, and the columns of ``metrics.csv`` that it draws, `_TWO` at most."""
PARTS = "reward_parts/"
"""Beginning of the columns of what a reward is made of."""
PLAYED = (("trained", "policy"), ("random", "random"))
MAX_FILM_BYTES = 6_000_000
MAX_FRAME_BYTES = 2_000_000
MAX_FRAMES = 8
SCORES = (
    ("success_rate", "episodes in success (at least half of the steps)"),
    ("success_share", "share of steps in success"),
    ("hold", "hold: the same over the last half"),
    ("held_rate", "episodes held (90% of the last half)"),
    ("vlm_reward", "VLM reward per step"),
    ("task_reward", "task reward per step"),
    ("episode_length", "steps per episode"),
)


def report_run(run: RunFolder | str | os.PathLike[str], output: Path | None = None) -> Path:
    """Write ``report.html`` and ``report.json`` of a run into its folder, or into `output`; returns the HTML's path.

    Raises:
        RunError: no such run, or it is damaged, or the report cannot be written.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    summary, task = run_summary(folder), folder.task
    place = output or folder.path
    evaluation = summary["evaluation"]
    text = render(
        "run.html.j2",
        run=summary,
        name=folder.path.resolve().name,
        said=task.reward.said,
        charts=_charts(summary["metrics"], (evaluation or {}).get("random", {})),
        episode=_episode_chart(evaluation),
        frames=_frames(folder.path, evaluation),
        sheet=_picture(folder.path / "eval" / "best_frames.png"),
        commands=_commands(folder, evaluation),
        scatter=_check_chart(evaluation),
        scores=SCORES,
        columns=_columns(evaluation),
        film=_film(folder.path),
        recipe=yaml_text(folder.record.recipe.model_dump()),
        task=yaml_text(task.model_dump(exclude_none=True), width=90),
    )
    make_folder(place)
    write_text(place / "report.html", text)
    write_json(place / "report.json", summary)
    return place / "report.html"


def _columns(evaluation: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """What was played, with its scores; also until a longer horizon, where one was asked for."""
    if evaluation is None:
        return []
    columns, longer = [(name, evaluation[key]) for name, key in PLAYED], evaluation.get("longer")
    if longer:
        columns += [(f"{name}, {longer['horizon']} steps", longer[key]) for name, key in PLAYED]
    return columns


def _charts(metrics: dict[str, list[float | None]], random: dict[str, Any]) -> list[str]:
    steps = gaps(metrics.get("step", []))
    charts = []
    for title, field, columns in CURVES:
        curves = []
        for column, name in zip(columns, _TWO, strict=False):
            values = metrics.get(column, [])
            if sum(value is not None for value in values) >= 1:
                curves.append((name, steps, gaps(values)))
        level = None if field is None else random.get(field)
        if curves:
            charts.append(curve_chart(title, curves, level=None if level is None else ("random policy", level)))
    of_parts = {name: values for name, values in metrics.items() if name.startswith(PARTS)}
    if of_parts:
        curves = [(name.removeprefix(PARTS), steps, gaps(values)) for name, values in of_parts.items()]
        charts.append(curve_chart("value of each part per step", curves))
    return charts


def _episode_chart(evaluation: dict[str, Any] | None) -> str | None:
    film = (evaluation or {}).get("film")
    if not film:
        return None
    return episode_chart(
        [(name, film[name]["vlm_rewards"]) for name in ("trained", "random")], film["trained"]["successes"]
    )


def _frames(folder: Path, evaluation: dict[str, Any] | None) -> list[tuple[str, list[tuple[str, float]]]]:
    """Best, median and worst frames with their rewards, as far as they are there."""
    told = (evaluation or {}).get("frames", {})
    found: list[tuple[str, list[tuple[str, float]]]] = []
    for kind in FRAME_KINDS:
        rated = []
        for number, reward in enumerate(told.get(kind, [])[:MAX_FRAMES], 1):
            uri = _picture(folder / "eval" / "frames" / f"{kind}-{number}.png")
            if uri is not None:
                rated.append((uri, reward))
        if rated:
            found.append((kind, rated))
    return found


def _picture(path: Path) -> str | None:
    if path.exists() and path.stat().st_size <= MAX_FRAME_BYTES:
        return data_uri(read_bytes(path, MAX_FRAME_BYTES), "image/png")
    return None


def _commands(folder: RunFolder, evaluation: dict[str, Any] | None) -> list[str] | None:
    """What to type to train and evaluate such a run again; ``None`` where its recipe was made in Python."""
    task, record, place = folder.task, folder.record, str(folder.path)
    name = short_name(task.id)
    try:
        named = load_task(name) == task
    except VLMRMError:
        named = False
    words = ["vlmrm", "train", name if named else f"{place}/task.yaml"]
    given: dict[str, Any] = {}
    wanted = record.recipe
    try:
        plain_name, plain = choose_recipe(task)
        if record.recipe_name != plain_name:
            words += ["--recipe", record.recipe_name]
            _, plain = choose_recipe(task, record.recipe_name)
        if plain.algorithm != wanted.algorithm:
            given["algorithm"] = wanted.algorithm
        given |= {
            key: getattr(wanted, key) for key in ("steps", "num_envs") if getattr(plain, key) != getattr(wanted, key)
        }
        if choose_recipe(task, record.recipe_name, **given)[1] != wanted:
            return None
    except VLMRMError:
        return None
    for key, value in given.items():
        words += ["--" + key.replace("_", "-"), str(value)]
    commands = [shlex.join([*words, "--seed", str(record.seed)])]
    if evaluation:
        options = ["--episodes", str(evaluation["policy"]["episodes"]), "--seed", str(evaluation["seed"])]
        best = folder.best
        if best is None or best.step != evaluation["checkpoint"]:
            options += ["--checkpoint", str(evaluation["checkpoint"])]
        commands.append(shlex.join(["vlmrm", "eval", place, *options]))
    return commands


def _check_chart(evaluation: dict[str, Any] | None) -> str | None:
    """Draw reward against success per episode, where the evaluation noted them."""
    check = (evaluation or {}).get("reward_check")
    if not check or any(row["success_share"] is None for row in check["episodes"]):
        return None
    groups = []
    for policy in ("random", "trained"):
        rows = [row for row in check["episodes"] if row["policy"] == policy]
        groups.append((policy, [row["vlm_reward"] for row in rows], [row["success_share"] for row in rows]))
    return scatter_chart(
        "Reward against success by episode", groups, "VLM reward per step", "share of steps in success"
    )


def _film(folder: Path) -> dict[str, str] | None:
    """The film as a data address: what can be stopped and sought through, else the GIF."""
    for name, kind in (("video.mp4", "video/mp4"), ("video.gif", "image/gif")):
        path = folder / name
        if path.exists() and path.stat().st_size <= MAX_FILM_BYTES:
            return {"uri": data_uri(read_bytes(path, MAX_FILM_BYTES), kind), "kind": kind.partition("/")[0]}
    return None
