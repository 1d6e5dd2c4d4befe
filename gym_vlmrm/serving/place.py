"""Where on this machine the server of a model is found: a folder of this user alone, one name per model."""

import hashlib
import json
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.folders import SCHEMAS, state_of_files
from gym_vlmrm.reward.loading import MODELS, model_location
from gym_vlmrm.serving.wire import VERSION
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["Place", "find_place", "runtime_folder"]

_LONGEST = 100
"""Of a socket's path [bytes]; systems know some 104."""


@dataclass(frozen=True)
class Place:
    """A model's place on this machine; processes that mean the same model, arithmetic and device share it."""

    folder: Path
    key: str

    @property
    def socket(self) -> Path:
        """Where its server listens."""
        return self.folder / f"{self.key}.sock"

    @property
    def lock(self) -> Path:
        """Who holds it may start or end the server; clients hold it while they connect."""
        return self.folder / f"{self.key}.lock"

    @property
    def log(self) -> Path:
        """What a server that nobody sees has to say."""
        return self.folder / f"{self.key}.log"


def find_place(judge: RewardSpec) -> Place:
    """Return the place of the model, arithmetic and device that a task's section ``reward:`` names.

    Raises:
        ModelError: this user has no folder of their own here.
    """
    return Place(runtime_folder(), _key(judge))


def _key(judge: RewardSpec) -> str:
    name = judge.model if judge.model in MODELS else _absolute(model_location(judge.model))
    # A worker that is to see no GPU, as Ray's are, may well ask a server that sees them.
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = {} if judge.device == "cpu" else {"gpus": "" if seen == "-1" else seen}
    meant: dict[str, Any] = {"model": name, "files": state_of_files(name), **visible}
    meant |= {"device": judge.device, "precision": judge.precision, "version": VERSION, "code": str(Path(__file__))}
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()[:16]


def _absolute(name: str) -> str:
    """A model's name as other working folders would write it."""
    if name.startswith("local-dir:"):
        return f"local-dir:{Path(name.removeprefix('local-dir:')).resolve()}"
    architecture, _, file = name.partition("/")
    return f"{architecture}/{Path(file).resolve()}" if not name.startswith(SCHEMAS) and Path(file).is_file() else name


def runtime_folder() -> Path:
    """Return the folder of this user's sockets, made if need be: in ``XDG_RUNTIME_DIR``, else in the temporary one.

    Raises:
        ModelError: it belongs to somebody else, is a link, or others may look into it.
    """
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "getuid"):
        raise ModelError("a reward server needs local sockets, which this system lacks; leave share_model out")
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "")
    folders = [Path(tempfile.gettempdir()), Path("/tmp")]
    candidates = [folder / f"gym-vlmrm-{os.getuid()}" for folder in folders]
    if base.is_absolute() and base.is_dir() and os.access(base, os.W_OK):
        candidates.insert(0, base / "gym-vlmrm")
    short = [folder for folder in candidates if len(os.fsencode(folder / ("k" * 16 + ".sock"))) <= _LONGEST]
    folder = short[0] if short else candidates[-1]
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError as error:
        raise ModelError(f"{folder}: no folder can be made there ({error.strerror}); set XDG_RUNTIME_DIR") from None
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "no folder"
        raise ModelError(
            f"{folder} is {kind} of user {state.st_uid}, mode {stat.S_IMODE(state.st_mode):o}, and not one of yours "
            f"alone, so no reward server is asked there; remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    return folder
