"""Where results come from: renderers and libraries change pixels, and pixels change rewards, so runs name them."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from typing import Any

from gym_vlmrm.worlds.pool import usable_cores

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


def describe_machine(opengl: bool) -> dict[str, Any]:
    """Describe the processor, the system and, on request, the OpenGL that draws; never fails.

    OpenGL is asked in a process of its own, so that no context is made, or made current, in this one.
    """
    machine: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": usable_cores(),
    }
    if opengl:
        machine["opengl"] = _opengl()
    return machine


def _opengl() -> dict[str, str] | None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=GL_TIMEOUT,
            env=environment,
            check=True,
        )
        described: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
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
