"""One step of learning and one measurement: the model, what of it changes, and the optimiser."""

import contextlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gym_vlmrm.errors import ModelError
from gym_vlmrm.finetuning.adapters import insert_adapters
from gym_vlmrm.finetuning.base import Base
from gym_vlmrm.finetuning.data import CaptionedFrames, Indices
from gym_vlmrm.finetuning.loss import SigmoidHead, separation
from gym_vlmrm.finetuning.norms import settle_norms
from gym_vlmrm.finetuning.parts import choose_weights
from gym_vlmrm.finetuning.settings import SCRATCH, Settings
from gym_vlmrm.finetuning.state import Measurement
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.clip.text import tokens_of

__all__ = ["Learner", "default_rate"]

SMALL_MODEL = 50_000_000
HEAD_RATE = 1e-2
"""Peak rate of scale and bias of the logits, which are two numbers only."""
WEIGHT_DECAY = 0.01
SETTLING = 8
"""Batches over which running means are taken."""
JUDGED = 512
"""At most so many frames and captions are measured."""
SHIFT = 0.03
GAIN = 0.08
"""Frames are shifted by up to this share of their side, and brightened by this standard deviation."""


def default_rate(settings: Settings, base: Base) -> float:
    """Return the peak learning rate that suits the kind of training."""
    if settings.train != "all":
        return {"projection": 1e-3, "adapters": 5e-4}[settings.train]
    if settings.model == SCRATCH:
        return 1e-3
    return 3e-4 if sum(value.numel() for value in base.model.parameters()) < SMALL_MODEL else 1e-5


