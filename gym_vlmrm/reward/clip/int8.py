"""Image towers in 8-bit integers on the CPU: more than twice bf16's rate where it has VNNI."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from gym_vlmrm.errors import ModelError

__all__ = ["can_int8", "quantise"]

SMALLEST_LAYER = 100_000
"""Layers with fewer weights stay as they are: they cost nothing and may matter much."""
_ZERO_POINT = 128
_BLOCK = 200_000
"""Numbers that are turned into bytes at a time: in float32 they stay in a core's cache and in memory that is mapped."""
_FEW_TOKENS = 256
"""Up to which plain products are quicker than torch's attention, which is made for sequences that fill the caches."""
_MASKS = ("attn_mask", "key_padding_mask")


@cache
def can_int8() -> bool:
    """Whether this processor is quick at oneDNN's integer products, and this version of torch has them as used here.

    Torch promises neither to keep these operators nor their arguments, so one small product is tried.
    """
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        return False
    weight = torch.arange(-32.0, 32.0).reshape(4, 16)
    rows = torch.arange(96, 112, dtype=torch.uint8)[None]
    try:
        product = _Products(weight, torch.float32)(rows, _ZERO_POINT, torch.ones(4))
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    expected = (rows.float() - _ZERO_POINT) @ weight.T + 1
    return bool(torch.allclose(product, expected, rtol=0.02, atol=1.0))


def quantise(tower: nn.Module, mean: torch.Tensor, std: torch.Tensor, dtype: torch.dtype) -> bool:
    """Replace, in place, the large linear layers and self-attentions of a tower, and the layer that cuts patches.

    Weights get one scale per output, activations one per token and call: a frame's embedding depends on no other frame
    of its batch, and nothing needs calibration. Patches are cut from levels, which are bytes as they are: normalisation
    is linear, and goes into weights and bias.

    Args:
        tower: image tower on the CPU, in float32.
        mean: of the model's normalisation, by channel (3,) of colours from 0 to 1.
        std: as `mean`.
        dtype: arithmetic of everything else, and of what the new layers return.

    Returns:
        Whether the tower now takes levels, uint8 (N, 3, H, W), instead of normalised colours.

    Raises:
        ModelError: there is nothing to quantise, or torch cannot.
    """
    if not can_int8():
        raise ModelError("precision 'int8' needs a processor with VNNI and torch with oneDNN; use precision='auto'")
    if not _replace(tower, dtype):
        raise ModelError("precision 'int8' is for towers with large linear layers; use precision='auto'")
    first = getattr(tower, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not _Patches.fits(first):
        return False
    tower.conv1 = _Patches(first, mean, std, dtype)
    return True


def _replace(parent: nn.Module, dtype: torch.dtype) -> int:
    count = 0
    for name, child in list(parent.named_children()):
        if type(child).__name__ == "AttentionPool2d":  # open_clip's, and this package's
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


class _Products:
    """Products of rows of bytes with the weights (M, K) of a layer, which get one scale per output."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype) -> None:
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)
        levels = (weight / scales[:, None]).round().to(torch.int8)
        # The operators that torch.compile itself emits. torch's public dynamic quantisation has one scale per batch.
        self._packed = torch.ops.onednn.qlinear_prepack(levels, None)
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int32)
        self._dtype = dtype

    def __call__(self, rows: torch.Tensor, zero_point: int, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``(rows - zero_point) @ weight.T + bias`` (N, M) of uint8 rows (N, K)."""
        products: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, zero_point, self._packed, self._scales, self._zeros,
            bias, 1.0, 0, self._dtype, "none", [], "",
        )  # fmt: skip
        return products


class _Linear(nn.Module):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._products = _Products(weight.detach(), dtype)
        self._bias = (torch.zeros(len(weight)) if bias is None else bias.detach()).to(dtype)
        self.weight = torch.empty(0, dtype=dtype)
        """Without values; towers ask it for its dtype."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.bfloat16)
        levels, steps = _levels(rows)
        products = self._products(levels, _ZERO_POINT)
        torch.addcmul(self._bias, products, steps.to(self._bias.dtype), out=products)
        return products.view(*inputs.shape[:-1], -1)


class _Patches(nn.Module):
    """A convolution without overlap, of levels instead of the colours that they are normalised to."""

    def __init__(self, layer: nn.Conv2d, mean: torch.Tensor, std: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._size = int(layer.kernel_size[0])
        by_colour = layer.weight.detach() / std.view(1, 3, 1, 1)
        weight = by_colour.permute(0, 2, 3, 1).flatten(1) / 255  # in the order of a frame's bytes
        # Most levels are small around this one, and so is what the rounding of weights does to their products.
        self._zero_point = round(255 * float(mean.mean()))
        bias = weight.sum(1) * self._zero_point - (by_colour * mean.view(1, 3, 1, 1)).sum((1, 2, 3))
        self._bias = bias if layer.bias is None else bias + layer.bias.detach()
        self._products = _Products(weight, dtype)

    @staticmethod
    def fits(layer: nn.Conv2d) -> bool:
        """Whether this class does the same."""
        apart = layer.kernel_size == layer.stride and layer.kernel_size[0] == layer.kernel_size[1]
        plain = layer.padding == (0, 0) and layer.dilation == (1, 1) and layer.in_channels == 3 and layer.groups == 1
        return apart and plain and layer.weight.numel() >= SMALLEST_LAYER

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        count, size = len(levels), self._size
        high, wide = (edge // size for edge in levels.shape[-2:])
        pixels = levels.permute(0, 2, 3, 1)[:, : high * size, : wide * size]
        patches = pixels.reshape(count, high, size, wide, size, 3).transpose(2, 3)
        outputs = self._products(patches.reshape(count * high * wide, -1), self._zero_point, self._bias)
        return outputs.view(count, high, wide, -1).permute(0, 3, 1, 2)


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude (N,) of each of bfloat16 rows (N, K), in float32."""
    # Without the sign, bits that mean more are larger as integers too, and integers are compared five times as fast.
    return (rows.view(torch.int16) & 0x7FFF).amax(dim=1).view(torch.bfloat16).float()


def _levels(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bfloat16 rows (N, K) as bytes around `_ZERO_POINT`, and how much one level is worth in each row (N, 1)."""
    levels = torch.empty(rows.shape, dtype=torch.int8)
    steps = torch.empty(len(rows), 1)
    height = max(_BLOCK // rows.shape[1], 1)
    for block, step, source in zip(*(torch.split(each, height) for each in (levels, steps, rows)), strict=True):
        step.copy_((_largest(source) / 127).clamp_(min=1e-12)[:, None])
        block.copy_(source.float().mul_(step.reciprocal()).round_())
    # A cast to signed bytes, and turning their highest bit, is ten times faster than a cast to unsigned ones.
    return levels.view(torch.uint8).bitwise_xor_(_ZERO_POINT), steps


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return what each query gets of the values; all are (N, heads, tokens, width)."""
    if queries.shape[2] > _FEW_TOKENS:
        return functional.scaled_dot_product_attention(queries, keys, values)
    weights = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)).softmax(-1)
    return torch.matmul(weights, values)


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
        mixed = _attend(queries, keys, values)
        return self._out(mixed.transpose(1, 2).reshape(batch, length, width)), None
