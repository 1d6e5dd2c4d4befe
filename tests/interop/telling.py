"""What every script of this folder needs: it is run as ``python train_X.py ID ...`` and tells what happened as JSON."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable

TASKS = ["VLMRM/CartPole-Balance-v0", "VLMRM/Humanoid-Kneeling-v0"]
TOLD = "told: "
"""Begins the line that holds a result."""


def run(train: Callable[[str], int]) -> None:
    """Train on each environment ID of the command line; `train` returns the steps that it made, or raises Refused."""
    for task in sys.argv[1:] or TASKS:
        start = time.monotonic()
        result: dict[str, object] = {"task": task.rpartition(":")[2]}
        try:
            result["steps"] = train(task)
        except Refused as reason:
            result["refused"] = str(reason)
        result["seconds"] = round(time.monotonic() - start, 1)
        result["start_method"] = multiprocessing.get_start_method()
        print(TOLD + json.dumps(result), flush=True)


class Refused(Exception):
    """The library cannot take this task, for a reason of its own."""
