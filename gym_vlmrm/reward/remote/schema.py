"""What a judge behind HTTP is asked and answers: a line of JSON, then raw bytes. docs/clusters.md is its reference.

Both sides read by these functions, so that neither takes what the other would refuse. Nothing is ever unpickled.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, VLMRMError
from gym_vlmrm.reward.protocol import check_sides

__all__ = [
    "MAX_BYTES", "MAX_COUNT", "MAX_FRAME_SIZE", "MAX_HEAD", "MAX_LETTERS", "MAX_SENTENCES", "MODEL_PATH",
    "REWARDS_PATH", "VERSION", "Asked", "Facts", "SchemaError", "frames_at_once", "pack_asked", "pack_rewards",
    "read_asked", "read_facts", "read_rewards",
]  # fmt: skip

VERSION = 1
"""Of the schema; another one is refused by both sides."""
MODEL_PATH, REWARDS_PATH = "/v1/model", "/v1/rewards"
MAX_HEAD = 65_536
"""Longest line of JSON [bytes]."""
MAX_BYTES = 64_000_000
"""Most bytes of frames in one request."""
MAX_COUNT = 4096
"""Most frames of one request."""
MAX_SENTENCES = 100
"""Most sentences of a goal, and of a baseline."""
MAX_LETTERS = 16_000
"""Most characters of all of them together."""
MAX_FRAME_SIZE = 2048
"""Largest side of frames that a server may wish for [px], as a task's `render_size`."""
_FLOAT = np.dtype("<f4")
_FACTS = {"model": str, "weights_digest": str, "precision": str, "device": str, "frame_size": int}


class SchemaError(VLMRMError):
    """What came is nothing of this schema."""


