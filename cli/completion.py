"""Words that a shell completes: names of tasks, run folders. A key press must not wait for the package's imports."""

import importlib.util
from pathlib import Path

__all__ = ["complete_runs", "complete_tasks"]

MOST = 1000
"""Most entries that are offered."""


def complete_tasks(incomplete: str) -> list[str]:
    """Names of built-in tasks for a shell that completes words, and whatever task files lie here."""
    spec = importlib.util.find_spec("gym_vlmrm_tasks")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    names = [path.stem for place in places for path in sorted(Path(place).glob("[!_]*.yaml"))]
    return [name for name in (*names, *map(str, _paths(incomplete, "*.yaml"))) if name.startswith(incomplete)]


def complete_runs(incomplete: str) -> list[str]:
    """Run folders for a shell that completes words."""
    of_seeds = sorted(Path("runs").glob("*/seed-*/run.json"))
    found = [str(path.parent) for path in (*sorted(Path("runs").glob("*/run.json")), *of_seeds)]
    found += [str(path.parents[1]) for path in of_seeds]
    found += [str(path.parent) for path in _paths(incomplete, "*/run.json")]
    return list(dict.fromkeys(name for name in found if name.startswith(incomplete)))


def _paths(incomplete: str, pattern: str) -> list[Path]:
    folder = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
    try:
        return sorted(folder.glob(pattern))[:MOST]
    except (OSError, ValueError):
        return []
