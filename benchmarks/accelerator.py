"""What one GPU does of this package's work, in at most eight minutes: `make bench-accelerator`.

In this order, each part only while time is left: the chip's own rate of matrix products; how many EGL renderers run
beside each other; image towers with random weights in bfloat16, at rising batch sizes up to what fits; `make_vec` and
training beside the slowest of their parts alone. Prints tables and writes everything as JSON after each part.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gym_vlmrm.reward.clip.towers import Towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import open_clip
import torch
from capacity import Worlds, bound
from loops import TrainingLoop, VectorLoop, prepared

from gym_vlmrm.learning.provenance import describe_machine
from gym_vlmrm.reward.clip.batches import MicroBatches
from gym_vlmrm.reward.clip.devices import choose_device
from gym_vlmrm.reward.clip.flops import image_tower
from gym_vlmrm.reward.clip.known import silence

MODELS = "ViT-B-32,ViT-L-14,ViT-H-14,ViT-bigG-14"
BATCHES = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096)
RENDERERS = "1,2,8,16"
RENDERER_TIMEOUT = 45.0
"""For starting and drawing; more renderers than a driver bears may hang [s]."""
MOST_FRAMES_BYTES = 2e9
"""Frames of a batch that a measurement keeps in this machine's memory."""
DRAWING_SHARE, TOWERS_SHARE = 0.3, 0.75
"""Of the time limit: when the renderers, and when the towers, must be done."""


@dataclass(frozen=True)
class Renderers:
    """Processes that drew beside each other."""

    processes: int
    drew: int
    """How many of them were done before the timeout."""
    frames_per_s: float
    """Of all together."""


@dataclass(frozen=True)
class Batch:
    """One batch size of an image tower."""

    size: int
    frames_per_s: float
    of_matrix_rate: float
    """Share of the chip's own measured rate of matrix products."""
    memory_gb: float
    """Peak on the device, weights included."""


@dataclass(frozen=True)
class Tower:
    """An image tower with random weights."""

    model: str
    precision: str
    parameters: int
    gflop: float
    """Of one frame."""
    load_s: float
    batches: list[Batch]
    largest: int | None
    """Largest batch that fits; ``None`` where no batch was too large."""
    chosen: int | None
    """What the package takes by itself for a call of the largest batch above; ``None`` where no time was left."""


@dataclass(frozen=True)
class LoopRate:
    """A loop beside its bound."""

    name: str
    model: str
    num_envs: int
    every: int
    steps_per_s: float
    bound: float
    ratio: float


