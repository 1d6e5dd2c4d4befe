"""How much arithmetic a model's image tower needs for one frame, counted by torch itself without any weights."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.known import silence
from gym_vlmrm.reward.clip.opening import check_name, open_model
from gym_vlmrm.reward.folders import SCHEMAS
from gym_vlmrm.reward.loading import model_location

__all__ = ["ImageTower", "image_tower"]


@dataclass(frozen=True)
class ImageTower:
    """Size of an image tower."""

    flops: float
    """Floating-point operations of one frame: two for each multiplication and addition of a matrix product."""
    parameters: int
    frame_size: int
    """Side of its input [px]."""
    widest: float
    """Numbers of the largest layer's output for one frame."""


@cache
def image_tower(model: str) -> ImageTower:
    """Count the operations of a model's image tower for one frame.

    Of an open_clip architecture a model without weights is made, so that even the largest takes no memory; a model of a
    folder or of the Hub is loaded.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    name = model_location(model)
    if name.startswith(SCHEMAS):
        visual: Any = open_model(name, torch.device("cpu"))[0].visual
        device = "cpu"
    else:
        check_name(name)
        device = "meta"
        with silence(), torch.device("meta"):
            visual = open_clip.create_model(name.partition("/")[0], device="meta", pretrained_hf=False).visual
    visual.eval().requires_grad_(False)
    size = visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    sizes: list[int] = [0]
    hooks = [part.register_forward_hook(lambda _, __, out: sizes.append(_numbers(out))) for part in visual.modules()]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            visual(torch.empty(1, 3, height, width, device=device).float())
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        raise ModelError(f"the arithmetic of '{model}' cannot be counted ({' '.join(str(error).split())})") from None
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(weights.numel() for weights in visual.parameters())
    return ImageTower(float(counter.get_total_flops()), parameters, max(height, width), float(max(sizes)))


def _numbers(output: Any) -> int:
    return output.numel() if isinstance(output, torch.Tensor) else 0
