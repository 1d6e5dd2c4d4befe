"""Trainings in processes of their own that are stopped, robbed of a worker, or killed; and what is left of them."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.catalog import load_task

PROGRAM = [sys.executable, "-c", "from gym_vlmrm_cli.main import main; main()"]
GRACE = 30.0
"""How long a stop may take on a busy machine [s]; on an idle one it takes one."""
PPO = {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [16]}}
DQN = {"learning_starts": 100, "batch_size": 32, "buffer_size": 5000, "policy_kwargs": {"net_arch": [16]}}
RECIPES: dict[str, dict[str, Any]] = {"PPO": PPO, "DQN": DQN}
TASKS = {"PPO": "kneeling", "DQN": "cartpole"}


@dataclass
class Program:
    """A command that runs in a session of its own."""

    process: "subprocess.Popen[str]"
    log: Path

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in children if "spawn_main" in " ".join(_command(child))]
        return []

    @property
    def family(self) -> list[psutil.Process]:
        """Everything that runs in its session."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def wait_for(self, ready: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said}"
            assert time.monotonic() < deadline, f"still waiting: {self.said}"
            time.sleep(0.01)

    def end(self, seconds: float = GRACE) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(seconds)

    def leaves_nobody(self, seconds: float = 10.0) -> bool:
        """Whether all of its processes are gone after some seconds at most."""
        deadline = time.monotonic() + seconds
        while self.family:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()

    def kill(self) -> None:
        """End it and all that belongs to it."""
        for process in self.family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def start(folder: Path, *arguments: object, **variables: str) -> Program:
    """Start ``vlmrm`` in a folder; what it prints goes to a file there."""
    log = folder / f"log-{time.monotonic_ns()}.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        )
    return Program(process, log)


def task_file(folder: Path, algorithm: str, every: int = 512, model: str = "brightness") -> Path:
    """Write a task that trains without end, a checkpoint at a time."""
    task = load_task(TASKS[algorithm]).model_dump(mode="json")
    task["env"]["max_episode_steps"] = 50
    task["reward"]["model"] = model
    task["training"] = {
        "default": {
            "algorithm": algorithm, "steps": 10**8, "num_envs": 4, "checkpoint_every": every,
            "hyperparameters": RECIPES[algorithm],
        }
    }  # fmt: skip
    path = folder / f"{algorithm}.yaml"
    path.write_text(json.dumps(task))
    return path


def begin(folder: Path, algorithm: str, **variables: str) -> Program:
    """Start a training over two workers into ``run``."""
    return start(folder, "train", task_file(folder, algorithm), "--workers", 2, "--output", "run", **variables)


def trains(folder: Path, step: int = 1) -> Callable[[], bool]:
    """Whether the run there has written a checkpoint of that step or a later one."""
    return lambda: any(int(path.name[5:]) >= step for path in (folder / "run" / "checkpoints").glob("step_*"))


def is_whole(folder: Path) -> RunFolder:
    """Check that the run there was stopped at its last checkpoint and has nothing half written."""
    run = RunFolder.open(folder / "run")
    assert run.record.step == run.checkpoint("last").step
    leftovers = [path for path in run.path.rglob(".*") if path.name != ".lock"]
    assert not leftovers, leftovers
    return run


def goes_on(folder: Path, more: int = 200) -> None:
    """Check that the run there can be resumed and finished."""
    step = RunFolder.open(folder / "run").record.step
    program = start(folder, "train", "--resume", "run", "--steps", step + more, "--workers", 1)
    assert program.end(120) == 0, program.said
    assert "Traceback" not in program.said


def random_moment(seed: int, longest: float = 6.0) -> float:
    """Seconds into a training."""
    return random.Random(seed).uniform(0, longest)


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
