"""The small model that is trained from scratch, the embedded one too: its architecture and its folder on disk."""

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

__all__ = ["CONTEXT_LENGTH", "EMBEDDING_SIZE", "FRAME_SIZE", "MEAN", "STD", "build_clip", "model_config", "save_folder"]

FRAME_SIZE = 96
"""Side of its frames [px]."""
EMBEDDING_SIZE = 384

CONTEXT_LENGTH = 40
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def model_config(vocabulary: int) -> dict[str, Any]:
    """Return open_clip's ``model_cfg``: a modified ResNet of width 16 and a two-layer text transformer."""
    return {
        "embed_dim": EMBEDDING_SIZE,
        "vision_cfg": {"image_size": FRAME_SIZE, "layers": [1, 2, 4, 3], "width": 16, "patch_size": None},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def build_clip(vocabulary: int) -> CLIP:
    """Build the model with random weights."""
    return CLIP(**model_config(vocabulary))


def save_folder(model: CLIP, vocabulary: int, folder: Path) -> None:
    """Write config and float16 weights beside the vocabulary files, so that ``local-dir:folder`` loads them."""
    config = {
        "model_cfg": model_config(vocabulary),
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors")
