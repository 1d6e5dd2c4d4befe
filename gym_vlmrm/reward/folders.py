"""Model folders, read with suspicion before any library reads them: a configuration, weights, words, a tokenizer.

Importing this module imports no torch and no open_clip.
"""

import contextlib
import gzip
import os
import re
import stat
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.files import MAX_TABLE, open_regular, read_json, read_text
from gym_vlmrm.reward.tokenizer_files import check_tokenizer_files

__all__ = [
    "CONFIG_FILE",
    "MERGES_FILE",
    "SCHEMAS",
    "TOKENIZER_OPTIONS",
    "UNTRAINED",
    "WEIGHTS_FILE",
    "WORDS_FILE",
    "WORLDS_FILE",
    "check_config",
    "check_entries",
    "check_folder",
    "read_words",
    "read_worlds",
    "state_of_files",
]

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MERGES_FILE = "bpe_merges.txt.gz"
"""A model folder that holds this file brings its own byte-pair vocabulary."""
WORDS_FILE = "words.txt"
"""A model folder may list the words that its text tower was trained on, one a line."""
WORLDS_FILE = "worlds.txt"
"""A model folder may list the environments whose frames its image tower was trained on, by ID, one a line."""
TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language"})
"""What a model's configuration may say to its tokenizer; all that open_clip's own configurations say."""
UNTRAINED = "untrained"
"""Pretrained tag of this package: random weights, for measuring speed."""
SCHEMAS = ("hf-hub:", "local-dir:")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npz", ".npy")
MAX_CONFIG = 1_000_000
MAX_UNPACKED = 50_000_000
"""Longest vocabulary once it is unpacked [bytes]."""
LIMITS: dict[str, float] = {
    "layers": 1000, "width": 20_000, "embed_dim": 20_000, "image_size": 4096, "size": 4096, "context_length": 16_384,
    "vocab_size": 3_000_000, "heads": 1000, "mlp_ratio": 64,
}  # fmt: skip
"""Largest values that any open_clip model is far from."""
MAX_NUMBER = 10_000_000
_NAMES = ("hf_model_name", "hf_tokenizer_name", "timm_model_name")
_NAME = re.compile(r"(hf[-_]hub:)?[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w.-]+)?")


def check_folder(folder: Path) -> dict[str, Any]:
    """Check a model folder and return its configuration.

    Its files are regular ones, of bounded size but for the weights. A link may lead to another file of the folder, or
    into the blobs beside it, as in the Hub's cache. What it says of its tokenizer names no file elsewhere. The
    configuration describes no more numbers than the weights hold.

    Raises:
        ModelError: one of these is not so.
    """
    try:
        sizes = check_entries(folder)
        config = _read_config(folder / CONFIG_FILE)
        weights = [size for name, size in sizes.items() if Path(name).suffix in WEIGHTS]
        count = _count_parameters(config["model_cfg"])
        if weights and count > 2 * max(weights) + 1_000_000:
            raise ModelError(
                f"{folder / CONFIG_FILE} describes a model of {count:,} parameters, and its weights have "
                f"{max(weights):,} bytes"
            )
        if MERGES_FILE in sizes:
            _check_unpacked(folder / MERGES_FILE)
        check_tokenizer_files(folder)
    except (OSError, RunError) as error:
        raise ModelError(f"model folder {folder}: {error}") from None
    except RecursionError:
        raise ModelError(f"model folder {folder}: its configuration is nested too deeply") from None
    return config


def check_entries(folder: Path) -> dict[str, int]:
    """Return the size of each entry of a model folder [bytes], once all are found to be regular files of bounded size.

    Raises:
        ModelError: one is not, or is a link that leads elsewhere than into the folder or the blobs beside it.
        OSError: the folder cannot be read.
    """
    return {path.name: _size(path, folder) for path in sorted(folder.iterdir())}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path, MAX_CONFIG, links=True)
    except RunError as error:
        cure = f"the folder needs it and {WEIGHTS_FILE} that fit together"
        raise ModelError(f"{path} is no open_clip configuration ({error}); {cure}") from None
    check_config(config, str(path))
    checked: dict[str, Any] = config
    return checked


