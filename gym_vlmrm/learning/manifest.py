"""The digests of a checkpoint's files: whatever was cut short, swapped or flipped since is found out."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import open_regular, read_json, read_model, write_json

__all__ = ["MANIFEST", "Manifest", "check_files", "read_manifest", "write_manifest"]

MANIFEST = "manifest.json"
MAX_FILE = 8_000_000_000
"""Largest file of a checkpoint [bytes], but for those that may be missing."""
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
"""Of this machine [bytes]: a replay buffer that is larger can be no one's here, and takes long to be looked at."""
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
"""Of a file beside the manifest: none leads elsewhere."""


class Manifest(BaseModel):
    """What ``manifest.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=1, ge=1, le=1)
    files: dict[_Name, str]
    """SHA-256 of every file by its name. A file that is not among them is none of the checkpoint's."""


def _digest(path: Path, limit: int | None = None) -> str:
    with open_regular(path, limit) as opened:
        file: Any = opened  # whose type hides that it reads into memory
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror})") from None


def write_manifest(folder: Path, names: Collection[str] | None = None) -> None:
    """Write the digests of a checkpoint's files, of all where no names are given; raises RunError."""
    found = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    chosen = [name for name in found if name != MANIFEST and (names is None or name in names)]
    files = {name: _digest(folder / name) for name in chosen}
    write_json(folder / MANIFEST, Manifest(files=files).model_dump(mode="json"))


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Return the digests by name, ``None`` for a checkpoint of 0.1.0, which has none.

    Raises:
        RunError: they are damaged, or missing where there must be some.
    """
    if (folder / MANIFEST).exists():
        return read_model(folder / MANIFEST, Manifest).files
    described = read_json(folder / "policy.json") if (folder / "policy.json").exists() else {}
    if isinstance(described, dict) and described.get("digests"):
        raise RunError(f"{folder / MANIFEST}: is missing, so the files beside it cannot be trusted")
    return None


def check_files(folder: Path, names: tuple[str, ...] | None = None, *, spare: tuple[str, ...] = ()) -> frozenset[str]:
    """Check files of a checkpoint, all where no names are given; those of `spare` may be missing.

    Returns:
        The names that the manifest vouches for; all that are there, for a checkpoint of 0.1.0, which has none.

    Raises:
        RunError: one is missing or not what was written.
    """
    digests = read_manifest(folder)
    if digests is None:
        return frozenset(path.name for path in folder.iterdir())
    for name, digest in digests.items():
        if (names is not None and name not in names) or (name in spare and not (folder / name).exists()):
            continue
        if _digest(folder / name, MEMORY if name in spare else MAX_FILE) != digest:
            raise RunError(f"{folder / name}: is damaged (not what was written, by its digest)")
    return frozenset(digests)
