"""Tensors on disk as safetensors, nested state with a JSON skeleton: nothing in them can execute.

Importing this module imports no torch; using it does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import open_regular

if TYPE_CHECKING:
    import torch

__all__ = ["load_metadata", "load_state", "load_tensors", "save_state", "save_tensors"]

_SKELETON = "skeleton"
_MAX_HEADER = 16_000_000
"""Longest list of tensors that is read [bytes]; a model of a thousand tensors has 100,000."""


def _check(path: Path) -> None:
    """Check that a file is a regular one with a short header; safetensors itself compares sizes with the file."""
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise RunError(f"{path}: cannot be read as safetensors (a header of {length:,} bytes)")


def save_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Write tensors as one safetensors file; tensors that share memory are written apart.

    Raises:
        RunError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(copies, path, metadata)
    except SafetensorError as error:  # a full disk, among others
        raise RunError(f"cannot write '{path}' ({error})") from None


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read a safetensors file.

    Raises:
        RunError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError, MemoryError) as error:
        raise _damaged(path, error) from None


def load_metadata(path: Path) -> dict[str, str]:
    """Read what `save_tensors` was given as metadata.

    Raises:
        RunError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    _check(path)
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError, ValueError, RuntimeError, MemoryError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: cannot be read as safetensors ({error})")


def save_state(path: Path, state: Any) -> None:
    """Write nested dictionaries, lists and tuples of tensors, arrays, numbers, strings and ``None``.

    Raises:
        RunError: it cannot be written.
        TypeError: there is something else in it.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _take_apart(state, tensors)
    save_tensors(path, tensors, {_SKELETON: json.dumps(skeleton)})


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote.

    Raises:
        RunError: the file is missing, damaged, or was not written by `save_state`.
    """
    metadata = load_metadata(path)
    # A file's tensors lie at any address; kernels give other last bits there than in memory that torch laid out.
    tensors = {name: tensor.clone() for name, tensor in load_tensors(path).items()}
    try:
        return _put_together(json.loads(metadata[_SKELETON]), tensors)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: holds no training state ({error!r})") from None


def _take_apart(value: Any, tensors: "dict[str, torch.Tensor]") -> dict[str, Any]:
    import numpy as np
    import torch

    name = f"t{len(tensors)}"
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)  # which has one axis at least
        tensors[name] = torch.from_numpy(array.copy())
        return {"scalar" if isinstance(value, np.generic) else "array": [name, list(np.shape(value))]}
    if isinstance(value, Mapping):
        return {"dict": [[key, _take_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_take_apart(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _put_together(node: dict[str, Any], tensors: "dict[str, torch.Tensor]") -> Any:
    (kind, content), *rest = node.items()
    if rest:
        raise ValueError("malformed skeleton")
    if kind == "tensor":
        return tensors[content]
    if kind in ("array", "scalar"):
        array = tensors[content[0]].numpy().reshape(content[1])
        return array[()] if kind == "scalar" else array
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content] if kind in ("list", "tuple") else content
    return tuple(items) if kind == "tuple" else items
