"""The model that a fine-tuning starts from, and the folder that it becomes."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before open_clip, whose import may crash where OpenGL runs already.
import gym_vlmrm.reward.clip  # isort: skip  # noqa: F401
import open_clip
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from gym_vlmrm.errors import ModelError
from gym_vlmrm.files import write_text
from gym_vlmrm.finetuning.scratch import (
    CONTEXT_LENGTH,
    FRAME_SIZE,
    MEAN,
    STD,
    build_clip,
    model_config,
    write_weights,
)
from gym_vlmrm.finetuning.vocabulary import write_vocabulary
from gym_vlmrm.reward.clip.devices import choose_device
from gym_vlmrm.reward.clip.opening import open_model
from gym_vlmrm.reward.folders import MERGES_FILE, WORDS_FILE, read_words
from gym_vlmrm.reward.loading import asks_a_server, model_location

__all__ = ["SCRATCH_PREPROCESSING", "Base", "build_scratch", "load_base", "write_model"]

SCRATCH_PREPROCESSING: dict[str, Any] = {
    "size": [FRAME_SIZE, FRAME_SIZE],
    "mean": list(MEAN),
    "std": list(STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""What a model from scratch does to frames before it sees them."""


@dataclass(frozen=True)
class Base:
    """A frozen open_clip model in float32, in evaluation mode, with all that its folder needs."""

    model: Any
    tokenizer: Any
    device: torch.device
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    folder: Path | None
    """Where a local model lies."""


def load_base(name: str, device: str) -> Base:
    """Load an open_clip model to train it, by any name that `load_towers` takes, or ``embedded``.

    Raises:
        ModelError: unknown name, unreachable weights, or no such device.
    """
    if asks_a_server(name):
        raise ModelError(f"model '{name}' is a server's, and its weights are not here; name an open_clip model")
    location = model_location(name)
    chosen = choose_device(device)
    model, tokenizer = open_model(location, chosen)
    if not isinstance(tokenizer, SimpleTokenizer | HFTokenizer):
        raise ModelError(
            f"model '{name}' has a {type(tokenizer).__name__}, which cannot be saved; name a hf-hub: model"
        )
    local = Path(location.removeprefix("local-dir:")) if location.startswith("local-dir:") else None
    by_schema = location.startswith(("local-dir:", "hf-hub:"))
    config = open_clip.get_model_config(location if by_schema else location.partition("/")[0])
    preprocess = {key: value for key, value in model.visual.preprocess_cfg.items() if key != "mode"}
    return Base(model.eval().requires_grad_(False), tokenizer, chosen, config, preprocess, local)


def build_scratch(folder: Path, texts: Sequence[str], device: str, seed: int, *, learn_words: bool) -> Base:
    """Build a small model with random weights, of the embedded model's architecture.

    Args:
        folder: where its vocabulary lies.
        texts: captions to learn the vocabulary from.
        device: see `choose_device`.
        seed: draws the weights.
        learn_words: learn and write the vocabulary; otherwise it is there already.

    Raises:
        ModelError: the package ``tokenizers`` is missing, or no such device.
    """
    chosen = choose_device(device)
    if learn_words:
        try:
            write_vocabulary(folder, texts)
        except ImportError:
            raise ModelError(
                "a model from scratch needs the package tokenizers; pip install 'gym-vlmrm[scratch]'"
            ) from None
    tokenizer = SimpleTokenizer(str(folder / MERGES_FILE), context_length=CONTEXT_LENGTH)
    config = model_config(tokenizer.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_clip(tokenizer.vocab_size)
    return Base(model.requires_grad_(False).to(chosen), tokenizer, chosen, config, SCRATCH_PREPROCESSING, None)


def write_model(base: Base, folder: Path, texts: Sequence[str]) -> None:
    """Write config, weights and whatever the tokenizer needs, so that ``local-dir:folder`` loads the model.

    Where the words are known that a model was trained on, those of `texts` are added to them.
    """
    if isinstance(base.tokenizer, HFTokenizer):
        base.tokenizer.save_pretrained(str(folder))
    if base.folder is not None:
        if (base.folder / MERGES_FILE).is_file():
            shutil.copyfile(base.folder / MERGES_FILE, folder / MERGES_FILE)
        known = read_words(base.folder)
        if known is not None:
            known |= {word for text in texts for word in re.findall(r"[\w']+", text.lower())}
            write_text(folder / WORDS_FILE, "\n".join(sorted(known)) + "\n")
    write_weights(folder, base.model_cfg, base.preprocess_cfg, base.model.state_dict())
