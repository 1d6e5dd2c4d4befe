"""`vlmrm check`: is a task file right?"""

from typing import TYPE_CHECKING, Any

import typer

from ..console import complain, note, print_json, say
from ..options import Json, Quiet, Task

if TYPE_CHECKING:
    from gym_vlmrm.learning.check import TaskReport
    from gym_vlmrm.task.parts import Part

__all__ = ["check"]


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
        if report.unknown_words:
            note(f"the model never saw {', '.join(map(repr, report.unknown_words))} in training")
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
            summary |= {"combine": task.reward.combine, "task": task.reward.task}
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


def _print_summary(task: str, summary: dict[str, Any]) -> None:
    from gym_vlmrm.task.rules import rule_text

    say(f"{task}: valid")
    recipes = ", ".join(f"{name} ({algorithm})" for name, algorithm in summary["recipes"].items())
    parts = {f"part {name}": words for name, words in summary.pop("parts", {}).items()}
    rows = {**summary, **parts, "recipes": recipes or "none; PPO will be used"}
    for prompt in ("goal", "baseline"):
        if isinstance(rows[prompt], list):
            rows[prompt] = "; ".join(rows[prompt])
    if rows["success"] is not None:
        rows["success"] = rule_text(rows["success"])
    for name, value in rows.items():
        say(f"  {name.replace('_', ' '):18} {value if value is not None else 'none'}")
