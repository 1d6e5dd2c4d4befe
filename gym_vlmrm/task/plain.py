"""Values of a task file as JSON and back: what JSON does not know becomes a mapping that names its kind."""

import base64
import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["from_json", "to_json"]

_KIND = "yaml"
_KINDS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "float": (float, repr, float),
    "timestamp": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "binary": (bytes, lambda content: base64.b64encode(content).decode(), base64.b64decode),
}
"""Name to type, and how it becomes text and comes back; a timestamp is a date too, so it is asked for first."""


def to_json(value: Any, infinity: bool = False) -> Any:
    """Return a value of a task file as JSON can hold it; `from_json` undoes it.

    Args:
        value: anything.
        infinity: whether it becomes JSON of the kind that Python writes, which knows ``Infinity`` and ``NaN``.
    """
    if isinstance(value, Mapping):
        plain = {str(key): to_json(item, infinity) for key, item in value.items()}
        return {_KIND: "mapping", "value": plain} if set(plain) == {_KIND, "value"} else plain
    if isinstance(value, list | tuple):
        return [to_json(item, infinity) for item in value]
    if isinstance(value, float) and (infinity or math.isfinite(value)):
        return float(value)
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {_KIND: name, "value": write(value)}
    return value


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given; raises ValueError where a kind is unknown or does not fit."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {_KIND, "value"}:
        return {key: from_json(item) for key, item in value.items()}
    name, content = value[_KIND], value["value"]
    if name == "mapping" and isinstance(content, Mapping):
        return {key: from_json(item) for key, item in content.items()}
    if name not in _KINDS or not isinstance(content, str):
        raise ValueError(f"no value of the kind {name!r}")
    return _KINDS[name][2](content)
