"""Nested state dictionaries as tensors (safetensors) and a JSON skeleton: nothing in them can execute."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gym_vlmrm.errors import RunError

__all__ = ["load_state", "load_tensors", "save_state", "save_tensors"]

_SKELETON = "skeleton"


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as one safetensors file; tensors that share memory are written apart.

    Raises:
        RunError: it cannot be written.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(copies, path, metadata)
    except SafetensorError as error:  # a full disk, among others
        raise RunError(f"cannot write '{path}' ({error})") from None


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read as safetensors ({error})") from None


def save_state(path: Path, state: Any) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers, strings and ``None``."""
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _take_apart(state, tensors)
    save_tensors(path, tensors, {_SKELETON: json.dumps(skeleton)})


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote.

    Raises:
        RunError: the file is missing, damaged, or was not written by `save_state`.
    """
    from safetensors import safe_open

    tensors = load_tensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})[_SKELETON])
        return _put_together(skeleton, tensors)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: holds no training state ({error!r})") from None


def _take_apart(value: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _take_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_take_apart(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _put_together(node: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    (kind, content), *rest = node.items()
    if rest:
        raise ValueError("malformed skeleton")
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content] if kind in ("list", "tuple") else content
    return tuple(items) if kind == "tuple" else items