def _size(path: Path, folder: Path) -> int:
    if path.is_symlink():
        home, target = folder.resolve(), path.resolve()
        if not any(target.is_relative_to(place) for place in (home, home.parent.parent / "blobs")):
            raise ModelError(f"{path}: is a link that leads out of its folder; put the file itself there")
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        return 0
    if not stat.S_ISREG(state.st_mode):
        raise ModelError(f"{path}: is no regular file")
    if path.suffix not in WEIGHTS and state.st_size > MAX_TABLE:
        raise ModelError(f"{path}: has {state.st_size:,} bytes; the limit is {MAX_TABLE:,}")
    return state.st_size


def _check_unpacked(path: Path) -> None:
    with open_regular(path, links=True) as file:
        try:
            with gzip.open(file) as packed:
                left = MAX_UNPACKED
                while part := packed.read(1 << 20):
                    left -= len(part)
                    if left < 0:
                        raise ModelError(f"{path}: has more than {MAX_UNPACKED:,} bytes once unpacked")
        except (OSError, EOFError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error})") from None


def check_config(config: Any, where: str) -> None:
    """Check a model's configuration, ``{"model_cfg": {...}, "preprocess_cfg": {...}}``; `where` is its name.

    Raises:
        ModelError: it is none, sets options that may run a program, or holds absurd numbers or names.
    """
    model = config.get("model_cfg") if isinstance(config, dict) else None
    found = [model.get(key, {}) for key in ("text_cfg", "vision_cfg")] if isinstance(model, dict) else [None]
    parts = [part for part in found if isinstance(part, dict)]
    if len(parts) < len(found):
        raise ModelError(f"{where} is no open_clip configuration; it needs model_cfg with text_cfg and vision_cfg")
    for part in parts:
        options = part.get("tokenizer_kwargs") or {}
        strange = (
            sorted(map(str, set(options) - TOKENIZER_OPTIONS)) if isinstance(options, dict) else ["tokenizer_kwargs"]
        )
        if strange:
            raise ModelError(
                f"{where} sets '{strange[0]}' for its tokenizer, which may run a stranger's program; "
                f"only {', '.join(sorted(TOKENIZER_OPTIONS))} are allowed there"
            )
        for key in _NAMES:
            name = part.get(key)
            if name and not (isinstance(name, str) and _NAME.fullmatch(name)):
                raise ModelError(f"{where}: {key}: {name!r:.80} is no name of a model, such as 'org/name'")
    _check_numbers(config, where, "")


def _check_numbers(value: Any, where: str, key: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, where, str(name))
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, where, key)
    elif isinstance(value, int | float) and abs(value) > LIMITS.get(key, MAX_NUMBER):
        raise ModelError(f"{where}: {key}: {value} is more than the limit, {LIMITS.get(key, MAX_NUMBER):,}")


def _count_parameters(model: dict[str, Any]) -> int:
    """About how many numbers the transformers of a configuration hold; 0 for towers that other libraries define."""
    count = 0.0
    for key, width, foreign in (("text_cfg", 512, "hf_model_name"), ("vision_cfg", 768, "timm_model_name")):
        part = model.get(key, {})
        values = {"layers": 12, "width": width, "mlp_ratio": 4.0, "vocab_size": 49_408, **part}
        numbers = [values[name] for name in ("layers", "width", "mlp_ratio", "vocab_size")]
        if part.get(foreign) or not all(isinstance(number, int | float) for number in numbers):
            continue
        layers, width_, ratio, words = numbers
        count += layers * width_**2 * (4 + 2 * ratio) + (words * width_ if key == "text_cfg" else 0)
    return int(count)


def read_words(folder: str | os.PathLike[str]) -> set[str] | None:
    """Return the words that a folder's model was trained on; ``None`` where it does not list them.

    Raises:
        ModelError: the list cannot be read.
    """
    return _read_list(Path(folder), WORDS_FILE)


def read_worlds(folder: str | os.PathLike[str]) -> set[str] | None:
    """Return the environment IDs whose frames a folder's model was trained on; ``None`` where it does not list them.

    Raises:
        ModelError: the list cannot be read.
    """
    return _read_list(Path(folder), WORLDS_FILE)


def _read_list(folder: Path, name: str) -> set[str] | None:
    path = folder / name
    try:
        if not path.is_file():
            return None
        _size(path, folder)
        return set(read_text(path, MAX_TABLE, links=True).split())
    except (OSError, ValueError, RunError) as error:
        raise ModelError(f"{error}") from None


def state_of_files(name: str) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change and size of every local file that a model is read from."""
    if name.startswith("local-dir:"):
        paths = sorted(Path(name.removeprefix("local-dir:")).glob("*"))
    elif name.startswith(SCHEMAS):
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
