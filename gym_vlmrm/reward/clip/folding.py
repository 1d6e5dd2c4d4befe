"""Batch normalisation of convolutional towers, folded into the convolutions before it."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norms", "folds"]


def folds(tower: nn.Module) -> bool:
    """Whether a tower is a ``ModifiedResNet``, open_clip's or this package's.

    They are told by their names: open_clip is not imported for it.
    """
    return type(tower).__name__ == "ModifiedResNet"


def fold_batch_norms(tower: nn.Module) -> None:
    """Fold in place, in a tower that `folds`, which rewards survive to rounding; other towers stay."""
    if not folds(tower):
        return
    for module in list(tower.modules()):
        if type(module).__name__ in ("ModifiedResNet", "Bottleneck"):
            # In both, `bnI` follows `convI` and nothing lies between them.
            for index in (1, 2, 3):
                _fold(module, f"conv{index}", f"bn{index}")
        elif isinstance(module, nn.Sequential):
            for conv, norm in pairwise(list(module._modules)):
                _fold(module, conv, norm)


def _fold(parent: nn.Module, conv: str, norm: str) -> None:
    convolution, normalisation = getattr(parent, conv, None), getattr(parent, norm, None)
    if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
        setattr(parent, conv, fuse_conv_bn_eval(convolution, normalisation))
        setattr(parent, norm, nn.Identity())
