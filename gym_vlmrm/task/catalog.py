"""Where tasks are found: names, IDs and paths, each turned into a valid `TaskSpec`, with overrides.

Everybody who takes a task by its name, and everybody who changes one, comes here. The environment variable
``GYM_VLMRM_MODEL`` is read as the `TaskSpec` is made, and by nobody else.
"""

import inspect
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from pydantic import ValidationError

from gym_vlmrm.errors import TaskError, UnknownTaskError, did_you_mean
from gym_vlmrm.task.builtin import ENTRY_POINT, builtin_folder, builtin_headers, builtin_paths
from gym_vlmrm.task.spec import MODEL_VARIABLE, TaskSpec
from gym_vlmrm.task.yaml_file import Document, Location, merge, overlay, read_document, shorten

__all__ = [
    "MODEL_VARIABLE",
    "OVERRIDES",
    "builtin_tasks",
    "load_task",
    "override",
    "task_from_dict",
    "with_captions",
]


@cache
def _builtin_ids() -> dict[str, str]:
    return {task_id: name for name, task_id, _ in builtin_headers()}


def builtin_tasks() -> dict[str, TaskSpec]:
    """Return every built-in task by its short name (the file's name without ``.yaml``)."""
    return {name: load_task(name) for name in builtin_paths()}


def load_task(name: str | os.PathLike[str], *, alone: bool = False) -> TaskSpec:
    """Load a task by short name (``splits``), environment ID (``VLMRM/Humanoid-Splits-v0``) or path of a YAML file.

    IDs are those of built-in tasks and of what `register_task` registered. Where the task names no model, the
    environment variable ``GYM_VLMRM_MODEL`` does, now: it changes no task that was loaded, nor a run's.

    Args:
        name: of the task.
        alone: whether a file must stand alone, without `include:`.

    Raises:
        UnknownTaskError: nothing goes by that name.
        TaskError: the file is wrong; the message names file, line and field.
    """
    text = os.fspath(name)
    known = builtin_paths()
    if text in known:
        return _load_builtin(text)
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            if path.exists():
                raise TaskError(f"no task file at '{text}': it is no regular file")
            raise UnknownTaskError(f"no task file at '{text}'{did_you_mean(path.stem, known)}")
        return _validate(read_document(path, None if alone else builtin_folder()), path)
    ids, registered = _builtin_ids(), _registered_tasks()
    task_id = text.removeprefix("gym_vlmrm:")
    if task_id in ids:
        return _load_builtin(ids[task_id])
    if task_id in registered:
        return task_from_dict(registered[task_id], origin=task_id)
    names = [*known, *((*ids, *registered) if re.search(r"/|-v\d+$", text) else ())]
    raise UnknownTaskError(f"unknown task '{text}'{did_you_mean(text, names)}")


def _load_builtin(name: str) -> TaskSpec:
    return _validate(_builtin_document(name), builtin_paths()[name])


@cache
def _builtin_document(name: str) -> Document:
    # Only what the file says is kept: the model of a task that names none is asked for each time.
    return read_document(builtin_paths()[name], builtin_folder())


def _registered_tasks() -> dict[str, dict[str, Any]]:
    """Tasks of the user's own that are registered with Gymnasium, by ID."""
    ours = (spec for spec in gym.registry.values() if spec.entry_point == ENTRY_POINT)
    return {spec.id: spec.kwargs["task"] for spec in ours if isinstance(spec.kwargs.get("task"), dict)}


def task_from_dict(data: Mapping[str, Any], origin: str = "task") -> TaskSpec:
    """Validate plain data (from JSON, say) as a task.

    Raises:
        TaskError: the data is no task; the message names the field.
    """
    try:
        return TaskSpec.model_validate(dict(data))
    except ValidationError as error:
        raise TaskError(f"{origin}: {_explain(error)[1]}") from None


