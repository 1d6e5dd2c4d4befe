"""Caution: what is rated too high counts more, since who maximises a reward finds what is rated too high."""

import torch
from torch import Tensor

__all__ = ["cautious"]


def cautious(errors: Tensor, overrating: Tensor | float) -> Tensor:
    """Return weights of squared errors: `overrating` where a score is too high, 1 elsewhere.

    The minimum is an expectile (Newey and Powell, "Asymmetric least squares estimation and testing", 1987) below the
    mean of what a frame may show.
    """
    return torch.where(errors > 0, overrating, 1.0)
