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
_SHORT = 1_000_000
"""Longest skeleton that a header holds [characters]; a longer one is a tensor of bytes."""
_LONGEST = 256_000_000
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
    import torch

    tensors: dict[str, torch.Tensor] = {}
    skeleton = json.dumps(_take_apart(state, tensors))
    if len(skeleton) <= _SHORT:
        save_tensors(path, tensors, {_SKELETON: skeleton})
        return
    if len(skeleton) > _LONGEST:
        raise RunError(f"cannot write '{path}' (a state of {len(skeleton):,} characters besides its arrays)")
    save_tensors(path, {**tensors, _SKELETON: torch.frombuffer(bytearray(skeleton.encode()), dtype=torch.uint8)})


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote.

    Raises:
        RunError: the file is missing, damaged, or was not written by `save_state`.
    """
    metadata = load_metadata(path)
    # A file's tensors lie at any address; kernels give other last bits there than in memory that torch laid out.
    tensors = {name: tensor.clone() for name, tensor in load_tensors(path).items()}
    try:
        skeleton = metadata[_SKELETON] if _SKELETON in metadata else _text(tensors.pop(_SKELETON))
        return _put_together(json.loads(skeleton), tensors)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError) as error:
        raise RunError(f"{path}: holds no training state ({error!r})") from None


def _text(tensor: "torch.Tensor") -> bytes:
    if tensor.numel() > _LONGEST:
        raise ValueError(f"a skeleton of {tensor.numel():,} bytes")
    return tensor.numpy().tobytes()


def _take_apart(value: Any, tensors: "dict[str, torch.Tensor]") -> dict[str, Any]:
    import numpy as np
    import torch

    name = f"t{len(tensors)}"
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, np.number | np.bool_):
        return {"number": [value.dtype.str, value.tobytes().hex()]}
    if isinstance(value, np.ndarray):
        # Sums along another order of the numbers have other last bits.
        columns = value.flags.f_contiguous and not value.flags.c_contiguous
        array = np.ascontiguousarray(value.T if columns else value)  # which has one axis at least
        tensors[name] = torch.from_numpy(array.copy())
        return {"columns" if columns else "array": [name, list(np.shape(value.T if columns else value))]}
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
    if kind in ("array", "columns", "scalar"):  # the last of earlier versions
        array = tensors[content[0]].numpy().reshape(content[1])
        return array[()] if kind == "scalar" else array.T if kind == "columns" else array
    if kind == "number":
        return _number(*content)
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content] if kind in ("list", "tuple") else content
    return tuple(items) if kind == "tuple" else items


def _number(kind: str, content: str) -> Any:
    import numpy as np

    dtype = np.dtype(kind)
    if dtype.kind not in "biuf":
        raise ValueError(f"no number: {kind!r:.50}")
    (number,) = np.frombuffer(bytes.fromhex(content), dtype)
    return number