def override(
    task: TaskSpec,
    *,
    model: str | None = None,
    goal: str | list[str] | None = None,
    baseline: str | list[str] | None = None,
    alpha: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    scene: str | Mapping[str, Any] | None = None,
    render_size: int | None = None,
    max_episode_steps: int | None = None,
) -> TaskSpec:
    """Return the task with the given values replaced; ``None`` keeps what the task says.

    Of a reward made of parts, `model`, `baseline` and `alpha` change what parts that name none go by, and `goal` the
    part ``reward.goal``.

    Raises:
        TaskError: a value is not allowed, or there is no ``reward.goal`` to replace; the message names the field.
    """
    if goal is not None and task.reward.goal is None:
        message = f"{task.id}: reward.goal: the reward is made of parts and has no goal to replace; change its parts"
        raise TaskError(message, field=("reward", "goal"))
    reward = {
        "model": model,
        "goal": list(goal) if isinstance(goal, tuple) else goal,
        "baseline": list(baseline) if isinstance(baseline, tuple) else baseline,
        "alpha": float(alpha) if isinstance(alpha, SupportsFloat) else alpha,
        "device": device,
        "precision": precision,
    }
    changes: dict[str, Any] = {
        "reward": {key: value for key, value in reward.items() if value is not None},
        "scene": {"look": scene} if isinstance(scene, str) else dict(scene or {}),
        "env": {} if max_episode_steps is None else {"max_episode_steps": _plain(max_episode_steps)},
    }
    if render_size is not None:
        changes["scene"]["render_size"] = _plain(render_size)
    if not any(changes.values()):
        return task
    # The task's model stays even where only the environment variable named it, which may say something else by now.
    told = merge(task.model_dump(exclude_unset=True), {"reward": {"model": task.reward.model}})
    return task_from_dict(overlay(told, changes), origin=task.id)


def with_captions(task: TaskSpec, path: str | os.PathLike[str]) -> TaskSpec:
    """Return the task with the captions of a YAML file, whose only key is ``captions``, instead of its own.

    Raises:
        TaskError: the file is wrong; the message names file, line and field.
    """
    place = Path(path)
    document = read_document(place, builtin_folder())
    for key in document.data:
        if key != "captions":
            where = document.places.get((key,), place)
            raise TaskError(f"{where}: {shorten(str(key))}: unknown key; a file of captions has one key, 'captions'")
    if not document.data.get("captions"):
        raise TaskError(f"{place}: holds no captions; write 'captions:' and a list of sentences with rules")
    told = merge(task.model_dump(exclude_unset=True), {"reward": {"model": task.reward.model}})
    return _validate(Document({**told, "captions": document.data["captions"]}, document.places), place)


OVERRIDES = tuple(inspect.signature(override).parameters)[1:]
"""Names of what can be replaced."""


def _plain(number: Any) -> Any:
    """A number of NumPy as Python's own; anything else as it is, for the specification to judge."""
    return number.item() if isinstance(number, np.generic) else number


def _validate(document: Document, path: Path) -> TaskSpec:
    try:
        return TaskSpec.model_validate(document.data)
    except ValidationError as error:
        location, message = _explain(error)
        while location and location not in document.places:
            location = location[:-1]
        raise TaskError(f"{document.places.get(location, path)}: {shorten(message, 400)}") from None


def _explain(error: ValidationError) -> tuple[Location, str]:
    """Return the location of one mistake, and one line that says what would have been right."""
    errors = error.errors()
    # A misspelt key is the cause of the missing one that is complained about before it.
    first = next((mistake for mistake in errors if mistake["type"] == "extra_forbidden"), errors[0])
    # Union members appear in pydantic's location as type names that the file does not contain.
    misplaced = first.get("ctx", {}).get("at", ())
    location = tuple(part for part in (*first["loc"], *misplaced) if not _MEMBER.match(str(part)))
    field = ".".join(map(str, location)) or "task"
    if first["type"] == "extra_forbidden":
        return location, f"{field}: unknown key{did_you_mean(str(location[-1]), _known_keys(location))}"
    if first["type"] == "missing":
        entry = next((part for part in reversed(location[:-1]) if isinstance(part, str)), "task").removesuffix("s")
        listed = any(isinstance(part, int) for part in location)
        return location, f"{field}: missing; every {entry if listed else 'task'} needs it"
    reason = re.sub(r" or instance of \w+", "", first["msg"].removeprefix("Value error, "))
    given = "" if first["type"] == "value_error" else f", got {shorten(repr(first['input']))}"
    return location, f"{field}: {reason[:1].lower() + reason[1:]}{given}"


_MEMBER = re.compile(r"(constrained-)?(str|list|dict)\b|list\[|function-|[A-Z]\w*Spec\b")


def _known_keys(location: Location) -> list[str]:
    """Keys allowed where an unknown one was found."""
    model: Any = TaskSpec
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        candidates = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        if field is None and hasattr(model, "model_fields") is False:
            return []
        nested = [candidate for candidate in candidates if hasattr(candidate, "model_fields")]
        model = nested[0] if nested else model
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]
