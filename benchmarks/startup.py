"""How long it takes until the first line of a user's program runs."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

__all__ = ["measure_startup"]

VLMRM = str(Path(sys.executable).with_name("vlmrm"))
COMMANDS = {
    "import gymnasium, pydantic, yaml": [sys.executable, "-c", "import gymnasium, pydantic, yaml"],
    "import gym_vlmrm": [sys.executable, "-c", "import gym_vlmrm"],
    "vlmrm --help": [VLMRM, "--help"],
}


def measure_startup(rounds: int) -> dict[str, float]:
    """Return the median time [s] of each command as a new process, measured in turns; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: median(found) for name, found in times.items()}
