"""What a motion head's file says of itself; read without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.tensors import load_metadata

__all__ = ["HEAD_FILE", "METADATA", "HeadFacts", "read_facts", "unreadable"]

HEAD_FILE = "motion.safetensors"
"""A model folder that holds this file has a motion head."""
METADATA = "motion"
_MOST = 100_000


@dataclass(frozen=True)
class HeadFacts:
    """What a head's file says of itself."""

    motions: tuple[str, ...]
    """Axes of the space, but for the last."""
    words: tuple[str, ...]
    """Words that it was taught."""
    model: str
    """SHA-256 (hex) of the weights of both towers to which it belongs."""
    digest: str
    """SHA-256 (hex) of its own weights."""


def read_facts(location: str, model: str) -> HeadFacts:
    """Read what the motion head of a model says of itself.

    Args:
        location: of the model, as open_clip knows it.
        model: its name, for messages.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = Path(location.removeprefix("local-dir:")) / HEAD_FILE
    if not location.startswith("local-dir:") or not path.is_file():
        raise ModelError(
            f"model '{model}' sees single pictures only; window.join 'motion' is for 'embedded', which has a motion "
            "head, and for video models ('transformers:NAME_OR_FOLDER')"
        )
    try:
        said = json.loads(load_metadata(path)[METADATA])
        motions, words = tuple(map(str, said["motions"])), tuple(map(str, said["words"]))
        if not 0 < len(motions) + len(words) < _MOST:
            raise ValueError("no motions, or too many words")
        return HeadFacts(motions, words, str(said["model"]), str(said["digest"]))
    except (RunError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise unreadable(path, model, error) from None


def unreadable(path: Path, model: str, error: Exception) -> ModelError:
    """Return the error for a file that holds no motion head."""
    reason = " ".join(str(error).split())[:160]
    return ModelError(f"the motion head of model '{model}' cannot be read ({path}: {type(error).__name__}: {reason})")
