"""Running means of batch normalisation, taken anew: in short trainings they lag far behind the weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["settle_norms"]


@torch.no_grad()
def settle_norms(model: nn.Module, passes: Iterable[Callable[[], Any]]) -> None:
    """Take the running means of a model as the plain mean over some batches, each of which a call passes through it."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches below
    model.train()
    for forward in passes:
        forward()
