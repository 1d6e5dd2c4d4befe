"""The two towers of an open_clip model: loading by any of its names, and unit embeddings of frames and sentences."""

import contextlib
import hashlib
import json
import logging
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import open_clip
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, did_you_mean
from gym_vlmrm.reward.clip.devices import SMALL_TOWER, choose_device, choose_precision
from gym_vlmrm.reward.clip.folding import fold_batch_norms
from gym_vlmrm.reward.clip.hub import impatient_hub
from gym_vlmrm.reward.clip.int8 import quantise
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.clip.text import TextTower, weights_digest
from gym_vlmrm.reward.protocol import check_frames

__all__ = ["MERGES_FILE", "Towers", "check_name", "load_tokenizer", "load_towers", "open_model"]

UNTRAINED = "untrained"
"""Pretrained tag of this package: random weights, for measuring speed."""
MERGES_FILE = "bpe_merges.txt.gz"
"""A model folder that holds this file brings its own byte-pair vocabulary."""
MICRO_BATCH = 64
"""Frames that go through a large tower together on an accelerator; a small one takes `SMALL_MICRO_BATCH`.

Where the memory of the device is too small for them, half as many go from then on.
"""
SMALL_MICRO_BATCH = 1024
MIDDLE_MICRO_BATCH = 256
MIDDLE_TOWER = 120_000_000
"""Up to this many parameters (ViT-B and smaller) a tower takes `MIDDLE_MICRO_BATCH` frames on an accelerator."""
CPU_MICRO_BATCH = 16
"""Larger ones were never clearly faster on a CPU, and sometimes slower: they leave the processor's caches."""
TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language"})
"""What a model's configuration may say to its tokenizer; all that open_clip's own configurations say."""
_SCHEMAS = ("hf-hub:", "local-dir:")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.bfloat16}
logger = logging.getLogger("gym_vlmrm")


