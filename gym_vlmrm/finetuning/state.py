"""A fine-tuning on disk: what it was asked, how far it is, and the exact state to go on from. No pickles."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import MAX_JSON, check_links, read_bytes, replacing, write_text
from gym_vlmrm.finetuning.settings import Settings
from gym_vlmrm.tensors import load_metadata, load_tensors, save_tensors

__all__ = [
    "RECORD_FILE", "Measurement", "Record", "State", "drop_state", "read_record", "read_state", "write_record",
    "write_state",
]  # fmt: skip

RECORD_FILE = "finetuning.json"
STATE_FOLDER = "state"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Measurement:
    """Held-out figures at one step."""

    step: int
    loss: float
    """Held-out loss."""
    auc: float | None
    """Probability that a frame is nearer to a caption of its own than to another's."""


@dataclass
class Record:
    """What stays on disk beside the model."""

    settings: Settings
    data: dict[str, Any]
    """Numbers of frames and captions, a hash of both, and the device."""
    versions: dict[str, str]
    steps: int
    """Steps that were to be made."""
    learning_rate: float
    status: str = "running"
    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    measurements: list[Measurement] = field(default_factory=list)


@dataclass
class State:
    """Everything that the next step depends on, besides the record."""

    weights: Tensors
    best: Tensors
    optimizer: dict[str, Any]
    """As ``Optimizer.state_dict()`` has it."""
    smoothed: float


def write_record(folder: Path, record: Record) -> None:
    """Write a record in one move; raises RunError."""
    write_text(folder / RECORD_FILE, json.dumps(asdict(record), indent=2) + "\n")


def read_record(folder: Path) -> Record:
    """Read a record.

    Raises:
        RunError: the folder holds none, or one that cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise RunError(
            f"no {RECORD_FILE} in {folder}; --resume takes the output folder of an interrupted `vlmrm finetune`"
        )
    check_links(folder, os.listdir(folder))
    try:
        return _record_type().validate_json(read_bytes(path, MAX_JSON))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise RunError(f"{path} is no record of a fine-tuning ({where}: {first['msg']})") from None


@cache
def _record_type() -> "TypeAdapter[Record]":
    return TypeAdapter(Record)


def write_state(folder: Path, state: State, record: Record) -> None:
    """Write the state and then the record; an interruption leaves the pair before or the pair after.

    Raises:
        RunError: it cannot be written.
    """
    tensors = {f"weights.{name}": value for name, value in state.weights.items()}
    tensors |= {f"best.{name}": value for name, value in state.best.items()}
    for index, slots in state.optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    home = folder / STATE_FOLDER
    home.mkdir(exist_ok=True)
    path = home / f"{record.step}.safetensors"
    with replacing(path) as part:
        save_tensors(part, tensors, {"smoothed": repr(state.smoothed)})
    write_record(folder, record)
    for other in home.iterdir():
        if other != path:
            other.unlink()


def read_state(folder: Path, step: int, optimizer: torch.optim.Optimizer) -> State:
    """Read the state of a step; `optimizer` gives the groups of weights.

    Raises:
        RunError: there is no such state, or it is damaged.
    """
    path = folder / STATE_FOLDER / f"{step}.safetensors"
    try:
        tensors, smoothed = load_tensors(path), float(load_metadata(path)["smoothed"])
    except (RunError, LookupError, ValueError) as error:
        raise RunError(f"cannot read the state at step {step} in {path.parent} ({error}); start anew") from None
    parts: dict[str, Tensors] = {"weights": {}, "best": {}}
    slots: dict[int, Tensors] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "optimizer":
            index, _, slot = name.partition(".")
            if not index.isdecimal():
                raise RunError(f"{path}: holds no state of an optimiser")
            slots.setdefault(int(index), {})[slot] = value
        elif kind not in parts:
            raise RunError(f"{path}: holds no state of a fine-tuning")
        else:
            parts[kind][name] = value
    groups = optimizer.state_dict()["param_groups"]
    return State(parts["weights"], parts["best"], {"state": slots, "param_groups": groups}, smoothed)


def drop_state(folder: Path) -> None:
    """Delete the state of a finished fine-tuning."""
    shutil.rmtree(folder / STATE_FOLDER, ignore_errors=True)
