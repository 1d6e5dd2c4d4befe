"""How a task file is read and written: YAML with `include:`, and where each of its values was written."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from gym_vlmrm.errors import RunError, TaskError, did_you_mean
from gym_vlmrm.files import read_text
from gym_vlmrm.task.names import OBSERVED

__all__ = ["Document", "Location", "Place", "merge", "overlay", "read_document", "shorten", "yaml_text"]

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 50
MAX_INCLUDES = 8
_NUMBER = rf"""(?:{OBSERVED}|[a-z]{{3,4}}\({OBSERVED}[^()\[\]{{}}"'\n#]{{0,40}}\))"""
_OBSERVED = re.compile(rf"""('[^'\n]*'|"[^"\n]*")|(?<=[\[,{{: ])({_NUMBER}[^,\[\]{{}}"'\n#]{{0,200}}?)(?=\s*[,\]}}])""")
"""What reads as a rule or a quantity to everybody but YAML, which sees a list begin within braces or brackets."""
MAX_NUMBER = 400
"""Longest scalar other than text [characters]: Python's own conversions take quadratic time."""

Location: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+0123456789."))


class _TaskLoader(_Loader):  # type: ignore[misc, valid-type]
    """YAML 1.1, except that `6e-4` is a number as everybody expects."""


class _TaskDumper(yaml.SafeDumper):
    """Quotes whatever text `_TaskLoader` would take for a number, and repeats a value instead of naming it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes line ends other than \n in a form that reads back as a blank.
    style = '"' if _RARE.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_RARE = re.compile("[^ -~\xa0-\u2027\u202a-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""All but plain text."""
_TaskDumper.add_representer(str, _write_text)
_TaskLoader.add_implicit_resolver(*_EXPONENT)
_TaskDumper.add_implicit_resolver(*_EXPONENT)


def yaml_text(data: Any, width: int = 100) -> str:
    """Return plain data as YAML from which `read_document` makes the very same data, and people can read it."""
    return yaml.dump(data, Dumper=_TaskDumper, sort_keys=False, allow_unicode=True, width=width)


@dataclass(frozen=True)
class Place:
    """Where a value was written."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Document:
    """A task file before validation: plain data, and where each of its values was written."""

    data: dict[str, Any]
    places: dict[Location, Place]


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `top` win."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def shorten(text: object, limit: int = 80) -> str:
    """Return the text as one line of at most `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 4] + " ..."


def read_document(
    path: Path, bases: Path | None, *, trail: tuple[Path, ...] = (), origin: Place | None = None
) -> Document:
    """Read a task file and what it includes.

    Args:
        path: the file.
        bases: folder where an included file is looked for that is not beside the file that includes it; without one
            nothing may be included.
        trail: the files that led here by including one another.
        origin: the line that includes this file.

    Raises:
        TaskError: a file is missing or wrong; the message names file and line.
    """
    resolved = path.resolve()
    if resolved in trail:
        chain = " -> ".join(p.name for p in (*trail, resolved))
        raise TaskError(f"{origin}: include goes round in a circle ({chain}); remove one of the includes")
    if len(trail) >= MAX_INCLUDES:
        raise TaskError(f"{origin}: include: more than {MAX_INCLUDES} files deep")
    document = _parse(path)
    if "include" not in document.data:
        return document
    name = document.data.pop("include")
    place = document.places[("include",)]
    if bases is None:
        raise TaskError(f"{place}: include: the task of a run stands alone; write what it includes into it")
    if not isinstance(name, str):
        raise TaskError(f"{place}: include: needs the name of one file, got {shorten(repr(name))}")
    base = read_document(_find_include(name, path, bases, place), bases, trail=(*trail, resolved), origin=place)
    data = overlay(base.data, document.data)
    return Document(data, {**base.places, **document.places})


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the data of two tasks; values of `top` win, and what is one value replaces the other as a whole."""
    data = merge(_expand_scene(base), _expand_scene(top))
    if "success" in top:
        data["success"] = top["success"]  # an `any` does not mix with the base's `all`
    camera, below = _camera(top), _camera(base)
    if camera and (_is_fixed(camera) or (below and _is_fixed(below))):  # a name does not mix with a distance
        data["scene"] = {**data["scene"], "camera": camera}
    return data


def _camera(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    scene = data.get("scene")
    camera = scene.get("camera") if isinstance(scene, Mapping) else None
    return camera if isinstance(camera, Mapping) else None


def _is_fixed(camera: Mapping[str, Any]) -> bool:
    return "name" in camera or "id" in camera


def _expand_scene(data: Mapping[str, Any]) -> dict[str, Any]:
    # `scene: original` in one file must merge with `scene: {camera: ...}` in another.
    scene = data.get("scene")
    return {**data, "scene": {"look": scene}} if isinstance(scene, str) else dict(data)


def _find_include(name: str, path: Path, bases: Path, place: Place) -> Path:
    folders = (path.parent, bases)
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            if (folder / name).is_file():
                return folder / name
    known = {found.name for folder in folders for found in folder.glob("_*.yaml")}
    hint = did_you_mean(name[:100], known)
    raise TaskError(f"{place}: include: no file '{shorten(name)}' beside it or among the built-in bases{hint}")


def _parse(path: Path) -> Document:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TaskError(f"{path}: {size:,} bytes is no task file; the limit is {MAX_BYTES:,}")
        text = read_text(path, MAX_BYTES, links=True)
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except RunError as error:
        raise TaskError(str(error)) from None
    try:
        return _build(path, text)
    except TaskError:
        quoted = _OBSERVED.sub(lambda found: found[1] or f'"{found[2]}"', text)
        if quoted == text:
            raise
        with contextlib.suppress(TaskError):
            return _build(path, quoted)
        raise  # what is wrong with the file as it is written


def _build(path: Path, text: str) -> Document:
    try:
        _check_events(path, text)
        loader = _TaskLoader(text)
        root = loader.get_single_node()
        builder = _Builder(path, loader)
        data = builder.build(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        written = text.splitlines()[line - 1 : line]  # libyaml does not name the character that it stumbled over
        tabbed = any("\t" in part[: len(part) - len(part.lstrip())] for part in written)
        hint = "; use spaces, not tabs" if tabbed or re.search(r"\\t|\btab\b", str(error.problem)) else ""
        raise TaskError(f"{path}:{line}: not valid YAML: {shorten(error.problem, 200)}{hint}") from None
    except yaml.YAMLError as error:
        raise TaskError(f"{path}: not valid YAML: {shorten(error)}") from None
    except RecursionError:
        raise TaskError(f"{path}: a value contains itself through an alias") from None
    if not isinstance(data, dict):
        raise TaskError(f"{path}:1: a task file is a mapping of keys such as id, env and reward, got {_kind(data)}")
    return Document(data, builder.places)


def _check_events(path: Path, text: str) -> None:
    """Refuse what would take long or overflow the stack before any of it is built; composing is recursive C."""
    depth = 0
    for events, event in enumerate(yaml.parse(text, Loader=_TaskLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if events > 4 * MAX_NODES:
            raise TaskError(f"{path}:{line}: more than {MAX_NODES:,} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise TaskError(f"{path}:{line}: values are nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _kind(value: Any) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "binary", "merge", "value")
}
"""Kinds of values that a task can be made of, and be written as again: no sets, no ordered or repeated mappings."""


class _Builder:
    """Turns YAML nodes into plain data, remembers places, and refuses duplicate keys and alias bombs."""

    def __init__(self, path: Path, loader: Any) -> None:
        self.path = path
        self.loader = loader
        self.places: dict[Location, Place] = {}
        self.nodes = 0

    def build(self, node: yaml.Node, location: Location) -> Any:
        """Build the value of a node at a location."""
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES:
            raise TaskError(f"{self.path}:{line}: more than {MAX_NODES:,} values once aliases are expanded")
        self.places.setdefault(location, Place(self.path, line))
        if node.tag not in _TAGS:
            tag = shorten(node.tag.replace("tag:yaml.org,2002:", "!!"))
            field = f"{shorten('.'.join(map(str, location)))}: " if location else ""
            raise TaskError(f"{self.path}:{line}: {field}the tag {tag} is not for task files; leave it out")
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, location))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        if len(node.value) > MAX_NUMBER and not node.tag.endswith((":str", ":binary")):
            kind = node.tag.rpartition(":")[2]
            raise TaskError(f"{self.path}:{line}: {shorten(repr(node.value[:100]))} is too long for a {kind}")
        try:
            return self.loader.construct_object(node)
        except yaml.YAMLError:
            raise
        except Exception:  # PyYAML's constructors raise whatever Python does, down to IndexError
            kind = node.tag.rpartition(":")[2]
            raise TaskError(f"{self.path}:{line}: {shorten(repr(node.value))} is no valid {kind}") from None

    def _items(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise TaskError(f"{self.path}:{line}: a key is a word such as 'reward', not a list or a mapping")
            key = str(key_node.value)
            if key in seen:
                field = ".".join(map(str, (*location, key)))
                raise TaskError(
                    f"{self.path}:{line}: {shorten(field, 200)}: duplicate key, first written on line {seen[key]}"
                )
            seen[key] = line
            self.places[(*location, key)] = Place(self.path, line)
            yield key, self.build(value_node, (*location, key))
