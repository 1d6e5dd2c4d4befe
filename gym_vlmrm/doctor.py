"""What this machine can do for the package: versions, devices, drawing, caches, one timing each, and cures."""

import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.learning.provenance import describe_machine, library_versions
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["Finding", "examine_machine"]

Verdict = Literal["ok", "slow", "missing", "note"]
SOFTWARE_GL = ("llvmpipe", "softpipe", "swrast", "software")
OPTIONAL = {
    "pyarrow": "LeRobot data sets and Parquet (vlmrm score)",
    "h5py": "Minari data sets (vlmrm score)",
    "transformers": "tokenizers of SigLIP-type models",
    "peft": "vlmrm finetune --train adapters",
    "tokenizers": "vlmrm finetune --model scratch",
}
"""Packages that only some things need, and what."""
LEAST_DISK = 2_000_000_000
"""Less room on the disk is told [bytes]: a run with a replay buffer may take that."""
FRAMES = 64


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    found: str
    verdict: Verdict = "ok"
    cure: str | None = None
    """What to do about it, where something is slow or missing."""
    seconds: float | None = None
    """For a timing: of one step, frame or scored frame [s]."""


def examine_machine(on_progress: Callable[[str, int, int], None] | None = None) -> list[Finding]:
    """Look at this machine; what fails is a finding, never an error.

    Args:
        on_progress: called with what is looked at, and how much is done and to do.
    """
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _versions, "processor": _processor, "devices": _devices, "drawing": _drawing, "caches": _caches,
        "timings": _timings,
    }  # fmt: skip
    found: list[Finding] = []
    for number, (name, examine) in enumerate(parts.items()):
        if on_progress is not None:
            on_progress(name, number, len(parts))
        try:
            found += examine()
        except (VLMRMError, OSError, RuntimeError, ImportError) as error:
            found.append(Finding(subject=name, found=" ".join(str(error).split()), verdict="missing"))
    return found


def _versions() -> Iterator[Finding]:
    for name, version in library_versions().items():
        cure = f"pip install {name}" if version == "unknown" else None
        yield Finding(subject=name, found=version, verdict="missing" if cure else "ok", cure=cure)
    for name, purpose in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            yield Finding(
                subject=name, found=f"not installed; only for {purpose}", verdict="note", cure=f"pip install {name}"
            )
        else:
            yield Finding(subject=name, found=f"installed, for {purpose}")


def _processor() -> Iterator[Finding]:
    machine = describe_machine(opengl=False)
    cores = usable_cores()
    yield Finding(subject="processor", found=f"{machine['processor']}, {cores} usable cores")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > 1.5 * cores
    yield Finding(
        subject="load",
        found=f"{load:.1f} processes want a core",
        verdict="slow" if busy else "ok",
        cure="other programs keep the cores busy; the timings below suffer too" if busy else None,
    )


def _devices() -> Iterator[Finding]:
    import torch

    from gym_vlmrm.reward.clip.devices import choose_device, choose_precision

    device = choose_device("auto")
    large = choose_precision("auto", device, 10**9)
    if device.type == "cpu":
        cure = "the embedded model needs no GPU; a large CLIP does: install torch with CUDA where there is one"
        yield Finding(subject="device", found=f"cpu, large models in {large}", verdict="note", cure=cure)
    else:
        gpu = (describe_machine(opengl=False, device=str(device)).get("gpu") or {}).get("name", "")
        yield Finding(subject="device", found=f"{device} {gpu}, large models in {large}")
    yield Finding(subject="torch threads", found=str(torch.get_num_threads()))


def _drawing() -> Iterator[Finding]:
    gl = describe_machine(opengl=True)["opengl"]
    if gl is None:
        cure = "apt-get install libegl1 libgl1-mesa-dri"
        yield Finding(subject="OpenGL", found="none that works offscreen", verdict="missing", cure=cure)
    else:
        software = any(name in gl["renderer"].lower() for name in SOFTWARE_GL)
        better = "drawn by the processor; where there is a GPU, its driver's EGL is faster" if software else None
        words = f"{gl['backend']}, {gl['vendor']}, {gl['renderer']}"
        yield Finding(subject="OpenGL", found=words, verdict="slow" if software else "ok", cure=better)
    from gym_vlmrm.watching.window import has_display

    where = "yes: vlmrm watch opens a window" if has_display() else "none: vlmrm watch serves a page"
    yield Finding(subject="display", found=where)
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        yield Finding(subject="ffmpeg", found=Path(get_ffmpeg_exe()).name)
    except (ImportError, RuntimeError):
        cure = "pip install imageio-ffmpeg; without it there are GIFs and no MP4"
        yield Finding(subject="ffmpeg", found="none", verdict="missing", cure=cure)


def _caches() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from gym_vlmrm.reward.clip.text_cache import CACHE_VARIABLE, cache_folder

    folder = cache_folder()
    if folder is None:
        yield Finding(subject="embeddings of prompts", found=f"not kept ({CACHE_VARIABLE}=off)", verdict="note")
    else:
        yield _folder("embeddings of prompts", folder, f"set {CACHE_VARIABLE} to a folder that can be written")
    yield _folder("models of the Hub", Path(HF_HUB_CACHE), "set HF_HOME to a folder that can be written")
    free = shutil.disk_usage(".").free
    small = free < LEAST_DISK
    yield Finding(
        subject="disk here",
        found=f"{free / 1e9:.1f} GB free",
        verdict="slow" if small else "ok",
        cure="a run with a replay buffer may not fit; use --output on another disk" if small else None,
    )


def _folder(subject: str, folder: Path, cure: str) -> Finding:
    if not folder.exists():
        return Finding(subject=subject, found=f"{folder}, empty")
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    writable = os.access(folder, os.W_OK)
    words = f"{folder}, {size / 1e6:,.1f} MB" + ("" if writable else ", cannot be written")
    return Finding(
        subject=subject, found=words, verdict="ok" if writable else "missing", cure=None if writable else cure
    )


def _timings() -> Iterator[Finding]:
    from gym_vlmrm.reward import load_reward_model
    from gym_vlmrm.reward.threads import one_torch_thread
    from gym_vlmrm.worlds.world import make_world

    task = load_task("kneeling")
    model = load_reward_model(task, model="embedded")
    world = make_world(task, render_size=model.frame_size)
    try:
        world.reset(seed=0)
        world.action_space.seed(0)
        action = world.action_space.sample()
        yield _timing("step", "of the humanoid's physics", _fastest(lambda: world.step(action)))
        yield _timing("draw", f"of {model.frame_size} x {model.frame_size} pixels, draft", _fastest(world.render))
        frames = np.stack([np.asarray(world.render())] * FRAMES)
        with one_torch_thread():
            spent = _fastest(lambda: model(frames)) / FRAMES
        yield _timing("score", f"by the embedded model on {getattr(model, 'device', 'cpu')}, one thread", spent)
    finally:
        world.close()


def _timing(subject: str, words: str, seconds: float) -> Finding:
    return Finding(subject=subject, found=f"{1000 * seconds:.2f} ms, {words}", seconds=seconds)


def _fastest(call: Callable[[], Any], rounds: int = 8) -> float:
    """Return the shortest time [s] of some calls after a first one: what others do meanwhile only adds."""
    call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
