"""What memory loading a model takes: weights straight from their file, and by way of open_clip's own float32 copy.

`python benchmarks/loading.py` writes an architecture with random weights as safetensors, and loads it in processes of
their own. What counts is anonymous memory, sampled every 2 ms, beyond what the process had once everything was
imported: pages of the mapped file are the system's to drop.
"""

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import open_clip
import torch
from safetensors.torch import save_file

from gym_vlmrm.reward.clip.opening import open_model

WAYS = ("straight", "float32 first")
PERIOD = 0.002


def anonymous_megabytes() -> float:
    """Return this process's memory that is no file's [MB]."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def load(name: str, precision: str, way: str) -> dict[str, Any]:
    """Load the towers of a model on the CPU; return peak and rest [MB], and seconds of processor."""
    towers.choose_device("cpu")
    before, peak, end = anonymous_megabytes(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not end.wait(PERIOD):
            peak = max(peak, anonymous_megabytes())

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.process_time()
    if way == WAYS[0]:
        held = towers.load_towers(name, "cpu", precision)
    else:
        cpu = torch.device("cpu")
        held = towers.Towers(*open_model(name, cpu), cpu, precision, (name, "cpu", precision))
    spent = time.process_time() - began
    end.set()
    watching.join()
    after = anonymous_megabytes()
    megabytes = {"peak_mb": max(peak, after) - before, "after_mb": after - before}
    return {"way": way, "precision": held.precision, **megabytes, "processor_s": spent, "digest": held.weights_digest}


def measure(
    architecture: Annotated[str, typer.Argument(help="Of open_clip.")] = "ViT-B-32",
    one: Annotated[str, typer.Option(hidden=True, help="Name, precision and way of one process, as JSON.")] = "",
) -> None:
    """Print a table."""
    if one:
        print(json.dumps(load(*json.loads(one))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        model = open_clip.create_model(architecture, pretrained_text=False)
        size = sum(numbers.numel() for numbers in model.parameters()) * 4 / 1e6
        save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, path)
        del model
        print(f"\n{architecture}, {size:,.0f} MB of weights in float32\n")
        print("| way | precision | peak [MB] | afterwards [MB] | processor [s] |\n|---|---|---|---|---|")
        digests = set()
        for precision in ("fp32", "bf16"):
            for way in WAYS:
                told = json.dumps([f"{architecture}/{path}", precision, way])
                command = [sys.executable, __file__, "--one", told]
                row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
                digests.add(row["digest"])
                memory = f"{row['peak_mb']:,.0f} | {row['after_mb']:,.0f}"
                print(f"| {way} | {precision} | {memory} | {row['processor_s']:.1f} |", flush=True)
        assert len(digests) == 1, "the ways disagree about the weights"


if __name__ == "__main__":
    typer.run(measure)
