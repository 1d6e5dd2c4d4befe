"""The two towers of an open_clip model: loading by any of its names, preprocessing on the device, unit embeddings."""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, did_you_mean


def _load_triton_apart() -> None:
    """Load triton with its own LLVM symbols, before torchvision would.

    Mesa's software OpenGL brings another LLVM; once a context exists, an ordinary import of triton crashes the process.
    """
    if "triton" in sys.modules or not hasattr(sys, "setdlopenflags"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401
    sys.setdlopenflags(flags)


_load_triton_apart()

import open_clip  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as functional  # noqa: E402

__all__ = ["Towers", "choose_device", "choose_precision", "load_towers"]

UNTRAINED = "untrained"
"""Pretrained tag of this package: random weights, for measuring speed."""
MERGES_FILE = "bpe_merges.txt.gz"
"""A model folder that holds this file brings its own byte-pair vocabulary."""
SMALL_TOWER = 20_000_000
"""Below this many parameters bf16 saves nothing on a CPU, where rendering is the cost."""
MICRO_BATCH = 64
_SCHEMAS = ("hf-hub:", "local-dir:")
logger = logging.getLogger("gym_vlmrm")


class Towers:
    """An open_clip model that embeds batches of frames and lists of sentences as unit vectors."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._device = device
        self._dtype = dtype
        self.preprocess: dict[str, Any] = dict(model.visual.preprocess_cfg)  # type: ignore[union-attr, arg-type]
        size = self.preprocess["size"]
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self._mean = torch.tensor(self.preprocess["mean"], device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.preprocess["std"], device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) of uint8 RGB frames (N, H, W, 3), in micro-batches of bounded memory."""
        batches = [self._embed_batch(frames[i : i + MICRO_BATCH]) for i in range(0, len(frames), MICRO_BATCH)]
        return np.concatenate(batches)

    def _embed_batch(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device).permute(0, 3, 1, 2)
        images = (self._fit(pixels.float() / 255) - self._mean) / self._std  # (N, 3, *image_size)
        features = self._model.encode_image(images.to(self._dtype))  # type: ignore[operator]
        unit: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return unit

    @torch.inference_mode()
    def embed_sentences(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return unit embeddings (K, D) of sentences."""
        tokens = self._tokenizer(list(sentences)).to(self._device)
        features = self._model.encode_text(tokens)  # type: ignore[operator]
        unit: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return unit

    def _fit(self, images: torch.Tensor) -> torch.Tensor:
        """Bring images (N, 3, H, W) to the model's input size in the way that the model was trained with."""
        height, width = images.shape[-2:]
        if (height, width) == self.image_size:
            return images
        mode = self.preprocess.get("resize_mode", "shortest")
        ratios = self.image_size[0] / height, self.image_size[1] / width
        if mode == "squash":
            return self._resize(images, self.image_size)
        scale = min(ratios) if mode == "longest" else max(ratios)
        images = self._resize(images, (round(height * scale), round(width * scale)))
        top, left = ((have - want) // 2 for have, want in zip(images.shape[-2:], self.image_size, strict=True))
        if mode == "longest":
            fill = float(self.preprocess.get("fill_color", 0)) / 255
            missing = [want - have for have, want in zip(images.shape[-2:], self.image_size, strict=True)]
            return functional.pad(images, (-left, missing[1] + left, -top, missing[0] + top), value=fill)
        return images[..., top : top + self.image_size[0], left : left + self.image_size[1]]

    def _resize(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        mode = "bilinear" if self.preprocess.get("interpolation") == "bilinear" else "bicubic"
        return functional.interpolate(images, size, mode=mode, antialias=True, align_corners=False).clamp(0, 1)


def choose_device(device: str) -> torch.device:
    """Return the device; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ModelError: no such device on this machine.
    """
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(f"device '{device}' is unknown; use auto, cpu, cuda or cuda:N") from None
    available = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if (chosen.index or 0) >= available:
        raise ModelError(
            f"device '{device}' asked for, but torch finds {available} CUDA devices here; use device='cpu'"
        )
    return chosen


def choose_precision(precision: str, device: torch.device, parameters: int) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``; ``auto`` takes the fastest that the device computes natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and parameters >= SMALL_TOWER and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def _cpu_has_bf16() -> bool:
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())


@lru_cache(maxsize=4)
def load_towers(name: str, device: str = "auto", precision: str = "auto") -> Towers:
    """Load an open_clip model by name; equal arguments share one model in this process.

    Args:
        name: ``architecture/pretrained-tag``, ``architecture/path-to-weights``, ``architecture/untrained``,
            ``hf-hub:org/name`` or ``local-dir:path``.
        device: see `choose_device`.
        precision: see `choose_precision`.

    Raises:
        ModelError: unknown name, unreachable or unreadable weights, or no such device.
    """
    chosen = choose_device(device)
    arguments = _creation_arguments(name)
    try:
        model = open_clip.create_model(**arguments, device=chosen)
    except Exception as error:
        raise ModelError(_cannot_load(name, error)) from None
    parameters = sum(p.numel() for p in model.visual.parameters())
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
        choose_precision(precision, chosen, parameters)
    ]
    model = model.to(dtype)
    return Towers(model, _tokenizer(name), chosen, dtype)


def _creation_arguments(name: str) -> dict[str, Any]:
    if name.startswith(_SCHEMAS):
        _check_local_folder(name)
        return {"model_name": name, "require_pretrained": True}
    architecture, _, pretrained = name.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        hint = did_you_mean(architecture, known) if len(did_you_mean(architecture, known)) < 60 else ""
        raise ModelError(
            f"unknown model '{name}'{hint or '; name embedded, architecture/pretrained-tag, hf-hub: or local-dir:'}"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained == UNTRAINED:
        logger.warning("model %s has random weights: its rewards mean nothing", name)
        return {"model_name": architecture, "pretrained": None}
    if pretrained.lower() in [tag.lower() for tag in tags]:
        return {"model_name": architecture, "pretrained": pretrained, "require_pretrained": True}
    if Path(pretrained).is_file():
        return {
            "model_name": architecture,
            "pretrained": pretrained,
            "require_pretrained": True,
            "force_preprocess_cfg": _trained_preprocessing(architecture, tags),
        }
    raise ModelError(
        f"model '{name}': '{pretrained}' is neither a file nor a pretrained tag of {architecture}{did_you_mean(pretrained, tags)}"
    )


def _trained_preprocessing(architecture: str, tags: list[str]) -> dict[str, Any]:
    """Preprocessing of the architecture's published weights: open_clip takes OpenAI's for every weight file."""
    configs = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {key: configs[0][key] for key in keys if configs and key in configs[0]}


def _check_local_folder(name: str) -> None:
    if not name.startswith("local-dir:"):
        return
    folder = Path(name.removeprefix("local-dir:"))
    if not (folder / "open_clip_config.json").is_file():
        raise ModelError(
            f"model '{name}': no open_clip_config.json in {folder}; local-dir: needs a folder with it and weights"
        )


def _tokenizer(name: str) -> Any:
    folder = Path(name.removeprefix("local-dir:"))
    if name.startswith("local-dir:") and (folder / MERGES_FILE).is_file():
        return open_clip.get_tokenizer(name, bpe_path=str(folder / MERGES_FILE))
    return open_clip.get_tokenizer(name if name.startswith(_SCHEMAS) else name.partition("/")[0])


def _cannot_load(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    cure = "check the network, or use local files: local-dir:FOLDER or architecture/PATH-TO-WEIGHTS"
    return f"cannot load model '{name}' ({type(error).__name__}: {reason}); {cure}"
