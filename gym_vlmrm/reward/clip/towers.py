"""The two towers of an open_clip model: unit embeddings of frames and sentences, shared by all who ask for them."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.batches import MicroBatches
from gym_vlmrm.reward.clip.devices import choose_device, choose_precision
from gym_vlmrm.reward.clip.filling import LateWeights, weights_digest
from gym_vlmrm.reward.clip.folding import fold_batch_norms, folds
from gym_vlmrm.reward.clip.int8 import quantise
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.clip.small import ModifiedResNet, lower_half, open_small, upper_half
from gym_vlmrm.reward.clip.text import TextTower
from gym_vlmrm.reward.clip.tracing import SharedTower
from gym_vlmrm.reward.clip.uploads import Uploads
from gym_vlmrm.reward.folders import UNTRAINED, state_of_files
from gym_vlmrm.reward.protocol import check_frames
from gym_vlmrm.reward.threads import survive_forks

__all__ = ["Reader", "Towers", "load_towers"]

Reader: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.bfloat16}
survive_forks()


class Towers:
    """An open_clip model that embeds batches of frames and lists of sentences as unit vectors."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        precision: str,
        origin: Sequence[str],
        weights: LateWeights | None = None,
    ) -> None:
        """Take over an open_clip model that lies in float32 on the CPU.

        Args:
            model: the model; its towers are taken apart.
            tokenizer: its tokenizer.
            device: where to compute.
            precision: arithmetic of the image tower, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
            origin: the arguments with which `load_towers` makes this again.
            weights: those that are yet to be filled into the model.
        """
        weights = weights or LateWeights()
        visual, name = model.visual, origin[0]
        self._origin = tuple(origin)
        self._device, self._dtype = device, _DTYPES[precision]
        self.device, self.precision = str(device), precision
        self._preprocessing = Preprocessing(visual.preprocess_cfg, device)
        self.on_cpu = device.type == "cpu"
        self.image_size = self._preprocessing.image_size
        """(height, width) of the image tower's input [px]."""
        self.parameters: int = sum(numbers.numel() for numbers in visual.parameters())
        """Size of the image tower."""
        reload = None if name.endswith(f"/{UNTRAINED}") else partial(_load_text, name)
        image_digest = weights_digest(visual, weights)
        if precision == "int8" or folds(visual):  # which reckon with exact weights before they are rounded
            weights.fill(visual, torch.device("cpu"))
        else:
            weights.fill(visual, device, self._dtype)
        self._text = TextTower(_without_visual(model), tokenizer, device, reload, weights)
        self.weights_digest = hashlib.sha256(f"{image_digest} {self._text.weights_digest}".encode()).hexdigest()
        """SHA-256 (hex) of the weights of both towers as they were loaded, whatever the precision."""
        self.batches = MicroBatches(device, self.parameters, name)
        """How many frames go through the image tower together."""
        self._uploads = Uploads(device)
        self._layout = _memory_format(visual)
        visual.eval().requires_grad_(False)
        fold_batch_norms(visual)
        mean, std = self._preprocessing.mean, self._preprocessing.std
        self._takes_levels = precision == "int8" and quantise(visual, mean, std, self._dtype)
        self._visual = visual.to(device=device, dtype=self._dtype, memory_format=self._layout)
        plain = isinstance(visual, ModifiedResNet) and self.on_cpu and precision != "int8"
        self._shared = SharedTower(self._visual) if plain else None

    def __reduce__(self) -> tuple[Any, ...]:
        # Weights stay where they are: a copy loads them again, or shares them within one process.
        return load_towers, self._origin

    @torch.inference_mode()
    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) of uint8 RGB frames (N, H, W, 3), in micro-batches of bounded memory.

        Raises:
            ModelError: the frames are no such pictures, or one of them does not fit into the device's memory.
        """
        return self._in_batches(frames, self._embed_batch)

    @torch.inference_mode()
    def read_frames(self, frames: NDArray[np.uint8], read: Reader) -> NDArray[np.float32]:
        """Return what `read` tells (N, K) of frames (N, H, W, 3), beside the embedding that `embed_frames` returns.

        Args:
            frames: uint8 RGB frames.
            read: is called with what a residual image tower knows half way up (N, C, h, w), and with its unit
                embeddings (N, D), both in float32.

        Returns:
            (N, D + K), the embeddings first.

        Raises:
            ModelError: as `embed_frames` does, or the image tower is no residual network.
        """
        if not all(hasattr(self._visual, part) for part in ("stem", "layer3", "layer4", "attnpool")):
            raise ModelError(f"the image tower of '{self._origin[0]}' has other layers than a motion head reads")
        return self._in_batches(frames, partial(self._read_batch, read=read))

    def _in_batches(
        self, frames: NDArray[np.uint8], look: Callable[[NDArray[np.uint8]], torch.Tensor]
    ) -> NDArray[np.float32]:
        units = self.batches.run(check_frames(frames), look)
        # Only this waits for the device.
        embeddings: NDArray[np.float32] = torch.cat(units).cpu().numpy()
        return embeddings

    def _embed_batch(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        features = (self._shared or self._visual)(self._pixels(frames))
        features = features[0] if isinstance(features, tuple) else features  # CoCa's tower returns its tokens too
        return functional.normalize(features.float(), dim=-1)

    def _read_batch(self, frames: NDArray[np.uint8], read: Reader) -> torch.Tensor:
        middle = lower_half(self._visual, self._pixels(frames))
        unit = functional.normalize(upper_half(self._visual, middle).float(), dim=-1)
        return torch.cat([unit, read(middle.float(), unit)], dim=-1)

    def _pixels(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        pixels = self._uploads(torch.from_numpy(np.require(frames, requirements=["C", "W"])))
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


def _open(name: str) -> tuple[Any, Any, LateWeights]:
    found = open_small(name)
    if found is not None:
        return *found, LateWeights()
    from gym_vlmrm.reward.clip.opening import open_late  # imports open_clip

    return open_late(name)


def _load_text(name: str) -> tuple[Any, LateWeights]:
    model, _, weights = _open(name)
    return _without_visual(model), weights


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
            files = (name, state_of_files(name))
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


@_shared
def load_towers(name: str, device: str = "auto", precision: str = "auto") -> Towers:
    """Load an open_clip model by name; who asks for one that is in use on that device, in that arithmetic, shares it.

    Only its users hold a model: when the last of them is gone (environments closed and deleted), so are its weights.
    One whose files changed since is loaded anew.

    Args:
        name: any that `gym_vlmrm.reward.clip.opening.open_model` takes.
        device: see `choose_device`.
        precision: see `choose_precision`.

    Raises:
        ModelError: unknown name, unreachable or unreadable weights, or no such device.
    """
    chosen = choose_device(device)
    model, tokenizer, weights = _open(name)
    parameters = sum(parameter.numel() for parameter in model.visual.parameters())
    arithmetic = choose_precision(precision, chosen, parameters)
    with _enough_memory(name, chosen):
        return Towers(model, tokenizer, chosen, arithmetic, (name, str(chosen), arithmetic), weights)
