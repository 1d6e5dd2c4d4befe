"""The built-in task files, read without validating them: all that registering their names needs.

``import gym_vlmrm`` comes this far and no farther; `gym_vlmrm.task.catalog` makes tasks of them, by pydantic.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gym_vlmrm.task.yaml_file import read_document

__all__ = ["ENTRY_POINT", "builtin_folder", "builtin_headers", "builtin_paths", "short_name"]

ENTRY_POINT = "gym_vlmrm.entry_points:make_env"
"""By which Gymnasium's registry tells the environments of this package."""


@cache
def builtin_folder() -> Path:
    """Folder of the built-in task files, in a source tree and in an installed package alike."""
    beside = Path(__file__).parents[2] / "tasks"
    if (beside / "_humanoid.yaml").is_file():
        return beside
    installed = find_spec("gym_vlmrm_tasks")
    if installed is None or not installed.submodule_search_locations:
        raise ModuleNotFoundError("the built-in tasks (package gym_vlmrm_tasks) are missing; install gym-vlmrm again")
    return Path(next(iter(installed.submodule_search_locations)))


@cache
def builtin_paths() -> dict[str, Path]:
    """Return the built-in task files by short name, which is the file's name without ``.yaml``."""
    paths = sorted(builtin_folder().glob("*.yaml"))
    return {path.stem: path for path in paths if not path.name.startswith("_")}


@cache
def builtin_headers() -> tuple[tuple[str, str, int | None], ...]:
    """Return ``(short name, environment ID, max_episode_steps)`` of every built-in task."""
    raw = {name: read_raw(path) for name, path in builtin_paths().items()}
    return tuple((name, data["id"], data["env"].get("max_episode_steps")) for name, data in raw.items())


def short_name(task_id: str) -> str:
    """Name of a task for folders: a built-in task's file name, else its ID without namespace and version."""
    for name, builtin_id, _ in builtin_headers():
        if builtin_id == task_id:
            return name
    return re.sub(r"-v\d+$", "", task_id.rpartition("/")[2]).lower()


def read_raw(path: Path) -> dict[str, Any]:
    """Read a task file with its includes merged, as plain data that nothing has validated."""
    return read_document(path, builtin_folder()).data
