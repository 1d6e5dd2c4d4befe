"""open_clip architectures that are made in a moment, for `local-dir:` folders with random weights."""

from typing import Any

TINY_MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
"""An open_clip architecture that is made in a moment; its text tower takes CLIP's own vocabulary."""
TINY_RESNET: dict[str, Any] = {
    **TINY_MODEL,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
}
PREPROCESSING: dict[str, Any] = {
    "size": [32, 32],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.3, 0.25, 0.2],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
