"""Stopping and going on: by signals, by errors, over worker processes, and without losing what was learned."""

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import DQN, PPO, cartpole, rows
from typer.testing import CliRunner

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.evaluation import evaluate
from gym_vlmrm.interrupts import StopRequest, deaf_children, stopping_on_signals
from gym_vlmrm.reward.brightness import BrightnessReward
from gym_vlmrm.reward.threads import kept_torch_threads
from gym_vlmrm.runs import RunFolder, read_json
from gym_vlmrm.spec import EnvSpec, RewardSpec, TaskSpec
from gym_vlmrm.training import resume, train
from gym_vlmrm.training import session as session_module

LONG = DQN.model_copy(update={"steps": 100_000, "checkpoint_every": 50_000})
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    """Whatever happens, the process hears signals afterwards as it did before."""
    before = [signal.getsignal(number) for number in HANDLED]
    yield
    after = [signal.getsignal(number) for number in HANDLED]
    for number, handler in zip(HANDLED, before, strict=True):
        signal.signal(number, handler)
    assert after == before


def send(number: int, at: int = 64) -> Any:
    """Return a progress function that sends this process a signal, once."""
    sent = []

    def report(progress: Any) -> None:
        if progress.step >= at and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    return report


@pytest.mark.parametrize("number", HANDLED)
def test_every_signal_to_stop_saves_and_can_be_resumed(tmp_path: Path, number: int) -> None:
    result = train(cartpole(), LONG, output=tmp_path / "run", workers=1, on_progress=send(number))
    assert result.interrupted
    assert result.signal == number
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "interrupted"
    assert run.record.step == run.checkpoint("last").step == result.step
    assert resume(run.path, steps=result.step + 20, workers=1).signal is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_command_line_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    from gym_vlmrm_cli import train as command
    from gym_vlmrm_cli.main import app

    class _Bar:
        def __enter__(self) -> Any:
            return send(number, at=8)

        def __exit__(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(command, "training_bar", lambda shown: _Bar())
    run = tmp_path / "run"
    arguments = ["train", "cartpole", "--model", "brightness", "--steps", "50000", "--num-envs", "2"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(run)])
    assert result.exit_code == code, result.output
    assert f"go on with: vlmrm train --resume {run}" in result.stderr


def test_a_second_ctrl_c_does_not_cost_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = session_module.save_checkpoint

    def slowly(*args: Any, **kwargs: Any) -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        save(*args, **kwargs)

    monkeypatch.setattr(session_module, "save_checkpoint", slowly)
    result = train(cartpole(), LONG, output=tmp_path / "run", workers=1, on_progress=send(signal.SIGINT))
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "interrupted"
    assert run.checkpoint("last").step == result.step


def test_a_second_ctrl_c_interrupts_learning_at_once(tmp_path: Path) -> None:
    slow = PPO.model_copy(update={"steps": 100_000, "checkpoint_every": 64})
    times = []

    def twice(progress: Any) -> None:
        times.append(progress.step)
        if progress.step >= 70:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="--resume"):
        train(cartpole(), slow, output=tmp_path / "run", workers=1, on_progress=twice)
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "interrupted"
    assert run.checkpoints()


def test_a_stop_while_the_last_checkpoint_is_judged_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = session_module.play

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return play(*args, **kwargs)

    short = DQN.model_copy(update={"checkpoint_every": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(session_module, "play", interrupted)
        result = train(cartpole(), short, output=tmp_path / "run", workers=1)
    run = RunFolder.open(tmp_path / "run")
    assert (result.interrupted, run.record.status, run.best) == (True, "interrupted", None)
    policy = load_file(run.checkpoint("last").path / "policy.safetensors")
    again = resume(run.path, workers=1)
    assert (again.step, again.interrupted, run.record.status) == (result.step, False, "finished")
    assert run.best is not None
    after = load_file(run.checkpoint("last").path / "policy.safetensors")
    assert all(torch.equal(policy[name], after[name]) for name in policy)
    with pytest.raises(RunError, match="--steps"):
        resume(run.path, workers=1)


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_training_and_evaluation_over_worker_processes_are_those_in_one(tmp_path: Path, recipe: Any) -> None:
    runs = [train(cartpole(), recipe, seed=3, output=tmp_path / str(n), workers=n).run for n in (1, 2)]
    policies = [load_file(run.checkpoint("last").path / "policy.safetensors") for run in runs]
    assert all(torch.equal(policies[0][name], policies[1][name]) for name in policies[0])
    assert runs[0].best == runs[1].best
    tables = [[{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows(run)] for run in runs]
    assert tables[0] == tables[1]
    scores = [evaluate(run, episodes=3, workers=n, video=False) for run, n in zip(runs, (1, 2), strict=True)]
    assert scores[0].policy == scores[1].policy
    assert scores[0].random == scores[1].random


def test_a_signal_to_the_whole_group_leaves_the_workers_alive(tmp_path: Path) -> None:
    """A terminal's Ctrl-C, and a cluster's SIGTERM, reach the workers too: also while they start."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_stopping import LONG, cartpole
from gym_vlmrm.envs import pool
from gym_vlmrm.training import train
receive = pool.EnvPool._receive
def hit(self, *args):
    if not self.hit:
        type(self).hit = True
        os.killpg(0, signal.SIGINT)
    return receive(self, *args)
pool.EnvPool.hit = True
def arm(progress):
    pool.EnvPool.hit = pool.EnvPool.hit and progress.step < 100
recipe = LONG.model_copy(update={{"checkpoint_every": 120}})
result = train(cartpole(), recipe, output={str(tmp_path / "run")!r}, workers=2, on_progress=arm)
assert result.interrupted, result
for number in (signal.SIGTERM, signal.SIGHUP):
    sent = []
    def report(progress):
        if not sent:
            sent.append(os.killpg(0, number))
    from gym_vlmrm.training import resume
    result = resume({str(tmp_path / "run")!r}, workers=2, on_progress=report)
    assert result.signal == number, result
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    assert "KeyboardInterrupt" not in done.stderr
    assert RunFolder.open(tmp_path / "run").record.status == "interrupted"
