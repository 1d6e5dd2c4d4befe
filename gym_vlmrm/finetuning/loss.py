"""A sigmoid loss over every pair of picture and caption, as SigLIP's, with graded targets."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gym_vlmrm.finetuning.caution import cautious
from gym_vlmrm.learning.statistics import auc

__all__ = ["SigmoidHead", "separation"]

LARGEST_SCALE = math.log(100)
USUAL_SCALE = math.log(10)


class SigmoidHead(nn.Module):
    """Turns cosines into logits by a scale and a bias that are learned beside the towers."""

    def __init__(self, log_scale: float = USUAL_SCALE, bias: float = 0.0) -> None:
        """Start at the scale (a natural logarithm) and bias that the model brings."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(log_scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.largest = max(LARGEST_SCALE, float(log_scale))

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return logits (B, T) of unit embeddings (B, D) and (T, D)."""
        return self.log_scale.clamp(max=self.largest).exp() * images @ texts.T + self.bias

    def forward(self, images: Tensor, texts: Tensor, targets: Tensor, overrating: float = 1.0) -> Tensor:
        """Return the loss of unit embeddings (B, D), (T, D) against targets (B, T) in [0, 1].

        Each pair counts on its own, so a caption may be true of many pictures; pairs that are true and pairs
        that are not weigh the same together, however rare either is. Where a pair is rated too high, its loss
        counts `overrating` times.
        """
        logits = self.logits(images, texts)
        sides = ((functional.softplus(-logits), targets), (functional.softplus(logits), 1 - targets))
        weights = 1.0 if overrating == 1 else cautious(torch.sigmoid(logits.detach()) - targets, overrating)
        return torch.stack(
            [(loss * share * weights).sum() / share.sum() for loss, share in sides if share.sum() > 0]
        ).mean()

    @torch.no_grad()
    def calibrate(self, images: Tensor, texts: Tensor, targets: Tensor) -> None:
        """Set the bias so that true pairs lie above zero on average and others below."""
        cosines = images @ texts.T
        sides = [(cosines * share).sum() / share.sum() for share in (targets, 1 - targets) if share.sum() > 0]
        self.bias.copy_(-self.log_scale.exp() * torch.stack(sides).mean())


def separation(cosines: Tensor, targets: Tensor) -> float | None:
    """Return the probability that a true pair's cosine exceeds an untrue one's (AUC); None without either."""
    known = (targets >= 1) | (targets <= 0)
    true = (targets[known] >= 1).cpu().numpy()
    if not true.any() or true.all():
        return None
    return float(auc(cosines[known].double().cpu().numpy(), true))
