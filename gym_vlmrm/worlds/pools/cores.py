"""How many processor cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_quota", "usable_cores"]


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, or fewer where its container has a CPU quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the smallest CPU quota [cores] of Linux's control groups that holds for this process, if one does.

    Args:
        root: where ``proc`` and ``sys`` are looked up.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups and of all groups above them, in both versions."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            bases = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [mount / controllers, mount / "cpu"]
        else:
            continue
        # In a container the path may be the host's while only the container's own folder is mounted, at the top.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for base in bases:
            yield from (base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number: no quota
        return None
    return cores if cores > 0 else None
