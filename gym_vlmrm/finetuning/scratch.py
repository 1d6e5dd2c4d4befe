"""The small model that is trained from scratch, the embedded one too: its architecture and its folder on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before open_clip, whose import may crash where OpenGL runs already.
import gym_vlmrm.reward.clip  # isort: skip  # noqa: F401
import torch
from open_clip.model import CLIP

from gym_vlmrm.files import replacing, write_text
from gym_vlmrm.reward.folders import CONFIG_FILE, WEIGHTS_FILE
from gym_vlmrm.tensors import save_tensors

__all__ = [
    "CONTEXT_LENGTH", "EMBEDDING_SIZE", "FRAME_SIZE", "MEAN", "STD", "build_clip", "model_config", "save_folder",
    "write_weights",
]  # fmt: skip

FRAME_SIZE = 96
"""Side of its frames [px]."""
EMBEDDING_SIZE = 384
WIDTH = 16
"""Channels of the image tower's first layers."""

CONTEXT_LENGTH = 40
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def model_config(vocabulary: int, embedding: int = EMBEDDING_SIZE, width: int = WIDTH) -> dict[str, Any]:
    """Return open_clip's ``model_cfg``: a modified ResNet of this width and a two-layer text transformer."""
    return {
        "embed_dim": embedding,
        "vision_cfg": {"image_size": FRAME_SIZE, "layers": [1, 2, 4, 3], "width": width, "patch_size": None},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def build_clip(vocabulary: int, width: int = WIDTH) -> CLIP:
    """Build the model with random weights; the image tower's size grows with the square of its width."""
    return CLIP(**model_config(vocabulary, width=width))


def save_folder(model: CLIP, vocabulary: int, folder: Path, directions: Sequence[int] | None = None) -> None:
    """Write config and float16 weights beside the vocabulary files, so that ``local-dir:folder`` loads them.

    Args:
        model: the model.
        vocabulary: tokens that it knows.
        folder: where to write.
        directions: coordinates of the embedding space that are kept; ``None`` keeps all.
    """
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    weights = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    if directions is not None:
        weights.update(_only(directions, weights))
    width = weights["visual.conv3.weight"].shape[0]
    config = model_config(vocabulary, weights["text_projection"].shape[1], width)
    write_weights(folder, config, preprocess, weights)


def _only(directions: Sequence[int], weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the last layers of both towers without the other coordinates of their embeddings."""
    last = "visual.attnpool.c_proj"
    rows = {name: weights[name][directions].clone() for name in (f"{last}.weight", f"{last}.bias")}
    return {**rows, "text_projection": weights["text_projection"][:, directions].contiguous()}


def write_weights(
    folder: Path, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], weights: dict[str, torch.Tensor]
) -> None:
    """Write what open_clip calls a model's weights and configuration; raises RunError."""
    with replacing(folder / WEIGHTS_FILE) as part:
        save_tensors(part, weights)
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
