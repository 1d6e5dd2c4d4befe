"""Every way to end, in processes of their own: signals, dead and hung workers, killed parents, a full disk; counted."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endings import CODES, TASKS, Program, begin, goes_on, is_whole, random_moment, start, task_file, trains
from trainings import DQN, cartpole

from gym_vlmrm.errors import RunError, TrainingError, WorkerError
from gym_vlmrm.interrupts import Stopped
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.metrics_table import Events
from gym_vlmrm.learning.restarts import Restarts
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.vec_env import PoolSteps
from gym_vlmrm.worlds.pools.processes import TIMEOUT_VARIABLE
from gym_vlmrm.worlds.world import make_worlds

ALGORITHMS = list(TASKS)
SIGNALS = list(CODES)


@contextlib.contextmanager
def running(program: Program) -> Iterator[Program]:
    try:
        yield program
    finally:
        program.kill()


def stop_by_signal(folder: Path, algorithm: str, number: int, seed: int, longest: float = 6.0) -> str:
    """Send a signal at a random moment, to the process or to its whole group; returns how it was met."""
    group = bool(random.Random(seed).getrandbits(1))
    with running(begin(folder, algorithm)) as program:
        early = seed % 5 == 4  # while it imports, loads, and starts workers
        if not early:
            program.wait_for(lambda: (folder / "run" / "run.json").exists())
        time.sleep(random_moment(seed, longest))
        (os.killpg if group else os.kill)(program.process.pid, number)
        assert program.end() in (CODES[signal.Signals(number)], -number if early else None), program.said
        assert "Traceback" not in program.said, program.said
        assert program.leaves_nobody()
        if not (folder / "run").exists():
            return "nothing begun"
        is_whole(folder)
        assert "go on with: vlmrm train --resume run" in program.said
    return "saved"


def lose_worker(folder: Path, algorithm: str, number: int, seed: int, longest: float = 3.0) -> str:
    """Kill or stop a worker, and another one after the restart; returns how that was met."""
    with running(begin(folder, algorithm, **{TIMEOUT_VARIABLE: "15"})) as program:
        program.wait_for(lambda: (folder / "run" / "run.json").exists() and bool(program.workers))
        time.sleep(random_moment(seed, longest))
        os.kill(random.Random(seed).choice(program.workers).pid, number)
        program.wait_for(lambda: "started anew" in program.said)
        step = max((checkpoint.step for checkpoint in RunFolder(folder / "run").checkpoints()), default=0)
        program.wait_for(trains(folder, step + 1))  # training goes on
        for worker in program.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        assert program.end(60) == 1, program.said
        assert "Traceback" not in program.said, program.said
        assert program.said.count("started anew") == 1
        assert "error: worker process" in program.said.splitlines()[-1]
        assert program.leaves_nobody()
        assert is_whole(folder).record.step > step
    return "restarted once, then saved"


EARLY = """
import os, signal, sys
from gym_vlmrm_cli import main

