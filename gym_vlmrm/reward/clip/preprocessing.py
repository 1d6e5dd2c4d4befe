"""From frames to what an image tower takes: open_clip's own preprocessing, for whole batches and on the device."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as functional

from gym_vlmrm.reward.protocol import check_sides

__all__ = ["Preprocessing"]


class Preprocessing:
    """Scales, crops or pads, and normalises frames as the model's ``preprocess_cfg`` says."""

    def __init__(self, config: Mapping[str, Any], device: torch.device) -> None:
        """Prepare the transform; `config` has ``size``, ``mean``, ``std``, ``interpolation``, ``resize_mode``."""
        size = config["size"]
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        """(height, width) of the tower's input [px]."""
        self._mode = config.get("resize_mode", "shortest")
        self._interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
        self._fill = float(config.get("fill_color", 0))
        self.mean = torch.tensor(config["mean"], device=device)
        """By channel (3,), of colours from 0 to 1."""
        self.std = torch.tensor(config["std"], device=device)
        """As `mean`."""

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Return float32 images (N, 3, *image_size) of uint8 RGB frames (N, H, W, 3) on the same device."""
        mean, std = self.mean.view(1, 3, 1, 1), self.std.view(1, 3, 1, 1)
        return (self.levels(frames).float() / 255 - mean) / std

    def levels(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the same images before they are normalised: uint8 (N, 3, *image_size).

        Raises:
            ModelError: a side is too long (see `check_sides`).
        """
        images = frames.permute(0, 3, 1, 2)
        if images.shape[-2:] == self.image_size:
            return images
        height, width = images.shape[-2:]
        check_sides(height, width)
        # What is cut off in the end was resized before: of long frames fewer are resized at a time.
        at_once = max(1, 2 * len(images) * min(height, width) // max(height, width))
        if at_once >= len(images):
            return self._levels(images)
        return torch.cat([self._levels(part) for part in torch.split(images, at_once)])

    def _levels(self, images: torch.Tensor) -> torch.Tensor:
        if images.device.type == "mps":  # which lacks antialiased bicubic interpolation in some versions of torch
            return self._fit(images.cpu().float()).to(torch.uint8).to(images.device)
        return self._fit(images.float()).to(torch.uint8)

    def _fit(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images (N, 3, H, W), in levels from 0 to 255, to the input size as the model's training did."""
        height, width = images.shape[-2:]
        if self._mode == "squash":
            return self._resize(images, *self.image_size)
        if self._mode == "shortest" and self.image_size[0] == self.image_size[1]:
            # torchvision cuts fractions off here, open_clip rounds them below.
            side, short = self.image_size[0], min(height, width)
            return self._centre(self._resize(images, side * height // short, side * width // short))
        ratios = height / self.image_size[0], width / self.image_size[1]
        ratio = max(ratios) if self._mode == "longest" else min(ratios)
        return self._centre(self._resize(images, round(height / ratio), round(width / ratio)))

    def _resize(self, images: torch.Tensor, height: int, width: int) -> torch.Tensor:
        # As PIL does, which open_clip's models were trained with: first across, then down, in whole levels.
        for size in ((images.shape[-2], width), (height, width)):
            if size != images.shape[-2:]:
                images = functional.interpolate(
                    images, size, mode=self._interpolation, antialias=True, align_corners=False
                )
                images = images.round().clamp(0, 255)
        return images

    def _centre(self, images: torch.Tensor) -> torch.Tensor:
        """Pad what is too small and crop what is too large, evenly on both sides."""
        height, width = images.shape[-2:]
        below, beside = max(self.image_size[0] - height, 0), max(self.image_size[1] - width, 0)
        if below or beside:
            around = (beside // 2, beside - beside // 2, below // 2, below - below // 2)
            images = functional.pad(images, around, value=self._fill)
        top, left = (round((have - want) / 2) for have, want in zip(images.shape[-2:], self.image_size, strict=True))
        return images[..., top : top + self.image_size[0], left : left + self.image_size[1]]
