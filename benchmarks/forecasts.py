"""Does a plan hold? Plans a training and then makes it, task by task, and prints both times.

``python benchmarks/forecasts.py kneeling:16000 cartpole:12000``: a task and its steps. Both run one after the other, so
that they meet about the same machine; on one that others use, the load before and after is printed too.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any


def vlmrm(*arguments: str) -> tuple[dict[str, Any], float]:
    """Run a command; returns what it printed and how long it took [s]."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", *arguments, "--json"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(result.stdout), time.perf_counter() - began


def main(asked: list[str]) -> None:
    """Print a row for each task."""
    print("| training | planned [s] | took [s] | off by | planning took [s] | load |\n|---|---|---|---|---|---|")
    for text in asked:
        task, _, steps = text.partition(":")
        before = os.getloadavg()[0]
        plan, planning = vlmrm("plan", task, "--steps", steps)
        with tempfile.TemporaryDirectory() as folder:
            _, took = vlmrm("train", task, "--steps", steps, "--output", f"{folder}/run")
        planned = 3600 * plan["hours"]
        times = f"{planned:.0f} | {took:.0f} | {planned / took - 1:+.0%} | {planning:.0f}"
        print(f"| {task}, {int(steps):,} steps | {times} | {before:.1f}, {os.getloadavg()[0]:.1f} |", flush=True)
        print(f"<!-- {json.dumps(plan['parts'])} -->", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