@dataclass
class Report:
    """Everything that was measured, and what was left out for lack of time or because it failed."""

    machine: dict[str, Any]
    versions: dict[str, str]
    matrix_tflops: float = 0.0
    """Measured, bfloat16, dense."""
    renderers: list[Renderers] = field(default_factory=list)
    towers: list[Tower] = field(default_factory=list)
    loops: list[LoopRate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


def matrix_rate(device: torch.device, seconds: float) -> float:
    """Return the rate of dense bfloat16 matrix products [FLOP/s]."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)

    return 2 * side**3 * _per_second(product, device, seconds)


def _per_second(call: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Calls per second, by the clock, the device waited for before and after."""
    for _ in range(2):
        call()
    _wait(device)
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        call()
        count += 1
        if count % 8 == 0:
            _wait(device)
    _wait(device)
    return count / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def renderers(task: str, size: int, processes: int, seconds: float, timeout: float) -> Renderers:
    """Let processes draw a task beside each other; those that are not done in time are killed."""
    command = [sys.executable, str(Path(__file__).with_name("renderer.py")), task, str(size), str(seconds)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(processes)
    ]
    end, rates = time.monotonic() + timeout, []
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            output, _ = process.communicate(timeout=max(end - time.monotonic(), 0.1))
            rates.append(float(output))
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Renderers(processes, len(rates), sum(rates))


def tower(name: str, device: torch.device, peak: float, seconds: float, end: float, side: int | None = None) -> Tower:
    """Embed batches of rising size until one does not fit, or time is up.

    Args:
        name: an architecture of open_clip.
        device: where.
        peak: measured rate of matrix products [FLOP/s].
        seconds: length of each measurement [s].
        end: no further batch is tried after this time of `time.monotonic`.
        side: of the frames [px]; the tower's own if not given.
    """
    counted, began = image_tower(f"{name}/untrained"), time.perf_counter()
    torch.manual_seed(0)
    with silence(), torch.device(device):  # random weights of billions of numbers are made there, not here
        model = open_clip.create_model(name, device=device, precision="pure_bf16", pretrained_hf=False)
        tokenizer = open_clip.get_tokenizer(name)
    towers = Towers(model, tokenizer, device, "bf16", (f"{name}/untrained", str(device), "bf16"))
    del model
    _wait(device)
    load, batches, largest = time.perf_counter() - began, list[Batch](), None
    side = side or counted.frame_size
    for size in BATCHES:
        expected = 3 * size / batches[-1].frames_per_s if batches else 0.0  # two calls warm up
        if time.monotonic() + max(expected, seconds) > end or size * side * side * 3 > MOST_FRAMES_BYTES:
            break
        frames = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), np.uint8)
        towers.batches.size = size
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        rate = size * _per_second(lambda frames=frames: towers.embed_frames(frames), device, seconds)  # type: ignore[misc]
        if towers.batches.size < size:  # halved: it did not fit
            largest = towers.batches.size
            break
        memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
        batches.append(Batch(size, rate, rate * counted.flops / peak, memory))
    chosen = None
    if batches and time.monotonic() < end:
        towers.batches = MicroBatches(device, towers.parameters, name)
        towers.embed_frames(np.zeros((batches[-1].size, side, side, 3), np.uint8))
        chosen = towers.batches.size
    return Tower(name, towers.precision, counted.parameters, counted.flops / 1e9, load, batches, largest, chosen)


def loops(task: str, model: str, device: str, num_envs: int, embed: float, seconds: float) -> Iterator[LoopRate]:
    """Measure `make_vec`, and training with every frame and every 4th one scored, beside their parts alone.

    Args:
        task: name or path.
        model: reward model.
        device: where it runs.
        num_envs: number of environments.
        embed: frames/s of the model alone.
        seconds: length of each measurement [s].
    """
    spec = prepared(task, model, device=device)
    with contextlib.closing(Worlds(spec, image_tower(model).frame_size)) as worlds:
        simulate, render = (worlds.rate(what, seconds).rate for what in ("simulate", "render"))
    makers: list[tuple[str, int, Callable[[], Any]]] = [("make_vec", 1, lambda: VectorLoop(spec, num_envs))]
    makers += [("training", every, lambda every=every: TrainingLoop(spec, num_envs, every, 16)) for every in (1, 4)]  # type: ignore[misc]
    for name, every, make in makers:
        limit = bound(simulate, render, embed, every, accelerator=device != "cpu")
        with contextlib.closing(make()) as loop:
            rate = loop.rate(seconds).rate
        yield LoopRate(name, model, num_envs, every, rate, limit, rate / limit)


