"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685) by the library peft."""

from typing import Any

import torch
from torch import Tensor, nn

from gym_vlmrm.errors import ModelError
from gym_vlmrm.worlds.triton import load_triton_apart

__all__ = ["ADAPTER_MARK", "insert_adapters", "require_peft"]

RANK = 8
STRENGTH = 16
"""Called ``lora_alpha`` by peft, which adds this over `RANK` times the low-rank product to a weight."""
ADAPTER_MARK = ".lora_"
"""Part of the names of all weights that adapters bring, and of no others."""


def require_peft() -> Any:
    """Import peft, which takes a second or two.

    Raises:
        ModelError: it is not installed.
    """
    try:
        load_triton_apart()  # which peft brings, and this process may draw
        import peft
    except ImportError as error:
        raise ModelError(
            f"low-rank adapters need the package peft ({error}); pip install 'gym-vlmrm[adapters]'"
        ) from None
    return peft


def insert_adapters(model: nn.Module, images: Tensor, tokens: Tensor, seed: int) -> Any:
    """Put adapters into a frozen open_clip model, which they do not change at first.

    Returns peft's model around it, whose ``merge_and_unload`` writes them into the weights and leaves the model with
    its usual modules and names.

    Args:
        model: on any device; it is changed in place.
        images: (B, 3, H, W), to see which layers a picture passes.
        tokens: (B, L), to see which layers a sentence passes.
        seed: draws the adapters.

    Raises:
        ModelError: peft is not installed, or no layer can bear adapters.
    """
    peft = require_peft()
    passed = _passed(model, images, tokens)
    modules = [name for name, module in passed.items() if _is_plain(module)]
    attention = [f"{name}.in_proj_weight" for name, module in passed.items() if _bears(module, "in_proj_weight")]
    if not modules and not attention:
        raise ModelError(f"{type(model).__name__} has no layers for adapters; use --train projection or all")
    # peft's own layer for nn.MultiheadAttention adds its product to the weights and subtracts it again in every pass:
    # rounding lets them drift, and an interrupted training would not go on to the same weights.
    config = peft.LoraConfig(r=RANK, lora_alpha=STRENGTH, target_modules=modules, target_parameters=attention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)


@torch.no_grad()
def _passed(model: Any, images: Tensor, tokens: Tensor) -> dict[str, nn.Module]:
    """Return the modules that are called: adapters of a layer whose weight its owner reads itself would be idle."""
    called: set[nn.Module] = set()
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: called.add(module))
    try:
        model.encode_image(images)
        model.encode_text(tokens)
    finally:
        hook.remove()
    return {name: module for name, module in model.named_modules() if module in called}


def _is_plain(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and _bears(module, "weight")
    return isinstance(module, nn.Linear) and _bears(module, "weight")


def _bears(module: nn.Module, name: str) -> bool:
    """Return whether a weight is there, and so large that a low rank saves something."""
    weight = module._parameters.get(name)
    return weight is not None and weight.ndim > 1 and min(weight.flatten(1).shape) > RANK