class Learner:
    """Holds a model in training."""

    def __init__(
        self,
        base: Base,
        frames: CaptionedFrames,
        training: Indices,
        settings: Settings,
        rate: float,
        *,
        overrating: float = 1.0,
    ) -> None:
        """Choose what changes, and calibrate the logits on the first frames of `training`.

        Args:
            base: the model.
            frames: pictures and captions.
            training: numbers of the pictures that train.
            settings: how.
            rate: peak learning rate.
            overrating: how much worse it is to rate a picture too high than too low.
        """
        self.base, self.frames, self.training, self.settings = base, frames, training, settings
        self.model: Any = base.model.eval()
        self.preprocessing = Preprocessing(base.preprocess_cfg, base.device)
        self.tokens = tokens_of(base.tokenizer, frames.texts)
        self.captions: Indices = np.unique(np.concatenate([frames.members[row] for row in training]))
        self.batch_size = min(settings.batch_size, len(training))
        self.per_epoch = len(training) // self.batch_size
        # Running statistics of a pretrained tower are better than those of small batches.
        self.moving = settings.model == SCRATCH
        self._adapted = self._insert_adapters() if settings.train == "adapters" else None
        chosen = choose_weights(self.model, settings.train)
        self.overrating = overrating
        self.head = self._make_head()
        self.learned: dict[str, Tensor] = {**chosen, **{f"head.{k}": v for k, v in self.head.named_parameters()}}
        self.buffers: dict[str, Tensor] = dict(self.model.named_buffers()) if self.moving else {}
        matrices, vectors = ([v for v in chosen.values() if (v.ndim > 1) == many] for many in (True, False))
        groups = [(matrices, rate, WEIGHT_DECAY), (vectors, rate, 0.0), (list(self.head.parameters()), HEAD_RATE, 0.0)]
        self.peaks = [peak for weights, peak, _ in groups if weights]
        self.optimizer = torch.optim.AdamW(
            [{"params": weights, "lr": peak, "weight_decay": decay} for weights, peak, decay in groups if weights]
        )

    def _insert_adapters(self) -> Any:
        image = torch.zeros((1, 3, *self.preprocessing.image_size), device=self.base.device)
        return insert_adapters(self.model, image, self.tokens[:1].to(self.base.device), self.settings.seed)

    def _make_head(self) -> SigmoidHead:
        scale, bias = self.model.logit_scale, self.model.logit_bias
        head = SigmoidHead(scale.mean().item(), 0.0 if bias is None else bias.mean().item()).to(self.base.device)
        if bias is None:
            rows = self.training[: self.batch_size]
            columns = self._columns(rows, np.random.default_rng([self.settings.seed, 4]))
            with torch.no_grad():
                head.calibrate(self._images(rows), self._texts(columns), self._targets(rows, columns))
        return head

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of everything that training changes."""
        return {name: value.detach().clone() for name, value in {**self.learned, **self.buffers}.items()}

    @torch.no_grad()
    def put(self, weights: dict[str, Tensor]) -> None:
        """Put weights back that `weights` returned."""
        for name, value in {**self.learned, **self.buffers}.items():
            value.copy_(weights[name])

    @torch.no_grad()
    def finish(self) -> None:
        """Write scale and bias into the model, where it has a place for them, and adapters into its weights."""
        if self._adapted is not None:
            self._adapted.merge_and_unload()
        self.model.logit_scale.fill_(self.head.log_scale.clamp(max=self.head.largest).item())
        if self.model.logit_bias is not None:
            self.model.logit_bias.fill_(self.head.bias.item())

    def step(self, step: int, steps: int) -> float:
        """Learn from one batch, which depends on the seed and `step` alone; returns its loss."""
        rows, columns, rng = self._draw(step)
        self.model.train(self.moving)
        factor = _schedule(step, steps)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        targets = self._targets(rows, columns)
        loss = self.head(self._images(rows, rng), self._texts(columns), targets, self.overrating)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.learned.values()), 1.0)
        self.optimizer.step()
        value = float(loss.item())
        if not math.isfinite(value):
            raise ModelError(f"the loss is no number any more at step {step + 1}; use a lower --learning-rate")
        return value

    def settle(self) -> None:
        """Take the running means of a model from scratch anew: in its first steps they lag far behind the weights."""
        if self.moving:
            batches = (
                self.training[batch :: self.per_epoch][: self.batch_size]
                for batch in range(min(SETTLING, self.per_epoch))
            )
            settle_norms(self.model, (partial(self._images, rows) for rows in batches))

    @torch.no_grad()
    def measure(self, step: int, rows: Indices) -> Measurement:
        """Measure on frames that never train, against their own captions."""
        self.model.eval()
        rng = np.random.default_rng([self.settings.seed, 5])
        rows = np.sort(rng.permutation(rows)[:JUDGED])
        columns = np.unique(np.concatenate([self.frames.members[row] for row in rows]))
        columns = np.sort(rng.permutation(columns)[:JUDGED])
        size = self.settings.batch_size
        images = torch.cat([self._images(rows[i : i + size]) for i in range(0, len(rows), size)])
        texts = torch.cat([self._texts(columns[i : i + size]) for i in range(0, len(columns), size)])
        targets = self._targets(rows, columns)
        auc = separation((images @ texts.T).cpu(), targets.cpu())
        return Measurement(step, float(self.head(images, texts, targets).item()), auc)

    @torch.no_grad()
    def believed(self, frames: NDArray[np.uint8], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return how true (N, T) sentences among the captions seem of frames (N, H, W, 3), in [0, 1]."""
        self.model.eval()
        places = {text: number for number, text in enumerate(self.frames.texts)}
        texts = self._texts(np.array([places[sentence] for sentence in sentences]))
        size = self.settings.batch_size
        parts = []
        for start in range(0, len(frames), size):
            pixels = torch.from_numpy(frames[start : start + size]).to(self.base.device)
            with self._precision():
                features = self.model.encode_image(self.preprocessing(pixels))
            logits = self.head.logits(functional.normalize(features.float(), dim=-1), texts)
            parts.append(torch.sigmoid(logits).cpu().numpy())
        return np.concatenate(parts)

    def _draw(self, step: int) -> tuple[Indices, Indices, np.random.Generator]:
        rng = np.random.default_rng([self.settings.seed, 2, step])
        epoch, batch = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.settings.seed, 3, epoch]).permutation(self.training)
        rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return rows, self._columns(rows, rng), rng

    def _columns(self, rows: Indices, rng: np.random.Generator) -> Indices:
        """Return a caption of each frame, and others to make as many as there are frames."""
        own = np.unique([rng.choice(self.frames.members[row]) for row in rows])
        others = np.setdiff1d(self.captions, own)
        return np.concatenate([own, rng.permutation(others)[: max(len(rows), 2) - len(own)]])

    def _targets(self, rows: Indices, columns: Indices) -> Tensor:
        return torch.from_numpy(self.frames.targets(rows, columns)).to(self.base.device)

    def _images(self, rows: Indices, rng: np.random.Generator | None = None) -> Tensor:
        pixels = torch.from_numpy(self.frames.pixels[rows]).to(self.base.device)
        with self._precision():
            features = self.model.encode_image(self.preprocessing(pixels if rng is None else _varied(pixels, rng)))
        return functional.normalize(features.float(), dim=-1)

    def _texts(self, columns: Indices) -> Tensor:
        with self._precision():
            features = self.model.encode_text(self.tokens[torch.from_numpy(columns)].to(self.base.device))
        return functional.normalize(features.float(), dim=-1)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.base.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


def _varied(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Return levels (B, H, W, 3), each frame brighter or darker, all of them shifted."""
    height, width = pixels.shape[1:3]
    shift = max(round(SHIFT * min(height, width)), 1)
    padded = functional.pad(pixels.permute(0, 3, 1, 2).float(), (shift,) * 4, mode="replicate")
    top, left = rng.integers(0, 2 * shift + 1, 2)
    gain = torch.from_numpy(1 + GAIN * rng.standard_normal((len(pixels), 1, 1, 1))).float().to(pixels.device)
    moved = padded[..., top : top + height, left : left + width] * gain
    return moved.clamp(0, 255).permute(0, 2, 3, 1)


def _schedule(step: int, steps: int) -> float:
    warm = max(steps // 10, 1)
    return min((step + 1) / warm, 1.0) * max(0.5 * (1 + math.cos(math.pi * step / steps)), 0.02)