class Towers:
    """An open_clip model that embeds batches of frames and lists of sentences as unit vectors."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device, precision: str, origin: Sequence[str]):
        """Take over an open_clip model that lies in float32 on the CPU.

        Args:
            model: the model; its towers are taken apart.
            tokenizer: its tokenizer.
            device: where to compute.
            precision: arithmetic of the image tower, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
            origin: the arguments with which `load_towers` makes this again.
        """
        visual, name = model.visual, origin[0]
        self._origin = tuple(origin)
        self._device, self._dtype = device, _DTYPES[precision]
        self.device, self.precision = str(device), precision
        self._preprocessing = Preprocessing(visual.preprocess_cfg, device)
        self.on_cpu = device.type == "cpu"
        self.image_size = self._preprocessing.image_size
        """(height, width) of the image tower's input [px]."""
        self.parameters: int = sum(weights.numel() for weights in visual.parameters())
        """Size of the image tower."""
        reload = None if name.endswith(f"/{UNTRAINED}") else partial(_load_text, name)
        image_digest = weights_digest(visual)
        self._text = TextTower(_without_visual(model), tokenizer, device, reload)
        self.weights_digest = hashlib.sha256(f"{image_digest} {self._text.weights_digest}".encode()).hexdigest()
        """SHA-256 (hex) of the weights of both towers as they were loaded, whatever the precision."""
        self._micro_batch = _micro_batch(device, self.parameters)
        self._layout = _memory_format(visual)
        visual.eval().requires_grad_(False)
        fold_batch_norms(visual)
        mean, std = self._preprocessing.mean, self._preprocessing.std
        self._takes_levels = precision == "int8" and quantise(visual, mean, std, self._dtype)
        self._visual = visual.to(device=device, dtype=self._dtype, memory_format=self._layout)

    def __reduce__(self) -> tuple[Any, ...]:
        # Weights stay where they are: a copy loads them again, or shares them within one process.
        return load_towers, self._origin

    @torch.inference_mode()
    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) of uint8 RGB frames (N, H, W, 3), in micro-batches of bounded memory.

        Raises:
            ModelError: the frames are no such pictures, or one of them does not fit into the device's memory.
        """
        frames = check_frames(frames)
        units: list[torch.Tensor] = []
        start = 0
        while start < len(frames):
            part = frames[start : start + self._micro_batch]
            with contextlib.suppress(torch.OutOfMemoryError):
                units.append(self._embed_batch(part))
                start += len(part)
                continue
            self._take_less(len(part))
        # Only `cpu()` waits for the device, so copies and computations of micro-batches overlap.
        embeddings: NDArray[np.float32] = torch.cat(units).cpu().numpy()
        return embeddings

    def _take_less(self, tried: int) -> None:
        """Halve the micro-batches after one of `tried` frames did not fit into the device's memory."""
        if tried == 1:
            raise ModelError(
                f"model '{self._origin[0]}' and one frame at a time do not fit into the memory of {self.device}; use "
                f"precision='bf16', device='cpu' or a smaller model"
            )
        self._micro_batch = max(tried // 2, 1)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        logger.info("%s has too little memory for %d frames at a time; taking %d", self.device, tried, tried // 2)

    def _embed_batch(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(frames))
        if self._device.type == "cuda":
            # Else pinning would make a context on the first GPU, whichever this model is on.
            with torch.cuda.device(self._device):
                pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        features = self._visual(self._images(pixels.to(self._device)))
        features = features[0] if isinstance(features, tuple) else features  # CoCa's tower returns its tokens too
        return functional.normalize(features.float(), dim=-1)

    def _images(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._takes_levels:
            return self._preprocessing.levels(pixels)
        return self._preprocessing(pixels).to(dtype=self._dtype, memory_format=self._layout)

    def embed_sentences(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return unit embeddings (K, D) of sentences, in float32 whatever the precision."""
        with _enough_memory(self._origin[0], self._device):
            return self._text.embed(sentences)

    def unread_part(self, sentence: str) -> str:
        """Return the words at the end of a sentence that the text tower has no room for; mostly none."""
        return self._text.unread_part(sentence)

    def release_text(self) -> None:
        """Give back the memory of a large text tower until another sentence needs it."""
        self._text.release()


def _without_visual(model: Any) -> Any:
    del model.visual
    return model.eval().requires_grad_(False)


@contextlib.contextmanager
def _enough_memory(name: str, device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(
            f"model '{name}' does not fit into the memory of {device}; use precision='bf16', device='cpu' or a smaller "
            f"model"
        ) from None


def _micro_batch(device: torch.device, parameters: int) -> int:
    if device.type == "cpu":
        return CPU_MICRO_BATCH
    if parameters < SMALL_TOWER:
        return SMALL_MICRO_BATCH
    return MIDDLE_MICRO_BATCH if parameters < MIDDLE_TOWER else MICRO_BATCH


def _load_text(name: str) -> Any:
    return _without_visual(open_model(name, torch.device("cpu"))[0])


def _memory_format(visual: torch.nn.Module) -> torch.memory_format:
    """Channels last makes convolutional towers faster (1.3-1.6x here); transformers have one convolution only."""
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in visual.modules())
    return torch.channels_last if convolutions > 1 else torch.contiguous_format


_ALIVE: WeakValueDictionary[tuple[Any, ...], Towers] = WeakValueDictionary()
"""Models that somebody uses, by what they are: name, state of their files, device and arithmetic."""
_SIZES: dict[tuple[Any, ...], int] = {}
"""Parameters of image towers that were loaded, which tell an arithmetic of ``auto`` without loading them again."""
_LOADING = threading.RLock()


def _shared(load: Callable[[str, str, str], Towers]) -> Callable[..., Towers]:
    """Share what `load` returned for as long as somebody holds it."""

    @wraps(load)
    def shared(name: str, device: str = "auto", precision: str = "auto") -> Towers:
        chosen = choose_device(device)
        with _LOADING:
            files = (name, _state_of_files(name))
            if files in _SIZES:
                arithmetic = choose_precision(precision, chosen, _SIZES[files])
                alive = _ALIVE.get((*files, str(chosen), arithmetic))
                if alive is not None:
                    return alive
            towers = load(name, str(chosen), precision)
            _SIZES[files] = towers.parameters
            _ALIVE[(*files, towers.device, towers.precision)] = towers
            return towers

    return shared


def _state_of_files(name: str) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change and size of every local file that a model is read from."""
    if name.startswith("local-dir:"):
        paths = sorted(Path(name.removeprefix("local-dir:")).glob("*"))
    elif name.startswith(_SCHEMAS):
        return ()
    else:
        paths = [Path(name.partition("/")[2])]
    states = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                state = path.stat()
                states.append((str(path.resolve()), state.st_mtime_ns, state.st_size))
    return tuple(states)


@_shared
def load_towers(name: str, device: str = "auto", precision: str = "auto") -> Towers:
    """Load an open_clip model by name; who asks for one that is in use on that device, in that arithmetic, shares it.

    Only its users hold a model: when the last of them is gone (environments closed and deleted), so are its weights.
    One whose files changed since is loaded anew.

    Args:
        name: ``architecture/pretrained-tag``, ``architecture/path-to-weights``, ``architecture/untrained``,
            ``hf-hub:org/name`` or ``local-dir:path``.
        device: see `choose_device`.
        precision: see `choose_precision`.

    Raises:
        ModelError: unknown name, unreachable or unreadable weights, or no such device.
    """
    chosen = choose_device(device)
    model, tokenizer = open_model(name, torch.device("cpu"))
    parameters = sum(parameter.numel() for parameter in model.visual.parameters())
    arithmetic = choose_precision(precision, chosen, parameters)
    with _enough_memory(name, chosen):
        return Towers(model, tokenizer, chosen, arithmetic, (name, str(chosen), arithmetic))


def open_model(name: str, device: torch.device) -> tuple[Any, Any]:
    """Return a fresh open_clip model in float32 and its tokenizer, by any name that `load_towers` takes.

    Raises:
        ModelError: unknown name, or unreachable or unreadable weights.
    """
    arguments = _creation_arguments(name)
    try:
        with impatient_hub(offline=_is_whole(name)):
            return open_clip.create_model(**arguments, device=device), _tokenizer(name)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_cannot_load(name, error)) from None


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a model alone, by any name that `load_towers` takes, from files on this machine.

    Raises:
        ModelError: unknown name, or no such files here.
    """
    if not name.startswith(_SCHEMAS) and name.partition("/")[0] not in open_clip.list_models():
        raise ModelError(f"unknown model '{name}'")
    return _kept_tokenizer(name, _state_of_files(name))


@lru_cache(maxsize=8)
def _kept_tokenizer(name: str, _: object) -> Any:
    try:
        with impatient_hub(offline=True):
            return _tokenizer(name)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_cannot_load(name, error)) from None


def _is_whole(name: str) -> bool:
    """Whether a model needs nothing from the Hub: a folder that builds on no text tower of transformers."""
    if not name.startswith("local-dir:"):
        return False
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        config = Path(name.removeprefix("local-dir:")) / "open_clip_config.json"
        return "hf_model_name" not in json.loads(config.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    return True


def check_name(name: str) -> None:
    """Check that a name means a model, without loading it; raises ModelError."""
    if not name.endswith(f"/{UNTRAINED}"):  # which warns, and cannot miss its weights
        _creation_arguments(name)


def _creation_arguments(name: str) -> dict[str, Any]:
    if name.startswith(_SCHEMAS):
        _check_local_folder(name)
        return {"model_name": name, "require_pretrained": True}
    architecture, _, pretrained = name.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        guess = did_you_mean(architecture, known)
        forms = "; name embedded, architecture/pretrained-tag, hf-hub: or local-dir:"
        raise ModelError(f"unknown model '{name}'{guess if guess.startswith('; did') else forms}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained == UNTRAINED:
        logger.warning("model %s has random weights: its rewards mean nothing", name)
        return {"model_name": architecture, "pretrained": None}
    if pretrained.lower() in [tag.lower() for tag in tags]:
        return {"model_name": architecture, "pretrained": pretrained, "require_pretrained": True}
    if not pretrained:
        raise ModelError(
            f"model '{name}' names no weights; write '{name}/TAG', such as '{name}/{tags[-1] if tags else 'FILE'}'"
        )
    if Path(pretrained).is_file():
        return {
            "model_name": architecture,
            "pretrained": pretrained,
            "require_pretrained": True,
            "force_preprocess_cfg": _trained_preprocessing(architecture, tags),
        }
    hint = did_you_mean(pretrained, tags) or "; it has no published weights, so name a file"
    raise ModelError(f"model '{name}': '{pretrained}' is neither a file nor a pretrained tag of {architecture}{hint}")


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
    _check_tokenizer_options(name)
    folder = Path(name.removeprefix("local-dir:"))
    if name.startswith("local-dir:") and (folder / MERGES_FILE).is_file():
        return open_clip.get_tokenizer(name, bpe_path=str(folder / MERGES_FILE))
    return open_clip.get_tokenizer(name if name.startswith(_SCHEMAS) else name.partition("/")[0])


def _check_tokenizer_options(name: str) -> None:
    """Refuse a stranger's configuration that hands more than harmless options on to transformers."""
    if not name.startswith(_SCHEMAS):
        return
    strange: list[str] = []
    with contextlib.suppress(Exception):  # what cannot be read fails later, with its reason
        config = open_clip.get_model_config(name)["text_cfg"]
        strange = sorted(set(config.get("tokenizer_kwargs") or {}) - TOKENIZER_OPTIONS)
    if strange:
        raise ModelError(
            f"model '{name}': its configuration sets '{strange[0]}' for its tokenizer, which may run a stranger's "
            f"program; only {', '.join(sorted(TOKENIZER_OPTIONS))} are allowed there"
        )


def _cannot_load(name: str, error: Exception) -> str:
    reason = textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
    cure = "check the network, or use local files: local-dir:FOLDER or architecture/PATH-TO-WEIGHTS"
    if name.startswith("local-dir:"):
        cure = "the folder needs open_clip_config.json and open_clip_model.safetensors that fit together"
    elif isinstance(error, ImportError):
        cure = "install the package that it names (pip install 'gym-vlmrm[transformers]' for SigLIP-type models)"
    return f"cannot load model '{name}' ({type(error).__name__}: {reason}); {cure}"
