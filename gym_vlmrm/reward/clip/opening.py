"""open_clip models by any of their names: what a name means, the files behind it, and a fresh model of them."""

import contextlib
import logging
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch

from gym_vlmrm.errors import ModelError, did_you_mean
from gym_vlmrm.reward.clip.filling import LateWeights
from gym_vlmrm.reward.clip.hub import impatient_hub
from gym_vlmrm.reward.clip.packed import is_packed, load_weights
from gym_vlmrm.reward.folders import (
    CONFIG_FILE,
    MERGES_FILE,
    SCHEMAS,
    UNTRAINED,
    WEIGHTS_FILE,
    check_config,
    check_folder,
    state_of_files,
)

__all__ = ["check_name", "load_tokenizer", "open_late", "open_model"]

logger = logging.getLogger("gym_vlmrm")


def open_model(name: str, device: torch.device) -> tuple[Any, Any]:
    """Return a fresh open_clip model in float32 and its tokenizer.

    Args:
        name: ``architecture/pretrained-tag``, ``architecture/path-to-weights``, ``architecture/untrained``,
            ``hf-hub:org/name`` or ``local-dir:path``.
        device: where its weights go.

    Raises:
        ModelError: unknown name, or unreachable or unreadable weights.
    """
    arguments = _creation_arguments(name)
    text = _folder_text_config(name)
    try:
        with impatient_hub(offline=text is not None and "hf_model_name" not in text):
            _check_fetched_configuration(name)
            with _no_questions(name, text):
                packed = _packed(name)
                if packed is not None:
                    arguments |= {"load_weights": False, "require_pretrained": False}
                model = open_clip.create_model(**arguments, device=device)
                if packed is not None:
                    model.load_state_dict(packed)
                return model, _tokenizer(name)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_cannot_load(name, error)) from None


def _packed(name: str) -> dict[str, torch.Tensor] | None:
    """Return the weights of a folder that are packed, which open_clip could not read; ``None`` of all others."""
    weights = Path(name.removeprefix("local-dir:")) / WEIGHTS_FILE
    linked = weights.is_symlink()  # as in the Hub's cache, where nothing is packed
    if not name.startswith("local-dir:") or linked or not weights.is_file() or not is_packed(weights):
        return None
    return load_weights(weights)


@torch.inference_mode(False)  # whose tensors could not be filled outside of it
def open_late(name: str) -> tuple[Any, Any, LateWeights]:
    """Return what `open_model` does, on the CPU, and the weights that are yet to be filled into it.

    Raises:
        ModelError: as `open_model` does.
    """
    if not name.endswith(f"/{UNTRAINED}"):
        with LateWeights() as weights:
            model, tokenizer = open_model(name, torch.device("cpu"))
        if not weights.lack(model):
            return model, tokenizer, weights
    return *open_model(name, torch.device("cpu")), LateWeights()


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a model alone, by any name that `load_towers` takes, from files on this machine.

    Raises:
        ModelError: unknown name, or no such files here.
    """
    if not name.startswith(SCHEMAS) and name.partition("/")[0] not in open_clip.list_models():
        raise ModelError(f"unknown model '{name}'")
    return _kept_tokenizer(name, state_of_files(name))


@lru_cache(maxsize=8)
def _kept_tokenizer(name: str, _: object) -> Any:
    try:
        with impatient_hub(offline=True):
            text = _folder_text_config(name)
            _check_fetched_configuration(name)
            with _no_questions(name, text):
                return _tokenizer(name)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_cannot_load(name, error)) from None


def _folder_text_config(name: str) -> dict[str, Any] | None:
    """Check the folder of a ``local-dir:`` model, and return what it says of its text tower; ``None`` of other names.

    Where that builds on no text tower of transformers, the model needs nothing from the Hub.
    """
    if not name.startswith("local-dir:"):
        return None
    text: dict[str, Any] = check_folder(Path(name.removeprefix("local-dir:")))["model_cfg"].get("text_cfg", {})
    return text


def _check_fetched_configuration(name: str) -> None:
    """Read what a stranger put on the Hub before open_clip does; refuse what may run a program or take all memory."""
    if name.startswith(SCHEMAS) and not name.startswith("local-dir:"):
        config = None
        with contextlib.suppress(Exception):  # what cannot be had fails later, with its reason
            config = open_clip.get_model_config(name)
        if config is not None:
            check_config({"model_cfg": config}, f"model '{name}': its configuration")


@contextlib.contextmanager
def _no_questions(name: str, text: dict[str, Any] | None) -> Iterator[None]:
    """Keep transformers from asking in the terminal whether a model's own program may run: it may not.

    Args:
        name: of the model.
        text: what its folder says of its text tower; ``None`` where it has none.
    """
    modules: Any = None
    plain = text is not None and not text.get("hf_tokenizer_name") and not text.get("hf_model_name")
    if name.startswith(SCHEMAS) and not plain:
        with contextlib.suppress(ImportError):
            from transformers import dynamic_module_utils as modules
    if modules is None:
        yield
        return
    before = modules.TIME_OUT_REMOTE_CODE
    modules.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        modules.TIME_OUT_REMOTE_CODE = before


def check_name(name: str) -> None:
    """Check that a name means a model, without loading it; raises ModelError."""
    if not name.endswith(f"/{UNTRAINED}"):  # which warns, and cannot miss its weights
        _creation_arguments(name)
        _folder_text_config(name)


def _creation_arguments(name: str) -> dict[str, Any]:
    if name.startswith(SCHEMAS):
        _check_there_is_a_configuration(name)
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


def _check_there_is_a_configuration(name: str) -> None:
    if not name.startswith("local-dir:"):
        return
    folder = Path(name.removeprefix("local-dir:"))
    if not folder.is_dir():
        raise ModelError(
            f"model '{name}': no such folder '{folder}'; local-dir: needs one with {CONFIG_FILE} and weights"
        )
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(f"model '{name}': no {CONFIG_FILE} in {folder}; local-dir: needs a folder with it and weights")


def _tokenizer(name: str) -> Any:
    folder = Path(name.removeprefix("local-dir:"))
    if name.startswith("local-dir:") and (folder / MERGES_FILE).is_file():
        return open_clip.get_tokenizer(name, bpe_path=str(folder / MERGES_FILE))
    return open_clip.get_tokenizer(name if name.startswith(SCHEMAS) else name.partition("/")[0])


def _cannot_load(name: str, error: Exception) -> str:
    reason = textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
    cure = "check the network, or use local files: local-dir:FOLDER or architecture/PATH-TO-WEIGHTS"
    if name.startswith("local-dir:"):
        cure = f"the folder needs {CONFIG_FILE} and {WEIGHTS_FILE} that fit together"
    elif isinstance(error, ImportError):
        cure = "install the package that it names (pip install 'gym-vlmrm[transformers]' for SigLIP-type models)"
    return f"cannot load model '{name}' ({type(error).__name__}: {reason}); {cure}"
