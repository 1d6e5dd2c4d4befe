"""Models that are known by name: how large they are, whose licence they carry, and whether they are on this machine.

Sizes come from open_clip's own configurations, of which a model without weights is made; nothing is fetched.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open

from gym_vlmrm.reward.clip.packed import FACTORS
from gym_vlmrm.reward.folders import WEIGHTS_FILE, check_folder
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS

__all__ = ["COMMON", "KnownModel", "known_models", "silence"]

COMMON = (
    "RN50/openai",
    "ViT-B-32/laion2b_s34b_b79k",
    "ViT-B-16-SigLIP/webli",
    "ViT-L-14/laion2b_s32b_b82k",
    "ViT-SO400M-14-SigLIP/webli",
    "ViT-H-14/laion2b_s32b_b79k",
    "ViT-H-14-quickgelu/dfn5b",
    "ViT-bigG-14/laion2b_s39b_b160k",
)
"""Open_clip models that are listed first: the paper's, and smaller ones that others use as rewards, by size."""
_WEIGHTS = (
    WEIGHTS_FILE, "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
_LICENCES = (
    ("laion/", "MIT"),
    ("openai", "MIT"),
    ("timm/ViT-B-16-SigLIP/", "Apache-2.0"),
    ("apple/DFN", "Apple sample code"),
)
"""Beginning of a Hub repository, or a tag, and the licence that its page names (read in November 2026)."""


class KnownModel(BaseModel):
    """A model by its name for ``model=``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image_weights: int | None = None
    """Parameters of the image tower, which sees every frame; ``None`` where counting needs files from the Hub."""
    weights: int | None = None
    """Parameters of both towers."""
    memory_mb: float | None = None
    """What the image tower's weights take as float32 [MB]; half of it as bfloat16. Activations come on top."""
    frame_size: int | None = None
    """Side of its input [px]."""
    licence: str | None = None
    """``None`` where this package knows none: read the page."""
    page: str | None = None
    """Where its weights and licence are published."""
    cached: bool = False
    """Whether its weights are on this machine."""
    download_mb: float | None = None
    """Size of the weights on this machine [MB]; ``None`` where they are not."""


def known_models(*, every: bool = False) -> list[KnownModel]:
    """Return the embedded models and those of `COMMON`, or `every` pretrained model of open_clip, without their sizes.

    Raises:
        ModelError: an embedded model is damaged.
    """
    names = ["/".join(pair) for pair in open_clip.list_pretrained()]
    chosen = [name for name in COMMON if name in names]
    if every:
        chosen += [name for name in names if name not in chosen]
    return [*map(_embedded, EMBEDDED_FOLDERS), *(_describe(name, counted=name in COMMON) for name in chosen)]


def _embedded(name: str) -> KnownModel:
    config = check_folder(EMBEDDED_FOLDERS[name])
    weights = EMBEDDED_FOLDERS[name] / WEIGHTS_FILE
    counts = {}
    with safe_open(weights, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  (it is no mapping)
            shape = file.get_slice(key).get_shape()
            if not key.endswith(FACTORS):
                counts[key] = int(torch.Size(shape).numel())
    image = sum(count for key, count in counts.items() if key.startswith("visual."))
    return KnownModel(
        name=name,
        image_weights=image,
        weights=sum(counts.values()),
        memory_mb=_megabytes(4 * image),
        frame_size=int(config["model_cfg"]["vision_cfg"]["image_size"]),
        licence="MIT, of this package",
        cached=True,
        download_mb=_megabytes(weights.stat().st_size),
    )


def _describe(name: str, *, counted: bool) -> KnownModel:
    architecture, _, tag = name.partition("/")
    config = open_clip.get_pretrained_cfg(architecture, tag) or {}
    repository = str(config.get("hf_hub") or "")
    found = _weights_here(repository, str(config.get("url") or ""))
    image, both, side = _sizes(architecture) if counted else (None, None, _side(architecture))
    return KnownModel(
        name=name,
        image_weights=image,
        weights=both,
        memory_mb=None if image is None else _megabytes(4 * image),
        frame_size=side,
        licence=next((words for key, words in _LICENCES if repository.startswith(key) or tag == key), None),
        page=f"https://huggingface.co/{repository.strip('/')}" if repository else None,
        cached=found is not None,
        download_mb=None if found is None else _megabytes(found.stat().st_size),
    )


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)


def _weights_here(repository: str, url: str) -> Path | None:
    """Return the file of weights where open_clip would find it without fetching anything."""
    parts = repository.strip("/").split("/")
    if len(parts) >= 2:
        names = ("/".join(parts[2:]),) if len(parts) > 2 else _WEIGHTS
        for file in names:
            path = try_to_load_from_cache("/".join(parts[:2]), file)
            if isinstance(path, str):
                return Path(path)
    old = Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]  # where open_clip keeps what is no Hub's
    return old if url and old.is_file() else None


@cache
def _sizes(architecture: str) -> tuple[int | None, int | None, int | None]:
    """Return the parameters of the image tower and of both, and the side of the input, of a model without weights."""
    config = open_clip.get_model_config(architecture) or {}
    if config.get("text_cfg", {}).get("hf_model_name"):  # which transformers would fetch
        return None, None, _side(architecture)
    with silence(), torch.device("meta"):  # else the weights are made, then thrown away
        model = open_clip.create_model(architecture, device="meta")
    count = [sum(weights.numel() for weights in part.parameters()) for part in (model.visual, model)]
    return count[0], count[1], _side(architecture)


def _side(architecture: str) -> int | None:
    size: Any = (open_clip.get_model_config(architecture) or {}).get("vision_cfg", {}).get("image_size")
    return None if size is None else int(max(size) if isinstance(size, list | tuple) else size)


@contextmanager
def silence() -> Iterator[None]:
    """Keep open_clip from saying that a model has no weights: it is to have none."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
