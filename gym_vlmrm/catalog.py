"""Where tasks are found and how a task file is read: names, `include:`, and errors with file, line and field."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from gym_vlmrm.errors import TaskError, UnknownTaskError, did_you_mean
from gym_vlmrm.spec import TaskSpec

__all__ = ["MODEL_VARIABLE", "builtin_folder", "builtin_headers", "builtin_tasks", "load_task", "override", "read_raw", "task_from_dict"]

MODEL_VARIABLE = "GYM_VLMRM_MODEL"
"""Environment variable that replaces the model of every task whose file names none."""
MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_INCLUDES = 8

_Location: TypeAlias = tuple[str | int, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TaskLoader(_Loader):  # type: ignore[misc, valid-type]
    """YAML 1.1, except that `6e-4` is a number as everybody expects."""


_TaskLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class _Place:
    """Where a value was written."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass
class _Document:
    """A task file before validation: plain data, and where each of its values was written."""

    data: dict[str, Any]
    places: dict[_Location, _Place]


def builtin_folder() -> Path:
    """Folder of the built-in task files, in a source tree and in an installed package alike."""
    installed = find_spec("gym_vlmrm_tasks")
    if installed is not None and installed.submodule_search_locations:
        return Path(next(iter(installed.submodule_search_locations)))
    return Path(__file__).parent.parent / "tasks"


@cache
def _builtin_paths() -> dict[str, Path]:
    paths = sorted(builtin_folder().glob("*.yaml"))
    return {path.stem: path for path in paths if not path.name.startswith("_")}


def builtin_headers() -> list[tuple[str, str, int | None]]:
    """Return ``(short name, environment ID, max_episode_steps)`` of every built-in task, without validating it."""
    raw = {name: read_raw(path) for name, path in _builtin_paths().items()}
    return [(name, data["id"], data["env"].get("max_episode_steps")) for name, data in raw.items()]


@cache
def _builtin_ids() -> dict[str, str]:
    return {task_id: name for name, task_id, _ in builtin_headers()}


def builtin_tasks() -> dict[str, TaskSpec]:
    """Return every built-in task by its short name (the file's name without ``.yaml``)."""
    return {name: load_task(name) for name in _builtin_paths()}


def load_task(name: str | os.PathLike[str]) -> TaskSpec:
    """Load a task by short name (``splits``), environment ID (``VLMRM/Humanoid-Splits-v0``) or path of a YAML file.

    Raises:
        UnknownTaskError: nothing goes by that name.
        TaskError: the file is wrong; the message names file, line and field.
    """
    text = os.fspath(name)
    known = _builtin_paths()
    if text in known:
        return _load_builtin(text)
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise UnknownTaskError(f"no task file at '{text}'{_suggest(path.stem, known)}")
        return _validate(_read(path), path)
    ids = _builtin_ids()
    if text.removeprefix("gym_vlmrm:") in ids:
        return _load_builtin(ids[text.removeprefix("gym_vlmrm:")])
    raise UnknownTaskError(f"unknown task '{text}'{_suggest(text, [*known, *(ids if '/' in text else ())])}")


@cache
def _load_builtin(name: str) -> TaskSpec:
    path = _builtin_paths()[name]
    return _validate(_read(path), path)


def _suggest(given: str, known: Any) -> str:
    return did_you_mean(given, known)


