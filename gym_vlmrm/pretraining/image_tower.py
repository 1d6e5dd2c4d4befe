"""Training of the image tower: from pixels to the place in the embedding space that the state behind them has."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gym_vlmrm.pretraining.model import MEAN, STD

__all__ = ["PEAK_RATE", "train_image_tower"]

BATCH = 192
PEAK_RATE = 3e-3
WEIGHT_DECAY = 0.02
SCORE_WEIGHT = 6.0
"""Weight of the error of concept scores against that of the whole embedding."""
SHIFT = 3
"""Frames are shifted by up to this many pixels."""
_GROUP = 16


def train_image_tower(
    tower: nn.Module,
    frames: Sequence[NDArray[np.uint8]],
    targets: NDArray[np.float32],
    concepts: NDArray[np.float32],
    *,
    epochs: int,
    seed: int,
    report: Callable[[int, int, float], None],
    peak_rate: float = PEAK_RATE,
) -> None:
    """Train in place.

    Args:
        tower: image tower of the CLIP model.
        frames: shards of frames (n, S, S, 3), together N.
        targets: (N, D) unit targets.
        concepts: (K, D) unit targets of sentences, whose scores matter most.
        epochs: passes over the frames.
        seed: draws order and augmentation.
        report: called with step, number of steps and smoothed loss.
        peak_rate: highest learning rate.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(np.concatenate(frames))  # (N, S, S, 3)
    goals, prototypes = torch.from_numpy(targets), torch.from_numpy(concepts)
    tower = tower.to(memory_format=torch.channels_last).train()
    steps = epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=peak_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=0.1)
    step, smoothed = 0, 0.0
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for rows in torch.split(order[: len(order) // BATCH * BATCH], BATCH):
            images = _augment(pixels[rows], generator)
            with torch.autocast("cpu", torch.bfloat16):
                features = tower(images)
            loss = _loss(functional.normalize(features.float(), dim=-1), goals[rows], prototypes)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            smoothed += (loss.item() - smoothed) / min(step, 50)
            report(step, steps, smoothed)
    tower.eval()


def _loss(embeddings: Tensor, targets: Tensor, concepts: Tensor) -> Tensor:
    """Distance of embeddings (B, D) from their targets, and of their concept scores (B, K) from the true ones."""
    whole = (1 - (embeddings * targets).sum(-1)).mean()
    scores = functional.smooth_l1_loss(embeddings @ concepts.T, targets @ concepts.T, beta=0.02)
    return whole + SCORE_WEIGHT * scores


def _augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Return normalised images (B, 3, S, S): shifted, brighter or darker, tinted."""
    size, count = frames.shape[1], len(frames)
    padded = functional.pad(frames.permute(0, 3, 1, 2).float(), (SHIFT,) * 4, mode="replicate")
    groups = []
    for group in torch.split(padded, _GROUP):
        top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        groups.append(group[..., top : top + size, left : left + size])
    gain = 1 + 0.15 * torch.randn((count, 1, 1, 1), generator=generator)
    tint = 0.05 * torch.randn((count, 3, 1, 1), generator=generator)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    images = torch.cat(groups).mul_(gain / (255 * std)).add_((tint - mean) / std)
    return images.contiguous(memory_format=torch.channels_last)