def print_report(report: Report) -> None:
    """Print everything as tables in Markdown."""
    chip = report.machine.get("gpu", report.machine.get("processor"))
    print(f"\n{chip}; {report.machine.get('opengl')}\n\nmatrix products, bfloat16: {report.matrix_tflops:,.2f} TFLOP/s")
    _table(("renderers", "done in time", "frames/s"),
           [(row.processes, row.drew, f"{row.frames_per_s:,.0f}") for row in report.renderers])  # fmt: skip
    _table(
        ("tower", "parameters", "GFLOP/frame", "loaded in [s]", "batch", "frames/s", "of matrix rate", "memory [GB]"),
        [
            (tower.model, f"{tower.parameters / 1e6:,.0f} M", f"{tower.gflop:,.1f}", f"{tower.load_s:.1f}", batch.size,
             f"{batch.frames_per_s:,.0f}", f"{batch.of_matrix_rate:.0%}", f"{batch.memory_gb:.1f}")
            for tower in report.towers
            for batch in tower.batches
        ],
    )  # fmt: skip
    for tower in report.towers:
        if tower.largest is not None:
            print(f"\n{tower.model}: {tower.largest} is the largest batch that fits")
        if tower.chosen is not None:
            print(f"\n{tower.model}: {tower.chosen} frames at a time are what it chooses by itself")
    _table(
        ("loop", "model", "environments", "every", "steps/s", "bound", "ratio"),
        [
            (loop.name, loop.model, loop.num_envs, loop.every, f"{loop.steps_per_s:,.0f}", f"{loop.bound:,.0f}",
             f"{loop.ratio:.2f}")
            for loop in report.loops
        ],
    )  # fmt: skip
    for words in report.left_out:
        print(f"\nleft out: {words}")
    print(f"\n{report.seconds:.0f} s")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = [head, ["---"] * len(head), *rows]
    print("\n" + "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def measure(
    output: Annotated[Path, typer.Argument(help="JSON file for all figures.")] = Path("runs/bench/accelerator.json"),
    device: Annotated[str, typer.Option(help="cuda, cuda:N; 'cpu' only tries the script out.")] = "cuda",
    task: Annotated[str, typer.Option(help="Task that is drawn and trained.")] = "kneeling",
    models: Annotated[str, typer.Option(help="Architectures of open_clip, with commas.")] = MODELS,
    trained: Annotated[str, typer.Option(help="Architecture that judges in the loops.")] = "ViT-L-14",
    num_renderers: Annotated[str, typer.Option("--renderers", help="Processes that draw, with commas.")] = RENDERERS,
    num_envs: Annotated[int, typer.Option(min=1, help="Environments of the loops.")] = 64,
    seconds: Annotated[float, typer.Option(help="Length of each measurement [s].")] = 1.5,
    minutes: Annotated[float, typer.Option(help="What would begin later is left out.")] = 7.0,
) -> None:
    """Measure one accelerator."""
    from importlib.metadata import version

    began = time.monotonic()
    chosen, limit = choose_device(device), 60 * minutes
    report = Report(
        describe_machine(True, str(chosen)),
        {name: version(name) for name in ("gym-vlmrm", "torch", "open-clip-torch", "mujoco", "gymnasium")},
    )
    output.parent.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def part(name: str, share: float = 1.0) -> Iterator[bool]:
        """Say whether time is left for a part; what it raises is told, and the next one begins."""
        late = time.monotonic() - began > share * limit
        try:
            yield not late
        except Exception as error:  # one part's failure is a finding, and costs no other part
            report.left_out.append(f"{name} ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
        else:
            if late:
                report.left_out.append(f"{name} (no time left)")
        report.seconds = time.monotonic() - began
        output.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")

    with part("matrix products") as go:
        if go:
            report.matrix_tflops = matrix_rate(chosen, seconds) / 1e12
    for count in map(int, num_renderers.split(",")):
        with part(f"{count} renderers", DRAWING_SHARE) as go:
            if go:
                report.renderers.append(renderers(task, 224, count, seconds, RENDERER_TIMEOUT))
    for name in models.split(","):
        with part(name, TOWERS_SHARE) as go:
            if go:
                end = began + TOWERS_SHARE * limit
                report.towers.append(tower(name, chosen, report.matrix_tflops * 1e12, seconds, end))
        if chosen.type == "cuda":
            torch.cuda.empty_cache()
    judge = next((found for found in report.towers if found.model == trained and found.batches), None)
    if judge is None:
        report.left_out.append(f"loops ({trained}, which would judge, was not measured)")
    with part("loops") as go:
        if go and judge is not None:
            embed = max(batch.frames_per_s for batch in judge.batches)
            for row in loops(task, f"{trained}/untrained", str(chosen), num_envs, embed, 2 * seconds):
                report.loops.append(row)
                if time.monotonic() - began > limit:
                    break
    print_report(report)


if __name__ == "__main__":
    app()
