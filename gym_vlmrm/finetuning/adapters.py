"""Which weights change: the last projections, low-rank additions to the linear layers, or all."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gym_vlmrm.errors import ModelError
from gym_vlmrm.finetuning.settings import Part

__all__ = ["LowRank", "choose_weights", "merge_adapters"]

RANK = 8
STRENGTH = 2.0
"""Factor of the low-rank product, alpha / rank in the words of LoRA (Hu et al., arXiv 2106.09685)."""
_LOGITS = ("logit_scale", "logit_bias")
_IMAGE_ENDS = (
    ("visual.proj", "visual.attnpool.c_proj.", "visual.head."),
    # Towers of timm that end without a projection of open_clip's.
    ("visual.trunk.head.", "visual.trunk.attn_pool.", "visual.attn_pool."),
)
_TEXT_ENDS = (("text_projection", "text.text_projection", "text.proj."),)


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight (M, N); nothing at first."""

    def __init__(self, weight: Tensor, generator: torch.Generator) -> None:
        """Draw the first factor; the second starts at zero."""
        super().__init__()
        rows, columns = weight.shape
        drawn = torch.randn((RANK, columns), generator=generator) / columns**0.5
        self.down = nn.Parameter(drawn.to(weight.device))
        self.up = nn.Parameter(torch.zeros((rows, RANK), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + STRENGTH * (self.up @ self.down)


def choose_weights(model: nn.Module, part: Part, seed: int) -> dict[str, nn.Parameter]:
    """Mark what of a frozen model shall be trained, and return it by name; ``adapters`` are put in first.

    Scale and bias of the logits are not among them: they belong to the loss.

    Raises:
        ModelError: the model has no weights of that kind.
    """
    if part == "adapters":
        _insert(model, seed)
    names = {
        "projection": lambda: _projections(model),
        "adapters": lambda: [name for name, _ in model.named_parameters() if _is_factor(name)],
        "all": lambda: [name for name, _ in model.named_parameters() if name not in _LOGITS],
    }[part]()
    if not names:
        raise ModelError(f"{type(model).__name__} has no linear layers for adapters; use --train projection or all")
    chosen = {name: value for name, value in model.named_parameters() if name in set(names)}
    for value in chosen.values():
        value.requires_grad_(True)
    return chosen


def merge_adapters(model: nn.Module) -> None:
    """Write low-rank additions into the weights, which get their usual names back."""
    for module in list(model.modules()):
        if isinstance(module, parametrize.ParametrizationList) or not parametrize.is_parametrized(module):
            continue
        for name in list(module.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _projections(model: nn.Module) -> list[str]:
    names = [name for name, _ in model.named_parameters()]
    chosen: list[str] = []
    for side, groups in (("image", _IMAGE_ENDS), ("text", _TEXT_ENDS)):
        found = next((hit for group in groups if (hit := [n for n in names if n.startswith(group)])), [])
        if not found and side == "image":
            raise ModelError(f"{type(model.visual).__name__} has no projection to train; use --train adapters or all")
        chosen += found
    return chosen


def _insert(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for module, name in list(_linear_weights(model)):
        weight = getattr(module, name)
        parametrize.register_parametrization(module, name, LowRank(weight, generator))


def _linear_weights(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the weights of attention and of all other linear layers, where a low rank saves something."""
    for module in model.modules():
        for name in ("in_proj_weight", "weight"):
            weight = module._parameters.get(name)
            if weight is None or weight.ndim != 2 or min(weight.shape) <= RANK:
                continue
            if name == "in_proj_weight" or isinstance(module, nn.Linear):
                yield module, name


def _is_factor(name: str) -> bool:
    return ".parametrizations." in name and name.endswith((".up", ".down"))
