"""Linear layers of image towers in 8-bit integers on the CPU: about twice bf16's rate where it has VNNI."""

from typing import Any

import torch
import torch.nn.functional as functional
from open_clip.modified_resnet import AttentionPool2d
from torch import nn

from gym_vlmrm.errors import ModelError

__all__ = ["can_int8", "quantise_linear_layers"]

SMALLEST_LAYER = 100_000
"""Layers with fewer weights stay as they are: they cost nothing and may matter much."""
_ZERO_POINT = 128
_BLOCK = 200_000
"""Numbers that are turned into bytes at a time: in float32 they stay in a core's cache and in memory that is mapped."""
_MASKS = ("attn_mask", "key_padding_mask")


def can_int8() -> bool:
    """Whether this build of torch has oneDNN's integer products and this processor is quick at them."""
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return bool(has_vnni) and hasattr(torch.ops.onednn, "qlinear_pointwise")


def quantise_linear_layers(tower: nn.Module, dtype: torch.dtype) -> None:
    """Replace, in place, the large linear layers and self-attentions of a tower in float32.

    Weights get one scale per output, activations one per token and call: a frame's embedding depends on no other frame
    of its batch, and nothing needs calibration.

    Args:
        tower: image tower on the CPU, in float32.
        dtype: arithmetic of everything else, and of what the new layers return.

    Raises:
        ModelError: there is nothing to quantise, or torch cannot.
    """
    if not can_int8():
        raise ModelError("precision 'int8' needs a processor with VNNI and torch with oneDNN; use precision='auto'")
    if not _replace(tower, dtype):
        raise ModelError("precision 'int8' is for towers with large linear layers; use precision='auto'")


def _replace(parent: nn.Module, dtype: torch.dtype) -> int:
    count = 0
    for name, child in list(parent.named_children()):
        if isinstance(child, AttentionPool2d):
            continue  # it reads the weights of its layers instead of calling them
        if isinstance(child, nn.MultiheadAttention):
            if not _SelfAttention.fits(child):
                continue
            setattr(parent, name, _SelfAttention(child, dtype))
        elif type(child) is nn.Linear and child.weight.numel() >= SMALLEST_LAYER:
            setattr(parent, name, _Linear(child.weight, child.bias, dtype))
        else:
            count += _replace(child, dtype)
            continue
        count += 1
    return count


class _Linear(nn.Module):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        scales = (weight.detach().abs().amax(dim=1) / 127).clamp(min=1e-12)
        levels = (weight.detach() / scales[:, None]).round().to(torch.int8)
        # The operators that torch.compile itself emits. torch's public dynamic quantisation has one scale per batch.
        self._packed = torch.ops.onednn.qlinear_prepack(levels, None)
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int32)
        self._bias = (torch.zeros(len(scales)) if bias is None else bias.detach()).to(dtype)
        self._dtype = dtype
        self.weight = torch.empty(0, dtype=dtype)
        """Without values; towers ask it for its dtype."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16)
        steps = (_largest(rows) / 127).clamp_(min=1e-12)[:, None]
        levels = _levels(rows, steps.reciprocal())
        products = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, _ZERO_POINT, self._packed, self._scales, self._zeros,
            None, 1.0, 0, self._dtype, "none", [], "",
        )  # fmt: skip
        outputs = torch.addcmul(self._bias, products, steps.to(self._dtype))
        return outputs.view(*inputs.shape[:-1], -1)


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude (N,) of each of bfloat16 rows (N, K), in float32."""
    # Without the sign, bits that mean more are larger as integers too, and integers are compared five times as fast.
    return (rows.view(torch.int16) & 0x7FFF).amax(dim=1).view(torch.bfloat16).float()


def _levels(rows: torch.Tensor, inverses: torch.Tensor) -> torch.Tensor:
    """Return rows (N, K) times their inverses (N, 1), rounded, as bytes around `_ZERO_POINT`."""
    levels = torch.empty(rows.shape, dtype=torch.int8)
    height = max(_BLOCK // rows.shape[1], 1)
    for block, source, inverse in zip(*(torch.split(each, height) for each in (levels, rows, inverses)), strict=True):
        block.copy_(source.float().mul_(inverse).round_())
    # A cast to signed bytes, and turning their highest bit, is ten times faster than a cast to unsigned ones.
    return levels.view(torch.uint8).bitwise_xor_(_ZERO_POINT)


class _SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a tower: one sequence, batch first, no mask, no weights asked for."""

    def __init__(self, attention: nn.MultiheadAttention, dtype: torch.dtype) -> None:
        super().__init__()
        self._heads = attention.num_heads
        self._into = _Linear(attention.in_proj_weight, attention.in_proj_bias, dtype)
        self._out = _Linear(attention.out_proj.weight, attention.out_proj.bias, dtype)

    @staticmethod
    def fits(attention: nn.MultiheadAttention) -> bool:
        """Whether this class does the same."""
        same_width = attention._qkv_same_embed_dim and attention.in_proj_weight.numel() >= SMALLEST_LAYER
        return attention.batch_first and same_width and attention.bias_k is None

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any) -> Any:
        if key is not query or value is not query or any(kwargs.get(mask) is not None for mask in _MASKS):
            raise ModelError("precision 'int8' cannot run this tower's attention; use precision='auto'")
        batch, length, width = query.shape
        parts = self._into(query).view(batch, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self._out(mixed.transpose(1, 2).reshape(batch, length, width)), None