@dataclass(frozen=True)
class Facts:
    """What every answer says of the judge."""

    model: str
    weights_digest: str
    precision: str
    device: str
    frame_size: int

    def plain(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return {"version": VERSION, **vars(self)}


@dataclass(frozen=True)
class Asked:
    """A request: what the frames shall show, and the frames."""

    goal: list[str]
    baseline: list[str]
    alpha: float
    frames: NDArray[np.uint8]
    """(N, H, W, 3)"""


def frames_at_once(frames: NDArray[np.uint8]) -> int:
    """Return how many frames like these (N, H, W, 3) fit into one request; 0 where one is too large."""
    return min(MAX_COUNT, MAX_BYTES // max(1, math.prod(frames.shape[1:])))


def pack_asked(asked: Asked) -> bytes:
    """Return the body of a request; raises SchemaError where its prompts are too many or too long."""
    _check_prompts(asked.goal, asked.baseline)
    head = {"version": VERSION, "goal": asked.goal, "baseline": asked.baseline, "alpha": asked.alpha}
    return _line({**head, "shape": list(asked.frames.shape)}) + np.ascontiguousarray(asked.frames).tobytes()


def read_asked(body: bytes | bytearray) -> Asked:
    """Return what the body of a request asks; raises SchemaError where it is none. Prompts may still be unusable.

    Frames share the memory of `body`; those of bytes cannot be written to.
    """
    head, raw = _split(body)
    sentences = {name: head.get(name) for name in ("goal", "baseline")}
    for name, said in sentences.items():
        if not (isinstance(said, list) and all(isinstance(one, str) for one in said)):
            raise SchemaError(f"'{name}' must be a list of sentences, got {_short(said)}")
    _check_prompts(sentences["goal"] or [], sentences["baseline"] or [])
    alpha: Any = head.get("alpha")
    shape: Any = head.get("shape")
    if type(alpha) not in (int, float) or not 0 <= alpha <= 1:
        raise SchemaError(f"'alpha' must be a number from 0 to 1, got {_short(alpha)}")
    if not (isinstance(shape, list) and len(shape) == 4 and all(type(side) is int for side in shape)):
        raise SchemaError(f"'shape' must be [N, H, W, 3], got {_short(shape)}")
    if min(shape) < 1 or shape[3] != 3 or shape[0] > MAX_COUNT or math.prod(shape) > MAX_BYTES:
        raise SchemaError(
            f"'shape' must be [N, H, W, 3] of 1 to {MAX_COUNT:,} frames and {MAX_BYTES:,} bytes, got {_short(shape)}"
        )
    try:
        check_sides(shape[1], shape[2])
    except ModelError as error:
        raise SchemaError(str(error)) from None
    if len(raw) != math.prod(shape):
        raise SchemaError(f"'shape' {shape} is {math.prod(shape):,} bytes of frames, but {len(raw):,} came")
    frames = np.frombuffer(raw, np.uint8).reshape(shape)
    return Asked(sentences["goal"] or [], sentences["baseline"] or [], float(alpha), frames)


def pack_rewards(facts: Facts, rewards: NDArray[np.float32], notes: list[str]) -> bytes:
    """Return the body of an answer; `notes` are sentences that the asker's user should read."""
    notes = [note[:1000] for note in notes[:16]]
    return _line({**facts.plain(), "count": len(rewards), "notes": notes}) + rewards.astype(_FLOAT).tobytes()


def read_rewards(body: bytes) -> tuple[Facts, NDArray[np.float32], list[str]]:
    """Return what an answer says: the judge's facts, rewards (N,) and notes; raises SchemaError where it is none."""
    head, raw = _split(body)
    facts, notes = read_facts(head), head.get("notes")
    if not (isinstance(notes, list) and all(isinstance(note, str) for note in notes)):
        raise SchemaError(f"'notes' must be a list of sentences, got {_short(notes)}")
    if type(head.get("count")) is not int or len(raw) != head["count"] * _FLOAT.itemsize:
        raise SchemaError(f"'count' is {_short(head.get('count'))}, but {len(raw):,} bytes of rewards came")
    return facts, np.frombuffer(raw, _FLOAT).astype(np.float32), notes


def read_facts(head: Any) -> Facts:
    """Return what an answer's JSON says of the judge; raises SchemaError where it is none of this version."""
    _check_version(head)
    for name, kind in _FACTS.items():
        if type(head.get(name)) is not kind:
            raise SchemaError(f"'{name}' is {_short(head.get(name))}")
    if not 1 <= head["frame_size"] <= MAX_FRAME_SIZE:
        raise SchemaError(f"'frame_size' is {_short(head['frame_size'])}; it must be from 1 to {MAX_FRAME_SIZE:,}")
    return Facts(**{name: head[name] for name in _FACTS})


def _check_version(head: Any) -> None:
    if not isinstance(head, dict):
        raise SchemaError("its first line is no JSON object")
    version = head.get("version")
    if type(version) is not int or version != VERSION:  # True and 1.0 are equal to 1
        raise SchemaError(f"it is of version {_short(version)}, and this side speaks {VERSION}")


def _check_prompts(goal: list[str], baseline: list[str]) -> None:
    letters = sum(map(len, [*goal, *baseline]))
    if max(len(goal), len(baseline)) > MAX_SENTENCES or letters > MAX_LETTERS:
        raise SchemaError(
            f"'goal' and 'baseline' have at most {MAX_SENTENCES} sentences each and {MAX_LETTERS:,} characters"
            f" together; these have {len(goal):,} and {len(baseline):,}, and {letters:,} characters"
        )


def _line(head: dict[str, Any]) -> bytes:
    line = json.dumps(head, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_HEAD:
        raise SchemaError(f"its prompts take {len(line):,} bytes; the limit is {MAX_HEAD:,}")
    return line


def _split(body: bytes | bytearray) -> tuple[dict[str, Any], memoryview]:
    end = body.find(b"\n", 0, MAX_HEAD)
    if end < 0:
        raise SchemaError(f"it does not begin with a line of JSON of at most {MAX_HEAD:,} bytes")
    try:
        head = json.loads(body[:end])
    except (ValueError, RecursionError):
        raise SchemaError("its first line is no JSON") from None
    _check_version(head)
    return head, memoryview(body)[end + 1 :]


def _short(value: Any) -> str:
    return f"{value!r:.60}"
