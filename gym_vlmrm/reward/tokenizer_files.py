"""Files of a model folder that transformers reads for its tokenizer: they name no file elsewhere, no text swells."""

import base64
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import ModelError
from gym_vlmrm.files import MAX_TABLE, read_json

__all__ = ["check_tokenizer_files"]

SETTINGS_FILES = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
TOKENIZER_FILE = "tokenizer.json"
DIGITS = 40
"""Of whole numbers: transformers writes 10**30 for a length without a limit."""
MAX_GROWTH = 1000
"""Times that a normaliser may lengthen a text; a decomposed character has eighteen parts at most."""
_NOT_OPENED = ("name_or_path", "_name_or_path", "special_tokens_map_file")
"""What says where a tokenizer came from."""


def check_tokenizer_files(folder: Path) -> None:
    """Check the files of a folder that transformers would read for its tokenizer, where there are some.

    Raises:
        ModelError: a setting names a file that lies elsewhere, or texts would become far longer than they are.
        RunError: one is no JSON, or too large.
    """
    for name in SETTINGS_FILES:
        if (folder / name).exists():
            _check_settings(folder / name, read_json(folder / name, MAX_TABLE, links=True, digits=DIGITS))
    path = folder / TOKENIZER_FILE
    if path.exists():
        described = read_json(path, MAX_TABLE, links=True, digits=DIGITS)
        growth = _growth(described.get("normalizer") if isinstance(described, dict) else None)
        if growth > MAX_GROWTH:
            raise ModelError(
                f"{path}: its normalizer may make a text {growth:.0e} times as long; the limit is {MAX_GROWTH:,}"
            )


def _check_settings(path: Path, settings: Any) -> None:
    home = path.parent.resolve()
    for key, text in _texts(settings):
        if key in _NOT_OPENED or not 1 < len(text) < 4096 or "\0" in text:
            continue
        # Whatever key it is under, some class of transformers may open it; relative to the working directory.
        if os.path.lexists(text) and not os.path.isdir(text) and not Path(text).resolve().is_relative_to(home):
            raise ModelError(f"{path}: {key}: names a file that lies elsewhere ('{text:.80}'); take it out")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)


def _growth(normalizer: Any) -> float:
    """How many times as long a normaliser makes a text at most, those that replace alone counted."""
    if not isinstance(normalizer, dict):
        return 1.0
    parts = normalizer.get("normalizers")
    growth = math.prod(map(_growth, parts)) if isinstance(parts, list) else 1.0
    content, table = normalizer.get("content"), normalizer.get("precompiled_charsmap")
    if isinstance(content, str):
        growth *= max(len(content), 1)
    if isinstance(table, str):
        growth *= _longest(table)
    return growth


def _longest(table: str) -> int:
    """Longest replacement in a table of SentencePiece: bytes of its index, the index, texts that end in zeros."""
    try:
        packed = base64.b64decode(table)
    except ValueError:
        return 1  # which no library reads either
    return max([1, *map(len, packed[4 + int.from_bytes(packed[:4], "little") :].split(b"\0"))])
