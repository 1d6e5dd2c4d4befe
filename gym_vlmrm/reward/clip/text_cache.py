"""Embeddings of prompts on disk, so that equal prompts of an equal model are computed once on a machine."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import write_bytes

__all__ = ["TextCache"]

_DIGEST_BYTES = hashlib.sha256().digest_size
MOST_FILES = 20_000
"""Embeddings that are kept (some 80 MB): whoever asks a server can ask for any number of sentences."""


class TextCache:
    """One small file per embedding. Whatever cannot be read or written is as if it were not there."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        """Look into a folder.

        Args:
            folder: where the files lie; ``None`` keeps nothing.
            fingerprint: whatever the embeddings depend on besides the tokens; another one finds none of them.
        """
        self._folder = None if folder is None else folder / "text-embeddings"
        self._fingerprint = fingerprint

    def get(self, tokens: Sequence[int]) -> NDArray[np.float32] | None:
        """Return the embedding (D,) of a sentence's tokens, or ``None`` where there is none that is whole."""
        if self._folder is None:
            return None
        try:
            data = self._path(self._folder, tokens).read_bytes()
        except OSError:
            return None
        digest, values = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if not values or len(values) % 4 or hashlib.sha256(values).digest() != digest:
            return None
        return np.frombuffer(values, "<f4").astype(np.float32)

    def put(self, tokens: Sequence[int], embedding: NDArray[np.float32]) -> None:
        """Keep the embedding (D,) of a sentence's tokens, if the folder allows it."""
        if self._folder is None:
            return
        values = embedding.astype("<f4").tobytes()
        with contextlib.suppress(OSError, RunError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with os.scandir(self._folder) as files:
                if sum(1 for _ in files) >= MOST_FILES:
                    return
            # A power failure may cost the file: the digest tells, and it is computed once more.
            content = hashlib.sha256(values).digest() + values
            write_bytes(self._path(self._folder, tokens), content, durable=False)

    def _path(self, folder: Path, tokens: Sequence[int]) -> Path:
        key = f"{self._fingerprint}:{','.join(map(str, tokens))}"
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()}.bin"
