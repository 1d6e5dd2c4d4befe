"""Everything that can be wrong with a task file, each with file and line, without loading a reward model."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gym_vlmrm.builtin import builtin_folder
from gym_vlmrm.catalog import load_task
from gym_vlmrm.errors import TaskError, VLMRMError
from gym_vlmrm.reward.loading import cut_prompts, unknown_words
from gym_vlmrm.spec import TaskSpec
from gym_vlmrm.task_files import Location, Place, read_document
from gym_vlmrm.training.inspection import World, inspect_recipe, inspect_world

__all__ = ["TaskReport", "check_task"]


@dataclass
class TaskReport:
    """What a task is, and what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    """One line each."""
    task: TaskSpec | None = None
    world: World | None = None
    unknown_words: list[str] = field(default_factory=list)
    """Words of the prompts that the model never saw in training."""
    cut_prompts: dict[str, str] = field(default_factory=dict)
    """Prompts that are longer than what the model reads, each with its end that is not read."""


def check_task(name: str) -> TaskReport:
    """Read a task, build its environment once, and check its recipes against it.

    Args:
        name: a task file, a built-in task's name, or an environment ID.
    """
    report = TaskReport()
    try:
        report.task = task = load_task(name)
    except TaskError as error:
        report.problems.append(str(error))
        return report
    sentences = [*task.reward.goals, *task.reward.baselines]
    report.unknown_words = unknown_words(task.reward.model, sentences)
    report.cut_prompts = cut_prompts(task.reward.model, sentences)
    places = _places(name)
    try:
        report.world = inspect_world(task, draw=True)
    except VLMRMError as error:
        report.problems.append(_locate(str(error), _field_of_world(str(error)), places, name))
        return report
    for recipe_name, recipe in task.training.items():
        try:
            inspect_recipe(recipe, report.world)
        except VLMRMError as error:
            message = f"training.{recipe_name}: {error}"
            report.problems.append(_locate(message, ("training", recipe_name), places, name))
    return report


def _places(name: str) -> dict[Location, Place]:
    path = next((path for path in (builtin_folder() / f"{name}.yaml", Path(name)) if path.is_file()), None)
    return {} if path is None else read_document(path, builtin_folder()).places


def _field_of_world(message: str) -> Location:
    for part in ("success", "scene", "env"):
        if re.search(rf"\b{part}\b", message):
            return (part,)
    return ("env",)


def _locate(message: str, location: Location, places: dict[Location, Place], origin: str) -> str:
    """Put file and line before a message: those of the key or value that it quotes, else of the location."""
    quoted = re.findall(r"'([^']+)'", message)[:2]
    below: list[Any] = [place for place in places if place[: len(location)] == location]
    for word in quoted:
        for candidate in below:
            if candidate[-1] == word:
                return f"{places[candidate]}: {message}"
    for ending in ("algorithm", "id"):
        if (*location, ending) in places:
            return f"{places[(*location, ending)]}: {message}"
    return f"{places.get(location, origin)}: {message}"
