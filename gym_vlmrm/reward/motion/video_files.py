"""Folders of video models in transformers' format, found by name and read with suspicion; imports no transformers."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.files import MAX_TABLE, read_json
from gym_vlmrm.reward.folders import check_entries
from gym_vlmrm.reward.tokenizer_files import check_tokenizer_files

__all__ = [
    "CONFIG", "VIDEO_SCHEMA", "check_video_name", "find_video_folder", "is_video", "read_video_config",
    "video_frame_size",
]  # fmt: skip

VIDEO_SCHEMA = "transformers:"
"""How the name of a video model begins; a folder follows, or the name of a repository of the Hub."""
CONFIG, _PREPROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_FETCHED = (
    CONFIG, _PREPROCESSOR, _WEIGHTS, "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json",
)  # fmt: skip
"""All that is fetched and read: no programs, and no pickled weights."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")
_LIMITS = {
    "num_hidden_layers": 200, "mit_num_hidden_layers": 50, "prompt_layers": 50, "hidden_size": 8192,
    "mit_hidden_size": 8192, "intermediate_size": 65_536, "mit_intermediate_size": 65_536, "projection_dim": 8192,
    "vocab_size": 1_000_000, "max_position_embeddings": 4096, "image_size": 1024, "patch_size": 1024, "num_frames": 32,
    "num_channels": 4,
}  # fmt: skip


def is_video(model: str) -> bool:
    """Whether a model's name is one of a video model."""
    return model.startswith(VIDEO_SCHEMA)


def check_video_name(model: str) -> None:
    """Check that a name may mean a video model, without fetching or loading it.

    Raises:
        ModelError: it names neither a folder of one nor a repository, or transformers is missing.
    """
    place = model.removeprefix(VIDEO_SCHEMA)
    if Path(place).is_dir():
        read_video_config(Path(place), model)
    elif not _NAME.fullmatch(place):
        raise ModelError(f"model '{model}': '{place}' is neither a folder here nor a repository such as 'org/name'")
    if importlib.util.find_spec("transformers") is None:
        raise ModelError(f"model '{model}' needs transformers; install it: pip install 'gym-vlmrm[video]'")


def find_video_folder(model: str) -> Path:
    """Return the folder of a video model, fetched from the Hub or its cache where the name is no folder.

    Raises:
        ModelError: as `check_video_name`, or it cannot be fetched.
    """
    check_video_name(model)
    place = model.removeprefix(VIDEO_SCHEMA)
    if Path(place).is_dir():
        return Path(place)
    from huggingface_hub import snapshot_download

    from gym_vlmrm.reward.clip.hub import impatient_hub

    name, _, revision = place.partition("@")
    try:
        with impatient_hub():
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(_FETCHED)))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"cannot fetch model '{model}' ({type(error).__name__}: {reason}); check the network, or name a folder "
            "with its files: transformers:FOLDER"
        ) from None


def read_video_config(folder: Path, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a folder says of its model, and of how frames are prepared, once all its files are found harmless.

    Raises:
        ModelError: a file is missing, no regular one, or describes something else than an X-CLIP model of sane size.
    """
    try:
        check_entries(folder)
        for name in (CONFIG, _WEIGHTS):
            if not (folder / name).is_file():
                cure = "pickled weights are not read" if name == _WEIGHTS else "transformers writes it"
                raise ModelError(f"model '{model}': no {name} in {folder}; {cure}")
        config = read_json(folder / CONFIG, MAX_TABLE, links=True)
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind != "xclip":
            raise ModelError(f"model '{model}': {folder / CONFIG}: model_type is {kind!r:.60}; 'xclip' is known")
        _check_numbers(config, folder / CONFIG)
        check_tokenizer_files(folder)
        prepared = folder / _PREPROCESSOR
        said = read_json(prepared, MAX_TABLE, links=True) if prepared.exists() else {}
        if not isinstance(said, dict):
            raise ModelError(f"model '{model}': {prepared}: is no mapping")
    except (OSError, RunError) as error:
        raise ModelError(f"model '{model}': {error}") from None
    except RecursionError:
        raise ModelError(f"model '{model}': {folder / CONFIG} is nested too deeply") from None
    return config, said


def _check_numbers(config: Any, path: Path) -> None:
    for key, value in _leaves(config):
        most = _LIMITS.get(key, 100_000_000)
        if isinstance(value, int | float) and abs(value) > most:
            raise ModelError(f"{path}: {key}: {value} is more than the limit, {most:,}")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def video_frame_size(model: str, default: int) -> int:
    """Return the input size [px] of a video model whose folder is here, else `default`.

    Raises:
        ModelError: the folder is no video model's.
    """
    folder = Path(model.removeprefix(VIDEO_SCHEMA))
    if not folder.is_dir():
        return default
    size = (read_video_config(folder, model)[0].get("vision_config") or {}).get("image_size", default)
    return int(max(size)) if isinstance(size, list) else int(size)
