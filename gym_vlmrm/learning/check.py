"""`vlmrm check`: all that can be wrong with a task file, each with file and line, without loading a reward model."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from gym_vlmrm.errors import TaskError, VLMRMError
from gym_vlmrm.learning.asking.checks import check_asking
from gym_vlmrm.learning.building import with_gamma
from gym_vlmrm.learning.caption_check import caption_notes, check_captions, impossible_notes
from gym_vlmrm.learning.frame_watch import plain_words
from gym_vlmrm.learning.inspection import WorldFacts, inspect_recipe, inspect_world
from gym_vlmrm.learning.recipe_check import recipe_notes
from gym_vlmrm.learning.recipes import FALLBACK
from gym_vlmrm.reward.loading import check_watcher, cut_prompts, stranger_note, stranger_to, unknown_words
from gym_vlmrm.task.builtin import builtin_folder
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import Location, Place, read_document

__all__ = ["TaskReport", "check_task"]


@dataclass
class TaskReport:
    """What a task is, and what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    """One line each."""
    task: TaskSpec | None = None
    world: WorldFacts | None = None
    taught: bool = True
    """Whether no model of the task's waits to be taught its captions; until then it never saw their words either."""
    unknown_words: list[str] = field(default_factory=list)
    """Words of the prompts that the model never saw in training."""
    notes: list[str] = field(default_factory=list)
    """What is allowed, but hardly meant; one line each."""
    cut_prompts: dict[str, str] = field(default_factory=dict)
    """Prompts that are longer than what the model reads, each with its end that is not read."""


def check_task(name: str) -> TaskReport:
    """Read a task, build its environment once, make one step, draw one frame, and check its recipes against it.

    Args:
        name: a task file, a built-in task's name, or an environment ID.
    """
    report = TaskReport()
    try:
        report.task = task = load_task(name)
    except TaskError as error:
        report.problems.append(str(error))
        return report
    places = _places(name)
    for part in task.reward.all_parts:
        sentences, motion = [*part.goals, *part.baselines], part.sees_films
        if motion:
            try:
                check_watcher(part.model)
            except VLMRMError as error:
                report.problems.append(_locate(str(error), ("reward", *part.at, "window", "join"), places, name))
                continue
        else:
            report.cut_prompts |= cut_prompts(part.model, sentences)
        unknown = unknown_words(part.model, sentences, motion=motion)
        report.unknown_words += [word for word in unknown if word not in report.unknown_words]
    stranger = stranger_to(task)
    if stranger is not None and task.captions:
        report.taught = False
        teach = f"vlmrm teach {shlex.quote(name)}"
        report.notes.append(
            f"the captions wait to be taught: `{teach}` makes a model of them ('{stranger}' never saw {task.env.id})"
        )
    elif stranger is not None:
        report.notes.append(stranger_note(task, stranger) or "")
    report.notes += [_locate(text, location, places, name) for text, location in caption_notes(task)]
    try:
        report.world = inspect_world(task, draw=True)
    except VLMRMError as error:
        report.problems.append(_locate(str(error), error.field or ("env", "id"), places, name))
        return report
    try:
        check_captions(task)
    except VLMRMError as error:
        report.problems.append(_locate(str(error), error.field or ("captions",), places, name))
    impossible = impossible_notes(task, report.world.observation_space)
    report.notes += [_locate(text, location, places, name) for text, location in impossible]
    if report.world.only_colour is not None:
        words = f"frames {plain_words(report.world.only_colour)}"
        report.notes.append(_locate(words, ("scene", "camera"), places, name))
    if not task.training:  # what `vlmrm train` would do
        try:
            inspect_recipe(FALLBACK, report.world)
            check_asking(task, FALLBACK, report.world)
        except VLMRMError as error:
            report.problems.append(_locate(str(error), _of_task(error, ("env",)), places, name))
    for recipe_name, recipe in task.training.items():
        try:
            inspect_recipe(recipe, report.world)
            check_asking(task, recipe, report.world)
        except VLMRMError as error:
            location = _of_task(error, ("training", recipe_name, *(error.field or ("algorithm",))))
            report.problems.append(_locate(f"training.{recipe_name}: {error}", location, places, name))
            continue
        for text, location in recipe_notes(recipe):
            where = ("training", recipe_name, *location)
            report.notes.append(_locate(f"training.{recipe_name}: {text}", where, places, name))
        try:
            with_gamma(task, recipe)
        except TaskError as error:
            report.problems.append(_locate(f"recipe '{recipe_name}': {error}", error.field, places, name))
    return report


def _of_task(error: VLMRMError, otherwise: Location) -> Location:
    """Where a mistake stands: in the section ``reward`` if it says so."""
    return error.field if error.field[:1] == ("reward",) else otherwise


def _places(name: str) -> dict[Location, Place]:
    path = next((path for path in (builtin_folder() / f"{name}.yaml", Path(name)) if path.is_file()), None)
    return {} if path is None else read_document(path, builtin_folder()).places


def _locate(message: str, location: Location, places: dict[Location, Place], origin: str) -> str:
    """Put before a message where its value was written, or the nearest section that was."""
    for length in range(len(location), 0, -1):
        place = places.get(location[:length])
        if place is not None:
            return f"{place}: {message}"
    return f"{origin}: {message}"
