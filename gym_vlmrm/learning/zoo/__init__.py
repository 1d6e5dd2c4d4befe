"""Trained policies that come with the package: ``zoo:kneeling`` may stand wherever a run does.

Each folder beside this file is a run, less what only going on with it would need. `docs/make_zoo.py` writes them.
"""

import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import RunError, did_you_mean
from gym_vlmrm.files import MAX_JSON, make_folder, read_bytes, unwritable
from gym_vlmrm.task.builtin import builtin_headers
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["PREFIX", "copy_of", "is_in_zoo", "zoo_folder", "zoo_names"]

PREFIX = "zoo:"
"""What a name in place of a run's folder begins with."""
HOME = Path(__file__).parent


def zoo_names() -> list[str]:
    """Return the names of the policies there are, each that of its task, without the prefix."""
    return sorted(path.parent.name for path in HOME.glob("*/run.json"))


def is_in_zoo(run: Any) -> bool:
    """Whether this names a policy of the zoo, known or not, and no folder."""
    return str(run).startswith(PREFIX)


def zoo_folder(run: Any) -> Path:
    """Return the folder of a policy, named as ``zoo:kneeling`` or ``zoo:VLMRM/Humanoid-Kneeling-v0``.

    Raises:
        RunError: there is none of that name.
    """
    name, known = str(run).removeprefix(PREFIX), zoo_names()
    by_id = {task_id: short for short, task_id, _ in builtin_headers()}
    for found in (name, name.lower(), by_id.get(name)):
        if found in known:
            return HOME / str(found)
    there = ", ".join(PREFIX + other for other in known) or "none in this installation"
    raise RunError(f"the zoo has no policy '{shorten(name)}'{did_you_mean(name, known)}; there are {there}")


def copy_of(folder: Path, root: Path) -> Path:
    """Return a policy's own folder ``zoo-<name>`` below `root`, copied there if it was not yet.

    Raises:
        RunError: it cannot be written.
    """
    stem = root / f"zoo-{folder.name}"
    for target in itertools.chain([stem], (stem.with_name(f"{stem.name}-{number}") for number in itertools.count(2))):
        if (target / "run.json").is_file() and _same(folder, target):
            break
        if not os.path.lexists(target):
            _copy(folder, target)
            break
    return target


def _same(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same policy, by the digests of its files."""
    manifests = sorted(path.relative_to(folder) for path in folder.glob("checkpoints/*/manifest.json"))
    try:
        return all(read_bytes(folder / path, MAX_JSON) == read_bytes(other / path, MAX_JSON) for path in manifests)
    except RunError:
        return False


def _copy(folder: Path, target: Path) -> None:
    """Copy all of it or nothing, and not who may write it: an installation may be read-only."""
    make_folder(target.parent)
    try:
        part = Path(tempfile.mkdtemp(prefix=".zoo-", dir=target.parent))
        try:
            for path in sorted(folder.rglob("*")):
                place = part / path.relative_to(folder)
                if path.is_dir():
                    place.mkdir()
                else:
                    shutil.copyfile(path, place)
            part.chmod(0o755)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise unwritable(target, error) from None
