"""The headers of the built-in task files, looked up in their text: all that registering their names needs.

``import gym_vlmrm`` comes this far and no farther: it parses no YAML. `gym_vlmrm.task.catalog` makes tasks of the
files, by pydantic.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["ENTRY_POINT", "PAPER_TASKS", "builtin_folder", "builtin_headers", "builtin_paths", "short_name"]

ENTRY_POINT = "gym_vlmrm.entry_points:make_env"
"""By which Gymnasium's registry tells the environments of this package."""
PAPER_TASKS = (
    "arms-crossed", "arms-raised", "cartpole", "hands-on-hips", "kneeling", "lotus", "mountain-car", "one-leg",
    "splits", "standing",
)  # fmt: skip
"""The ten of arXiv 2310.12921, tables 1-3. Results, the embedded model's recipe and the controls of audits go by them:
a registry that grows changes none of these."""


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
    return tuple((name, *(_glance(path) or _read(path))) for name, path in builtin_paths().items())


_KEY = re.compile(r"^(id|include): *([\w./-]+) *(?:#.*)?$", re.MULTILINE)
_ENV = re.compile(r"^env:(.*)\n((?:(?: .*|#.*)?\n)*)", re.MULTILINE)
_LIMIT = re.compile(r"^  max_episode_steps: *(\d+) *(?:#.*)?$", re.MULTILINE)


@cache
def _glance(path: Path) -> tuple[str, int | None] | None:
    """Return ID and limit of steps of a file that is written as ours are, line by line; ``None`` for any other."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    keys = {found[1]: found[2] for found in _KEY.finditer(text)}
    env = _ENV.search(text)
    if (env and env[1].partition("#")[0].strip()) or ("include:" in text and "include" not in keys):
        return None
    base = _glance(builtin_folder() / keys["include"]) if "include" in keys else ("", None)
    if base is None:
        return None
    limit = _LIMIT.search(env[2]) if env else None
    task_id = keys.get("id", base[0])
    return (task_id, int(limit[1]) if limit else base[1]) if task_id or path.name.startswith("_") else None


def _read(path: Path) -> tuple[str, int | None]:
    from gym_vlmrm.task.yaml_file import read_document

    data = read_document(path, builtin_folder()).data
    return data["id"], data["env"].get("max_episode_steps")


def short_name(task_id: str) -> str:
    """Name of a task for folders: a built-in task's file name, else its ID without namespace and version."""
    for name, builtin_id, _ in builtin_headers():
        if builtin_id == task_id:
            return name
    return re.sub(r"-v\d+$", "", task_id.rpartition("/")[2]).lower()
