"""Which weights change: the last projections, adapters that were put in, or all."""

from torch import nn

from gym_vlmrm.errors import ModelError
from gym_vlmrm.finetuning.adapters import ADAPTER_MARK
from gym_vlmrm.finetuning.settings import Part

__all__ = ["choose_weights"]

_LOGITS = ("logit_scale", "logit_bias")
_IMAGE_ENDS = (
    ("visual.proj", "visual.attnpool.c_proj.", "visual.head."),
    # Towers of timm that end without a projection of open_clip's.
    ("visual.trunk.head.", "visual.trunk.attn_pool.", "visual.attn_pool."),
)
_TEXT_ENDS = (("text_projection", "text.text_projection", "text.proj."),)


def choose_weights(model: nn.Module, part: Part) -> dict[str, nn.Parameter]:
    """Mark what of a frozen model shall be trained, and return it by name.

    Scale and bias of the logits are not among them: they belong to the loss.

    Raises:
        ModelError: the model has no weights of that kind.
    """
    names = {
        "projection": lambda: _projections(model),
        "adapters": lambda: [name for name, _ in model.named_parameters() if ADAPTER_MARK in name],
        "all": lambda: [name for name, _ in model.named_parameters() if name not in _LOGITS],
    }[part]()
    chosen = {name: value for name, value in model.named_parameters() if name in set(names)}
    for value in chosen.values():
        value.requires_grad_(True)
    return chosen


def _projections(model: nn.Module) -> list[str]:
    names = [name for name, _ in model.named_parameters()]
    chosen: list[str] = []
    for side, groups in (("image", _IMAGE_ENDS), ("text", _TEXT_ENDS)):
        found = next((hit for group in groups if (hit := [n for n in names if n.startswith(group)])), [])
        if not found and side == "image":
            raise ModelError(f"{type(model.visual).__name__} has no projection to train; use --train adapters or all")
        chosen += found
    return chosen
