"""The text tower: needed for a moment, large, and so dropped and cached."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.cache import cache_folder
from gym_vlmrm.reward.clip.filling import LateWeights, weights_digest
from gym_vlmrm.reward.clip.text_cache import TextCache
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["TextTower", "tokens_of", "unread_part"]

KEPT_PARAMETERS = 50_000_000
"""Text towers up to this size stay in memory; larger ones are there only while they read a sentence that is new."""
_SCHEME = 1
"""Part of every key; raised when embeddings would be computed differently."""


class TextTower:
    """Unit embeddings of sentences, always in float32, from a cache on disk where it has them."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        reload: Callable[[], tuple[Any, LateWeights]] | None,
        weights: LateWeights | None = None,
    ) -> None:
        """Take over an open_clip model on the CPU whose image tower was taken out.

        Args:
            model: the rest of the model.
            tokenizer: the model's own.
            device: where sentences are embedded; the tower goes there when the first one is not in the cache.
            reload: makes such a model and its weights again; ``None`` where weights are random: then it is kept, and
                nothing is cached.
            weights: those that are yet to be filled into the model; a large one is made again for its first new
                sentence, and costs no memory before.
        """
        weights = weights or LateWeights()
        self._model: Any = model
        self._tokenizer, self._device, self._reload = tokenizer, device, reload
        self.weights_digest = weights_digest(model, weights)
        """SHA-256 of the tower's weights."""
        self._fingerprint = _fingerprint(model, self.weights_digest) if reload is not None else ""
        self._size = sum(numbers.numel() for numbers in model.parameters())
        self._lock = threading.Lock()
        if weights.wait_for(model) and self._size > KEPT_PARAMETERS:
            self._model = None
        else:
            weights.fill(model, torch.device("cpu"))

    @property
    def in_memory(self) -> bool:
        """Whether the tower's weights are loaded."""
        return self._model is not None

    def embed(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return unit embeddings (K, D) of sentences.

        Raises:
            ModelError: the weights are needed again and changed on disk meanwhile.
        """
        tokens = tokens_of(self._tokenizer, sentences)  # (K, L)
        cache = TextCache(cache_folder() if self._reload else None, f"{self._fingerprint}:{self._device.type}")
        keys = [tuple(row) for row in tokens.tolist()]
        found = {key: cache.get(key) for key in keys}
        missing = [row for row, key in enumerate(keys) if found[key] is None]
        if missing:
            computed = self._compute(tokens[missing])
            for row, embedding in zip(missing, computed, strict=True):
                found[keys[row]] = embedding
                cache.put(keys[row], embedding)
        return np.stack([np.asarray(found[key]) for key in keys])

    def unread_part(self, sentence: str) -> str:
        """Return the words at the end of a sentence that the tower has no room for; mostly none."""
        return unread_part(self._tokenizer, sentence)

    def release(self) -> None:
        """Give back the memory of a large tower; it comes back by itself when a sentence needs it."""
        with self._lock:
            if self._reload is not None and self._size > KEPT_PARAMETERS:
                self._model = None

    @torch.inference_mode()
    def _compute(self, tokens: torch.Tensor) -> NDArray[np.float32]:
        with self._lock:
            if self._model is None:
                assert self._reload is not None
                model, weights = self._reload()
                if _fingerprint(model, weights_digest(model, weights)) != self._fingerprint:
                    raise ModelError("the model's weights changed on disk while it was in use; start again")
                weights.fill(model, self._device)
                self._model = model
            self._model.to(self._device)
            features = self._model.encode_text(tokens.to(self._device))
        unit: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return unit


def tokens_of(tokenizer: Any, sentences: Sequence[str], **options: Any) -> torch.Tensor:
    """Return the tokens (K, L) of sentences.

    Raises:
        ModelError: the tokenizer fails on them; those written in Rust do so with what is no Exception.
    """
    try:
        tokens: torch.Tensor = tokenizer(list(sentences), **options)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the model's tokenizer fails on '{shorten(sentences[-1])}' ({reason})") from error
    return tokens


def unread_part(tokenizer: Any, sentence: str) -> str:
    """Return the words at the end of a sentence that do not fit into the tokens of the model; mostly none.

    Args:
        tokenizer: an open_clip tokenizer, which cuts what is too long without a word.
        sentence: the sentence.
    """
    if _fits(tokenizer, [sentence])[0]:
        return ""
    words = sentence.split()
    beginnings = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
    return " ".join(words[int(_fits(tokenizer, beginnings).sum()) :])


def _fits(tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Whether each of the texts (K,) is read whole: room for two tokens more is filled with padding only."""
    cut = tokens_of(tokenizer, ["", *texts])
    length = cut.shape[1]
    whole = tokens_of(tokenizer, ["", *texts], context_length=length + 2)
    if getattr(getattr(tokenizer, "tokenizer", None), "padding_side", "right") == "left":
        cut, whole = cut.flip(1), whole.flip(1)
    padding = whole[0, -1]
    fits: torch.Tensor = (cut == whole[:, :length]).all(dim=1) & (whole[:, length] == padding)
    return fits[1:]


def _fingerprint(model: torch.nn.Module, weights: str) -> str:
    """Digest of all that an embedding depends on: weights, and settings that are no weights, such as heads."""
    digest = hashlib.sha256(f"{_SCHEME} {model!r}".encode())
    for name, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str)}
        digest.update(f"{name} {sorted(settings.items())}".encode())
    digest.update(weights.encode())
    return digest.hexdigest()