class Importing:
    def find_spec(self, name, *_):
        if name == sys.argv[2]:
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Importing())
number, module = sys.argv[1:3]
sys.argv = ["vlmrm", number, module]
main.app = lambda app=main.app: app(["tasks"])
main.main()
"""


@pytest.mark.parametrize("module", ["gym_vlmrm.interrupts", "gym_vlmrm.task.catalog"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_command_is_imported_keeps_its_exit_code(number: int, module: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, str(int(number)), module], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (CODES[signal.Signals(number)], False), done.stderr


@pytest.mark.slow
def test_a_signal_at_a_random_moment(tmp_path: Path) -> None:
    assert stop_by_signal(tmp_path, "DQN", signal.SIGTERM, seed=0, longest=1.0) == "saved"
    goes_on(tmp_path)


@pytest.mark.slow
def test_a_dead_worker_is_replaced_once(tmp_path: Path) -> None:
    lose_worker(tmp_path, "DQN", signal.SIGKILL, seed=0, longest=0.5)
    goes_on(tmp_path)


COUNT = float(os.environ.get("GYM_VLMRM_COUNT", 0))
counted = pytest.mark.skipif(not COUNT, reason="ten minutes: GYM_VLMRM_COUNT=1 pytest -s -k count")


def count(folder: Path, what: str, how: str) -> None:
    """Note a case and print the counts so far."""
    with (folder / "counts").open("a") as file:
        file.write(f"{what}: {how}\n")
    counts = Counter((folder / "counts").read_text().splitlines())
    print("\n", *(f"{number:4}  {words}\n" for words, number in sorted(counts.items())), flush=True)


@pytest.mark.slow
@counted
def test_count_of_signals(tmp_path: Path) -> None:
    for seed in range(round(30 * COUNT)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        number, algorithm = SIGNALS[seed % 3], ALGORITHMS[seed % 2]
        how = stop_by_signal(folder, algorithm, number, seed)
        count(tmp_path, f"{signal.Signals(number).name}, {algorithm} on {TASKS[algorithm]}", how)


@pytest.mark.slow
@counted
def test_count_of_lost_workers(tmp_path: Path) -> None:
    for seed in range(round(20 * COUNT)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        number, algorithm = (signal.SIGKILL, signal.SIGSTOP)[seed % 2], ALGORITHMS[seed // 2 % 2]
        how = lose_worker(folder, algorithm, number, seed)
        count(tmp_path, f"worker {'hung' if seed % 2 else 'dead'}, {algorithm} on {TASKS[algorithm]}", how)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_nobody_outlives_a_killed_training(tmp_path: Path, stopped: bool) -> None:
    with running(begin(tmp_path, "DQN")) as program:
        program.wait_for(trains(tmp_path))
        program.wait_for(trains(tmp_path, 600))  # every worker, those of trials too, has begun
        for worker in program.workers if stopped else ():
            os.kill(worker.pid, signal.SIGSTOP)
        os.kill(program.process.pid, signal.SIGKILL)
        program.process.wait()
        assert program.leaves_nobody(20)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "command"), [(signal.SIGTERM, "eval"), (signal.SIGINT, "audit")])
def test_other_commands_end_in_one_line(tmp_path: Path, cartpole_run: Path, number: int, command: str) -> None:
    shutil.copytree(cartpole_run, tmp_path / "run")
    arguments = {
        "eval": ("eval", "run", "--episodes", 2000, "--workers", 2),
        "audit": ("audit", "cartpole", "--model", "brightness", "--output", "audit", "--workers", 2),
    }[command]
    with running(start(tmp_path, *arguments)) as program:
        program.wait_for(lambda: len(program.workers) == 2)
        time.sleep(1)
        os.killpg(program.process.pid, number)
        assert program.end() == CODES[signal.Signals(number)], program.said
        name = signal.Signals(number).name
        assert program.said == f"error: stopped by {name}; to begin again, give the same command\n"
        assert program.leaves_nobody()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".gif", ".png", ".html")]


@pytest.mark.slow
def test_a_run_may_be_read_while_it_trains(tmp_path: Path) -> None:
    with running(begin(tmp_path, "DQN")) as program:
        program.wait_for(trains(tmp_path, 600))
        for arguments in (("eval", "run", "--episodes", 2, "--workers", 1), ("report", "run")):
            reader = start(tmp_path, *arguments)
            assert reader.end(120) == 0, reader.said
        other = start(tmp_path, "train", "--resume", "run", "--workers", 1)
        assert other.end(60) == 1
        assert "another process is training into 'run'" in other.said
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.end() == 143
        is_whole(tmp_path)


def test_a_full_disk_met_by_the_event_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    events = Events(tmp_path)
    monkeypatch.setattr(events._writer, "flush", full)
    with pytest.raises(RunError, match=r"cannot write '.*No space left"):
        events.write({"a": 1.0}, {})
    monkeypatch.setattr(events._writer, "close", full)
    events.close()


def test_a_finetuning_without_a_state_leaves_its_folder_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gym_vlmrm.finetuning import Settings, finetune
    from gym_vlmrm.finetuning.session import FinetuningSession

    def stopped(*_: Any) -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(FinetuningSession, "begin", stopped)
    settings = Settings(captions="cartpole", model="scratch", frames=64, steps=2)
    for _ in range(2):
        with pytest.raises(Stopped):
            finetune(settings, tmp_path / "model")
        assert not list((tmp_path / "model").iterdir())


def test_weights_beside_the_policy_must_be_finite(tmp_path: Path) -> None:
    from stable_baselines3 import SAC

    from gym_vlmrm.learning.finite import check_finite

    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]})
    check_finite(model)
    model.log_ent_coef.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="'log_ent_coef' of the algorithm is not finite"):
        check_finite(model)


def test_a_stored_reward_that_is_no_number_is_refused(tmp_path: Path) -> None:
    run = train(cartpole(), DQN, output=tmp_path / "run", workers=1).run
    path = run.checkpoint("last").path / "replay.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["rewards"][3] = np.nan
    np.savez(path, **arrays)
    write_manifest(path.parent)  # else the digest tells first
    with pytest.raises(RunError, match=r"replay\.npz: a reward is not finite"):
        resume(run.path, steps=300, workers=1)


def test_a_step_that_was_lost_is_cut_off_and_begins_anew() -> None:
    notices: list[str] = []
    pool = make_worlds(cartpole(), 4, render_size=16, verdicts=True, workers=2, autoreset_mode="SameStep")
    steps = PoolSteps(pool, Restarts(notices.append))
    try:
        steps.reset(0)
        before = steps.step(np.zeros(4, int)).copy()
        os.kill(pool._processes[1].pid, signal.SIGKILL)  # type: ignore[attr-defined]
        after = steps.step(np.zeros(4, int))
        assert steps.dones.all()
        assert not steps.terminated.any()
        assert [steps.terminal_observations[index].tolist() for index in range(4)] == before.tolist()
        assert (after != before).any(axis=1).all()
        assert len(notices) == 1
        steps.step(np.zeros(4, int))
        assert not steps.dones.any()
        os.kill(pool._processes[0].pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(WorkerError, match="worker process 1 of 2 died"):
            steps.step(np.zeros(4, int))
        with pytest.raises(WorkerError, match="died"):
            steps.step(np.zeros(4, int))
    finally:
        pool.close()


def test_tasks_of_the_harness_are_whole(tmp_path: Path) -> None:
    from gym_vlmrm.task.catalog import load_task

    for algorithm in ALGORITHMS:
        assert load_task(task_file(tmp_path, algorithm)).training["default"].algorithm == algorithm
