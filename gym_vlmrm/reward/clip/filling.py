"""Weights that go from their file straight to where, and in the arithmetic in which, they are used."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["LateWeights", "weights_digest"]


class LateWeights(TorchFunctionMode):
    """While a model is made and its checkpoint read in a block with this, its parameters take no memory.

    Random numbers that a checkpoint would replace are not drawn, and where the checkpoint would be copied into a
    parameter it is only noted where that lies: in the mapped file, where it is one of safetensors. Its pages are the
    system's to drop. `fill` copies, once, into the final arithmetic on the final device. Buffers are what they always
    are. Only the thread that is in the block is concerned.

    Without a block it describes a model whose parameters are all there already.
    """

    def __init__(self) -> None:
        super().__init__()
        self._blank: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
        self._sources: dict[int, tuple[nn.Parameter, torch.Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leave out what would write into a parameter as a whole; see the class."""
        named = kwargs or {}
        target = args[0] if args else named.get("tensor")
        name = getattr(func, "__name__", "")
        if not isinstance(target, nn.Parameter) or name.endswith("__") or not name.endswith("_"):
            return func(*args, **named)
        if name == "requires_grad_":
            return func(*args, **named)
        source = args[1] if name == "copy_" and len(args) > 1 else None
        if isinstance(source, torch.Tensor) and not isinstance(source, nn.Parameter) and source.shape == target.shape:
            self._sources[id(target)] = target, source
        else:
            self._blank[id(target)] = target
        return target

    def lack(self, module: nn.Module) -> bool:
        """Whether parameters of a module were to have random numbers that no checkpoint replaced."""
        return any(id(weights) in self._blank and id(weights) not in self._sources for weights in module.parameters())

    def wait_for(self, module: nn.Module) -> bool:
        """Whether a module's parameters are yet to be filled."""
        return any(id(weights) in self._sources for weights in module.parameters())

    def named(self, module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield names and values of a module's parameters and buffers as its ``state_dict`` has them once it is filled.

        They are in the precision in which the model was made, whatever `fill` makes of them.
        """
        for name, tensor in module.state_dict(keep_vars=True).items():
            _, source = self._sources.get(id(tensor), (None, tensor))
            yield name, source.detach().to(tensor.dtype)

    @torch.inference_mode(False)
    @torch.no_grad()
    def fill(self, module: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
        """Put what was noted into a module's parameters.

        Args:
            module: part of the model; what is filled already stays as it is.
            device: where its parameters go.
            dtype: to which they are rounded; the one in which the model was made if not given.
        """
        for weights in module.parameters():
            if id(weights) in self._sources:
                _, source = self._sources.pop(id(weights))
                kind = dtype or weights.dtype
                filled = torch.empty_strided(weights.shape, weights.stride(), dtype=kind, device=device)
                # By way of the model's own precision, so that rounding is what it is without this class.
                weights.data = filled.copy_(source.to(weights.dtype).to(kind))


def weights_digest(module: nn.Module, weights: LateWeights | None = None) -> str:
    """SHA-256 (hex) of a module's weights: their names, shapes, types and bytes.

    Args:
        module: the module.
        weights: those that are yet to be filled into it.
    """
    digest = hashlib.sha256()
    for name, tensor in (weights or LateWeights()).named(module):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        numbers: Any = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()
