"""`vlmrm check`: is a task file right?"""

import shlex
from typing import TYPE_CHECKING, Any

import typer

from ..console import complain, note, print_json, say
from ..options import Json, Quiet, Task

if TYPE_CHECKING:
    from gym_vlmrm.learning.check import TaskReport
    from gym_vlmrm.task.parts import FadeSpec, Part, SeenSpec, ShapeSpec, WindowSpec
    from gym_vlmrm.task.reward_spec import RewardSpec

__all__ = ["check"]

MOST_SAID = 100
"""Characters of a space in the table; ``--json`` has all of them."""


def check(task: Task, json: Json = False, quiet: Quiet = False) -> None:
    """Check a task file: its words, its environment and rule of success, and its training recipes.

    The reward model is not loaded. Mistakes are printed with file, line and field, and make the exit code 1.
    """
    from gym_vlmrm.learning.check import check_task

    report = check_task(task)
    if json:
        outcome = {"valid": not report.problems, "problems": report.problems, "notes": report.notes}
        words = {"unknown_words": report.unknown_words, "cut_prompts": report.cut_prompts}
        print_json({"task": task, **outcome, **words, **_summary(report)})
    else:
        for problem in report.problems:
            complain(problem)
        for text in report.notes:
            note(text)
        if report.unknown_words and report.taught:
            cure = f"; `vlmrm teach {shlex.quote(task)}` teaches them" if report.task and report.task.captions else ""
            note(f"the model never saw {', '.join(map(repr, report.unknown_words))} in training{cure}")
        if report.cut_prompts:
            from gym_vlmrm.reward.loading import describe_cut

            for sentence, unread in report.cut_prompts.items():
                note(f"the model has no room for the end of a prompt: {describe_cut(sentence, unread)}")
        if not report.problems and not quiet:
            _print_summary(task, _summary(report))
    if report.problems:
        raise typer.Exit(1)


def _summary(report: "TaskReport") -> dict[str, Any]:
    summary: dict[str, Any] = {}
    if report.task is not None:
        task = report.task
        summary |= {
            "id": task.id,
            "goal": task.reward.goal,
            "baseline": task.reward.baseline,
            "alpha": task.reward.alpha,
        }
        if not task.reward.plain:
            summary["parts"] = {part.name: _words(part) for part in task.reward.all_parts}
            summary |= {"combine": task.reward.combine, "task": task.reward.task, **_sections(task.reward)}
        summary |= {"model": task.reward.model, "environment": task.env.id, "success": task.success}
        summary["recipes"] = {name: recipe.algorithm for name, recipe in task.training.items()}
    if report.world is not None:
        world = report.world
        summary |= {"observation": str(world.observation_space), "action": str(world.action_space)}
        summary["max_episode_steps"] = world.max_episode_steps
    return summary


def _words(part: "Part") -> str:
    """Say what a part rewards."""
    seen = [*(part.cameras if part.cameras != ("main",) else ()), *([f"x {part.weight:g}"] if part.weight != 1 else ())]
    return f"{part.said}{' (' + ', '.join(seen) + ')' if seen else ''}"


def _sections(reward: "RewardSpec") -> dict[str, Any]:
    """Say in words which windows, shapes and fades parts and whole have, and when the judge sees success."""
    parts = reward.all_parts
    windows = {part.name: _window(part.window) for part in parts if part.window is not None}
    shapes = {part.name: _shape(part.shape) for part in parts if part.shape is not None}
    fades = {part.name: _fade(part.weight, part.fade) for part in parts if part.fade is not None}
    said: dict[str, Any] = {"windows": windows, "shapes": shapes, "fades": fades}
    said["shape"] = None if reward.shape is None else _shape(reward.shape)
    said["fade"] = None if reward.fade is None else _fade(reward.weight, reward.fade)
    said["success_seen"] = None if reward.success_seen is None else _seen(reward.success_seen)
    return {key: words for key, words in said.items() if words}


def _window(window: "WindowSpec") -> str:
    return f"{window.frames} pictures, stride {window.stride}, join: {window.join}"


def _shape(shape: "ShapeSpec") -> str:
    gamma = "the algorithm's gamma" if shape.gamma is None else f"gamma {shape.gamma:g}"
    return f"potential, {gamma}" if shape.kind == "potential" else shape.kind


def _fade(weight: float, fade: "FadeSpec") -> str:
    after = f" after {fade.after:,}" if fade.after else ""
    return f"weight {weight:g} to {fade.to:g} over {fade.over:,} steps{after}"


def _seen(seen: "SeenSpec") -> str:
    hold = "1 step" if seen.hold == 1 else f"{seen.hold:,} steps"
    return f"above {seen.above:g} for {hold}; {'ends the episode' if seen.ends else 'the episode goes on'}"


def _print_summary(task: str, summary: dict[str, Any]) -> None:
    from gym_vlmrm.task.rules import rule_text
    from gym_vlmrm.task.yaml_file import shorten

    say(f"{task}: valid")
    recipes = ", ".join(f"{name} ({algorithm})" for name, algorithm in summary["recipes"].items())
    parts = {f"part {name}": words for name, words in summary.pop("parts", {}).items()}
    for key, name in (("windows", "window of"), ("shapes", "shape of"), ("fades", "fade of")):
        parts |= {f"{name} {part}": words for part, words in summary.pop(key, {}).items()}
    rows = {**summary, **parts, "recipes": recipes or "none; PPO will be used"}
    for prompt in ("goal", "baseline"):
        if isinstance(rows[prompt], list):
            rows[prompt] = "; ".join(rows[prompt])
    if rows["success"] is not None:
        rows["success"] = rule_text(rows["success"])
    for name, value in rows.items():
        # A space with many bounds is many lines long.
        said = shorten(value, MOST_SAID) if name in ("observation", "action") else value
        say(f"  {name.replace('_', ' '):18} {said if said is not None else 'none'}")
