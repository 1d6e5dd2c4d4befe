"""Training of the image tower: from pixels to the place in the embedding space that the state behind them has."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gym_vlmrm.finetuning.caution import cautious
from gym_vlmrm.finetuning.scratch import MEAN, STD

__all__ = ["OVERRATING", "PEAK_RATE", "mean_weights", "train_image_tower"]

BATCH = 64
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.02
SCORE_WEIGHT = 12.0
"""Weight of the squared error of concept scores against that of the whole embedding."""
OVERRATING = 2.0
"""How much worse it is to rate a frame too high than too low: who maximises a reward finds what is rated too high."""
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
    overrating: float | NDArray[np.float32] = OVERRATING,
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
        overrating: how much worse it is to rate a frame too high than too low, of all concepts or of each (K,).
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(np.concatenate(frames))  # (N, S, S, 3)
    goals, prototypes, caution = (torch.as_tensor(rows) for rows in (targets, concepts, overrating))
    tower = tower.to(memory_format=torch.channels_last).train()
    steps = epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=peak_rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=0.1)
    step, smoothed = 0, 0.0
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for rows in torch.split(order[: len(order) // BATCH * BATCH], BATCH):
            images = _augment(pixels[rows], generator)
            # Its attention pooling has one query: the fused kernel's backward pass is the slower one.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                features = tower(images)
            loss = _loss(functional.normalize(features.float(), dim=-1), goals[rows], prototypes, caution)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            smoothed += (loss.item() - smoothed) / min(step, 50)
            report(step, steps, smoothed)
    tower.eval()


def mean_weights(towers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the weights of some towers, each of which went on from the one before.

    They are near enough for that (Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", UAI 2018). What fools one of them fools the mean less.
    """
    return {
        name: torch.stack([tower[name] for tower in towers]).double().mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in towers[-1].items()
    }


def _loss(embeddings: Tensor, targets: Tensor, concepts: Tensor, overrating: Tensor) -> Tensor:
    """Squared error of embeddings (B, D), whose last coordinate is free, and of their concept scores (B, K).

    Squares, because their minimum is the mean of what a frame may show: limbs that are hidden are not wished for.
    Scores that are too high weigh `overrating` times as much (see `cautious`).
    """
    whole = 0.5 * (embeddings - targets)[:, :-1].square().sum(-1).mean()
    errors = (embeddings - targets) @ concepts.T
    return whole + SCORE_WEIGHT * (cautious(errors, overrating) * errors.square()).mean()


def _augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Return normalised images (B, 3, S, S): shifted, brighter or darker, tinted."""
    size, count = frames.shape[1], len(frames)
    groups = []
    for group in torch.split(frames, _GROUP):
        top, left = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator)
        rows, columns = ((torch.arange(size) + shift).clamp(0, size - 1) for shift in (top, left))
        groups.append(group[:, rows][:, :, columns])
    gain = 1 + 0.15 * torch.randn((count, 1, 1, 1), generator=generator)
    tint = 0.05 * torch.randn((count, 1, 1, 3), generator=generator)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    images = torch.cat(groups).float().mul_(gain / (255 * std)).add_((tint - mean) / std)
    return images.permute(0, 3, 1, 2)
