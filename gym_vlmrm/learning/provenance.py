"""Where results come from: renderers and libraries change pixels, and pixels change rewards, so runs name them."""

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["describe_machine", "library_versions"]

LIBRARIES = (
    "gym-vlmrm", "gymnasium", "mujoco", "numpy", "open_clip_torch", "sb3-contrib", "stable-baselines3", "torch",
)  # fmt: skip
"""Distributions whose versions go into every run: the pixels, and so the rewards, depend on them."""
GL_TIMEOUT = 60.0
_PROBE = """
import json, os
from gym_vlmrm.worlds.gl import ensure_gl
backend = ensure_gl()
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
from OpenGL import GL
names = {"vendor": GL.GL_VENDOR, "renderer": GL.GL_RENDERER, "version": GL.GL_VERSION}
print(json.dumps({"backend": backend, **{key: GL.glGetString(name).decode() for key, name in names.items()}}))
"""


def describe_machine(opengl: bool, device: str | None = None) -> dict[str, Any]:
    """Describe the processor, the system and, on request, the OpenGL that draws; never fails.

    OpenGL is asked in a process of its own, so that no context is made, or made current, in this one.

    Args:
        opengl: whether to ask for OpenGL.
        device: where the reward model runs; a CUDA device is described with its driver.
    """
    machine: dict[str, Any] = {
        "platform": platform.platform(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": usable_cores(),
    }
    if opengl:
        machine["opengl"] = _opengl()
    if device is not None and device.startswith("cuda"):
        machine["gpu"] = _gpu(device)
    return machine


def _processor() -> str:
    """Name of the processor's model, or of its architecture where the system tells no more."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model") and value.strip():
                return value.strip()
    if sys.platform == "darwin" and (name := _output_of("sysctl", "-n", "machdep.cpu.brand_string")):
        return name
    return platform.processor() or platform.machine()


def _gpu(device: str) -> dict[str, Any] | None:
    """Name, memory and software of a CUDA device, as torch sees it."""
    import torch

    try:
        properties = torch.cuda.get_device_properties(device)
    except (RuntimeError, AssertionError, ValueError):
        return None
    driver = _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "driver": driver.splitlines()[0] if driver else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def _output_of(*command: str) -> str | None:
    """What a small command prints, or ``None`` where there is none such."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip()


def _opengl() -> dict[str, str] | None:
    try:
        return dict(_told_by_opengl(_PROBE, os.environ.get("MUJOCO_GL")))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


@functools.cache
def _told_by_opengl(program: str, backend: str | None) -> dict[str, str]:
    """Ask once: what draws in a process does not change while it lives, and every asking takes a second or more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=GL_TIMEOUT,
        env=environment,
        check=True,
    )
    described: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return described


def library_versions() -> dict[str, str]:
    """Versions of Python and of every library that can change a result."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
