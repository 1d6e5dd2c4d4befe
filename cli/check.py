"""`vlmrm check`: is a task file right?"""

from typing import TYPE_CHECKING, Any

import typer

from gym_vlmrm_cli.console import complain, note, print_json, say
from gym_vlmrm_cli.options import Json, Quiet, Task

if TYPE_CHECKING:
    from gym_vlmrm.spec import TaskSpec

__all__ = ["check"]


def check(task: Task, json: Json = False, quiet: Quiet = False) -> None:
    """Check a task file: its words, its environment and rule of success, and its training recipes.

    The reward model is not loaded. Mistakes are printed with file, line and field, and make the exit code 1.
    """
    from gym_vlmrm.catalog import load_task
    from gym_vlmrm.errors import TaskError
    from gym_vlmrm.reward.loading import unknown_words

    problems: list[str] = []
    words: list[str] = []
    summary: dict[str, Any] = {}
    try:
        spec = load_task(task)
    except TaskError as error:
        problems.append(str(error))
    else:
        problems, summary = _examine(spec, task)
        words = unknown_words(spec.reward.model, _prompts(spec))
    if json:
        print_json({"task": task, "valid": not problems, "problems": problems, "unknown_words": words, **summary})
    else:
        for problem in problems:
            complain(problem)
        if words:
            note(f"model '{summary['model']}' never saw {', '.join(map(repr, words))} in training")
        if not problems and not quiet:
            _print_summary(task, summary)
    if problems:
        raise typer.Exit(1)


def _prompts(spec: "TaskSpec") -> list[str]:
    prompts = [spec.reward.goal, spec.reward.baseline or []]
    return [text for prompt in prompts for text in ([prompt] if isinstance(prompt, str) else prompt)]


def _examine(spec: "TaskSpec", origin: str) -> tuple[list[str], dict[str, Any]]:
    """Build the environment once and check every recipe against it."""
    from gym_vlmrm.errors import VLMRMError
    from gym_vlmrm.training.inspection import inspect_recipe, inspect_world

    problems: list[str] = []
    summary: dict[str, Any] = {
        "id": spec.id,
        "goal": spec.reward.goal,
        "model": spec.reward.model,
        "environment": spec.env.id,
        "recipes": {name: recipe.algorithm for name, recipe in spec.training.items()},
    }
    try:
        world = inspect_world(spec, draw=True)
    except VLMRMError as error:
        return [f"{origin}: {error}"], summary
    summary |= {"observation": str(world.observation_space), "action": str(world.action_space)}
    summary |= {"max_episode_steps": world.max_episode_steps, "success": spec.success}
    for name, recipe in spec.training.items():
        try:
            inspect_recipe(recipe, world)
        except VLMRMError as error:
            problems.append(f"{origin}: training.{name}: {error}")
    return problems, summary


def _print_summary(task: str, summary: dict[str, Any]) -> None:
    say(f"{task}: valid")
    recipes = ", ".join(f"{name} ({algorithm})" for name, algorithm in summary["recipes"].items())
    rows = {**summary, "recipes": recipes or "none; PPO will be used"}
    for name, value in rows.items():
        say(f"  {name.replace('_', ' '):18} {value if value is not None else 'none'}")
