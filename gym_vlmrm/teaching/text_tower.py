"""Training of the text tower: from a sentence to the place in the embedding space of what it says."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import nn
from torch.nn import functional

__all__ = ["train_text_tower"]

BATCH = 128
PEAK_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
GROUP = 16
"""Batches among which sentences are sorted by length."""
WORD_DROPOUT = 0.08
"""Chance that a token is left out, so that no single word carries a sentence."""


def train_text_tower(
    model: CLIP,
    tokenizer: SimpleTokenizer,
    sentences: Sequence[str],
    targets: NDArray[np.float32],
    *,
    epochs: int,
    seed: int,
    report: Callable[[int, int, float], None],
) -> None:
    """Train the text half of a CLIP model in place.

    Args:
        model: the CLIP model.
        tokenizer: its tokenizer.
        sentences: N training sentences.
        targets: (N, D) their unit targets.
        epochs: passes over the sentences.
        seed: draws order and dropout.
        report: called with step, number of steps and smoothed loss.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    tokens, goals = tokenizer(list(sentences)), torch.from_numpy(targets)
    parameters = [value for name, value in model.named_parameters() if not name.startswith("visual.")]
    steps = epochs * len(_batches((tokens != 0).sum(1), torch.Generator()))
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    step, smoothed = 0, 0.0
    for _ in range(epochs):
        for rows in _batches((tokens != 0).sum(1), generator):
            batch = _drop_tokens(tokens[rows], tokenizer, generator)
            embeddings = functional.normalize(_encode(model, batch), dim=-1)
            loss = (1 - (embeddings * goals[rows]).sum(-1)).mean()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            smoothed += (loss.item() - smoothed) / min(step, 50)
            report(step, steps, smoothed)


def _batches(lengths: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Return the rows of an epoch's batches in random order; rows of a batch have similar lengths (N,)."""
    batches = []
    for rows in torch.split(torch.randperm(len(lengths), generator=generator), GROUP * BATCH):
        by_length = rows[torch.argsort(lengths[rows], stable=True)]
        batches += [batch for batch in torch.split(by_length, BATCH) if len(batch) == BATCH]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator)]


def _encode(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Do as ``model.encode_text``, without the padding that all tokens (B, L) share: most sentences are short."""
    length = int((tokens != 0).sum(1).max())
    states = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    ends: torch.Tensor = states[torch.arange(len(tokens)), tokens.argmax(-1)]
    return torch.matmul(ends, model.text_projection)


def _drop_tokens(tokens: torch.Tensor, tokenizer: SimpleTokenizer, generator: torch.Generator) -> torch.Tensor:
    """Remove random tokens of (B, L) and close the gaps; start, end and padding stay."""
    special = (tokens == tokenizer.sot_token_id) | (tokens == tokenizer.eot_token_id) | (tokens == 0)
    dropped = (torch.rand(tokens.shape, generator=generator) < WORD_DROPOUT) & ~special
    keep_first = torch.argsort(dropped.int(), dim=1, stable=True)
    moved = tokens.gather(1, keep_first)
    kept = (~dropped).sum(1, keepdim=True)
    return torch.where(torch.arange(tokens.shape[1]) < kept, moved, 0)