def read_raw(path: Path) -> dict[str, Any]:
    """Read a task file with its includes merged, as plain data that nothing has validated."""
    return _read(path).data


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

    Where neither the call nor the task file names a model, the environment variable ``GYM_VLMRM_MODEL`` does.

    Raises:
        TaskError: a value is not allowed; the message names the field.
    """
    if model is None and "model" not in task.reward.model_fields_set:
        model = os.environ.get(MODEL_VARIABLE) or None
    reward = {
        "model": model,
        "goal": goal,
        "baseline": baseline,
        "alpha": None if alpha is None else float(alpha),
        "device": device,
        "precision": precision,
    }
    changes: dict[str, Any] = {
        "reward": {key: value for key, value in reward.items() if value is not None},
        "scene": {"look": scene} if isinstance(scene, str) else dict(scene or {}),
        "env": {} if max_episode_steps is None else {"max_episode_steps": max_episode_steps},
    }
    if render_size is not None:
        changes["scene"]["render_size"] = render_size
    if not any(changes.values()):
        return task
    return task_from_dict(_merge(task.model_dump(mode="json", exclude_unset=True), changes), origin=task.id)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `top` win."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read(path: Path, trail: tuple[Path, ...] = ()) -> _Document:
    """Read one file and what it includes; raises TaskError with file and line."""
    resolved = path.resolve()
    if resolved in trail:
        chain = " -> ".join(p.name for p in (*trail, resolved))
        raise TaskError(f"{trail[-1]}: include goes round in a circle ({chain}); remove one of the includes")
    if len(trail) >= MAX_INCLUDES:
        raise TaskError(f"{path}: more than {MAX_INCLUDES} nested includes")
    document = _parse(path)
    if "include" not in document.data:
        return document
    name = document.data.pop("include")
    place = document.places[("include",)]
    if not isinstance(name, str):
        raise TaskError(f"{place}: include: needs the name of one file, got {name!r}")
    base = _read(_find_include(name, path, place), (*trail, resolved))
    places = {**base.places, **document.places}
    return _Document(_merge(_expand_scene(base.data), _expand_scene(document.data)), places)


def _expand_scene(data: dict[str, Any]) -> dict[str, Any]:
    # `scene: original` in one file must merge with `scene: {camera: ...}` in another.
    scene = data.get("scene")
    return {**data, "scene": {"look": scene}} if isinstance(scene, str) else data


def _find_include(name: str, path: Path, place: _Place) -> Path:
    for folder in (path.parent, builtin_folder()):
        if (folder / name).is_file():
            return folder / name
    bases = [p.name for folder in (path.parent, builtin_folder()) for p in folder.glob("_*.yaml")]
    raise TaskError(f"{place}: include: no file '{name}' beside it or among the built-in bases{_suggest(name, bases)}")


def _parse(path: Path) -> _Document:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TaskError(f"{path}: {size:,} bytes is no task file; the limit is {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise TaskError(f"{path}: is not UTF-8 text") from None
    loader = _TaskLoader(text)
    try:
        root = loader.get_single_node()
        builder = _Builder(path, loader)
        data = builder.build(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "; use spaces, not tabs" if "\\t" in str(error.problem) else ""
        raise TaskError(f"{path}:{line}: not valid YAML: {error.problem}{hint}") from None
    except yaml.YAMLError as error:
        raise TaskError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise TaskError(f"{path}:1: a task file is a mapping of keys such as id, env and reward, got {_kind(data)}")
    return _Document(data, builder.places)


def _kind(value: Any) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


class _Builder:
    """Turns YAML nodes into plain data, remembers places, and refuses duplicate keys and alias bombs."""

    def __init__(self, path: Path, loader: Any) -> None:
        self.path = path
        self.loader = loader
        self.places: dict[_Location, _Place] = {}
        self.nodes = 0

    def build(self, node: yaml.Node, location: _Location) -> Any:
        """Build the value of a node at a location."""
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES:
            raise TaskError(f"{self.path}:{line}: more than {MAX_NODES:,} values once aliases are expanded")
        self.places.setdefault(location, _Place(self.path, line))
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, location))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def _items(self, node: yaml.MappingNode, location: _Location) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                field = ".".join(map(str, (*location, key)))
                raise TaskError(f"{self.path}:{line}: {field}: duplicate key, first written on line {seen[key]}")
            seen[key] = line
            self.places[(*location, key)] = _Place(self.path, line)
            yield key, self.build(value_node, (*location, key))


def _validate(document: _Document, path: Path) -> TaskSpec:
    try:
        return TaskSpec.model_validate(document.data)
    except ValidationError as error:
        location, message = _explain(error)
        while location and location not in document.places:
            location = location[:-1]
        raise TaskError(f"{document.places.get(location, path)}: {message}") from None


def _explain(error: ValidationError) -> tuple[_Location, str]:
    """Return the location of the first mistake, and one line that says what would have been right."""
    first = error.errors()[0]
    # Union members appear in pydantic's location as type names that the file does not contain.
    location = tuple(part for part in first["loc"] if not re.match(r"(constrained-)?(str|list|dict)\b|list\[", str(part)))
    field = ".".join(map(str, location)) or "task"
    if first["type"] == "extra_forbidden":
        return location, f"{field}: unknown key{did_you_mean(str(location[-1]), _known_keys(location))}"
    if first["type"] == "missing":
        return location, f"{field}: missing; every task needs it"
    reason = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    return location, f"{field}: {reason[:1].lower() + reason[1:]}{given}"


def _known_keys(location: _Location) -> list[str]:
    """Keys allowed where an unknown one was found."""
    model: Any = TaskSpec
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        candidates = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        if field is None and hasattr(model, "model_fields") is False:
            return []
        nested = [candidate for candidate in candidates if hasattr(candidate, "model_fields")]
        model = nested[0] if nested else model
    return list(getattr(model, "model_fields", {}))
