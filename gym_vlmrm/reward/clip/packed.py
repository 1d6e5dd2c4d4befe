"""Weights of a small model in half the space: one byte each, and one factor for every row of a matrix."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gym_vlmrm.errors import ModelError
from gym_vlmrm.tensors import load_metadata, load_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["FACTORS", "PACKED", "is_packed", "load_weights", "pack"]

PACKED = {"packed": "int8"}
"""Metadata of a safetensors file whose weights `pack` made."""
FACTORS = ".factors"
"""What the name of packed weights' factors ends in."""
_MOST = 127


def pack(weights: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return matrices and kernels as int8 with a float16 factor per row (first axis); the rest stays as it is.

    Rows are scaled so that the largest weight of each is 127: symmetric rounding, as in arXiv 1712.05877.
    """
    import torch

    packed: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim < 2 or not weight.is_floating_point():
            packed[name] = weight
            continue
        rows = weight.float().flatten(1)
        factors = (rows.abs().amax(1) / _MOST).half().float().clamp_min(2.0**-24)
        packed[name] = (rows / factors[:, None]).round().clamp(-_MOST, _MOST).to(torch.int8).reshape(weight.shape)
        packed[name + FACTORS] = factors.half()
    return packed


def is_packed(path: Path) -> bool:
    """Say whether a safetensors file holds packed weights; raises RunError where it is missing or damaged."""
    return PACKED.items() <= load_metadata(path).items()


def load_weights(path: Path) -> "dict[str, torch.Tensor]":
    """Read a safetensors file of weights; packed ones come back in float32, the others as they are.

    Raises:
        RunError: the file is missing or damaged.
        ModelError: factors fit no weights.
    """
    weights = load_tensors(path)
    unpacked = {name: weight for name, weight in weights.items() if not name.endswith(FACTORS)}
    for name in weights.keys() - unpacked.keys():
        packed = name.removesuffix(FACTORS)
        rows = unpacked.get(packed)
        if rows is None or rows.ndim < 2 or weights[name].shape != rows.shape[:1]:
            raise ModelError(f"{path}: the factors '{name}' fit no weights")
        unpacked[name.removesuffix(FACTORS)] = (rows.float().flatten(1) * weights[name].float()[:, None]).view(
            rows.shape
        )
    return unpacked
