"""Stopping and going on: by signals, by errors, over worker processes, and without losing what was learned."""

import json
import os
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
from command_line import vlmrm
from safetensors.torch import load_file
from thorough import sample
from trainings import DQN, PPO, cartpole, rows

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.files import read_json
from gym_vlmrm.interrupts import Stopped, StopRequest, raising_on_signals, stopping_on_signals
from gym_vlmrm.learning import checkpoint_replay, resume, setup, train, trials
from gym_vlmrm.learning import saver as saver_module
from gym_vlmrm.learning import session as session_module
from gym_vlmrm.learning.evaluation import evaluate
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reward.brightness import BrightnessReward
from gym_vlmrm.reward.threads import kept_torch_threads
from gym_vlmrm.task.spec import EnvSpec, RewardSpec, TaskSpec

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
    from gym_vlmrm_cli.commands import train as command

    class _Bar:
        def __enter__(self) -> Any:
            return send(number, at=8)

        def __exit__(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(command, "training_bar", lambda shown: _Bar())
    run = tmp_path / "run"
    arguments = ["train", "cartpole", "--model", "brightness", "--steps", "50000", "--num-envs", "2", "--workers", "1"]
    result = vlmrm(*arguments, "--output", run)
    assert result.exit_code == code, result.output
    assert f"go on with: vlmrm train --resume {run}" in result.stderr


def test_a_second_ctrl_c_does_not_cost_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = saver_module.save_checkpoint

    def slowly(*args: Any, **kwargs: Any) -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        save(*args, **kwargs)

    monkeypatch.setattr(saver_module, "save_checkpoint", slowly)
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
    play = trials.play

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return play(*args, **kwargs)

    short = DQN.model_copy(update={"checkpoint_every": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(trials, "play", interrupted)
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


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sample([PPO, DQN], PPO), ids=lambda recipe: recipe.algorithm)
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


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_the_workers_alive(tmp_path: Path) -> None:
    """A terminal's Ctrl-C, and a cluster's SIGTERM, reach the workers too, and Ctrl-C also while they start."""
    script = f"""
import os, signal, sys, threading
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent / "helpers")]!r}
from test_stopping import LONG, cartpole
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.setup import Setup
make = Setup.make_pool
pools = []
def make_and_hit(self, *arguments, **settings):
    if pools:  # the second one is for judging; its workers import for a second
        threading.Timer(0.2, os.killpg, (0, signal.SIGINT)).start()
    pools.append(self)
    pool = make(self, *arguments, **settings)
    print("started", len(pools))
    return pool
Setup.make_pool = make_and_hit
recipe = LONG.model_copy(update={{"checkpoint_every": 100}})
assert train(cartpole(), recipe, output="run", workers=2).signal == signal.SIGINT
Setup.make_pool = make
sent = []
def report(progress):
    if not sent:
        sent.append(os.killpg(0, signal.SIGTERM))
assert resume("run", workers=2, on_progress=report).signal == signal.SIGTERM
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["started 1", "started 2"]
    assert "KeyboardInterrupt" not in done.stderr
    assert RunFolder.open(tmp_path / "run").record.status == "interrupted"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no pseudo-terminals")
def test_a_terminal_that_closes_ends_in_a_checkpoint(tmp_path: Path) -> None:
    import pty

    child, terminal = pty.fork()
    if child == 0:
        code = "import sys; from gym_vlmrm_cli.main import main; main()"
        arguments = [
            "train",
            "cartpole",
            "--model",
            "brightness",
            "--steps",
            "1000000",
            "--workers",
            "1",
            "--output",
            str(tmp_path / "run"),
        ]
        os.execv(sys.executable, [sys.executable, "-c", code, *arguments])
    shown = b""
    while b"steps/s" not in shown or not (tmp_path / "run" / "run.json").exists():
        shown += os.read(terminal, 4096)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "interrupted"
    assert run.record.step == run.checkpoint("last").step > 0


def test_signals_that_are_ignored_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    with stopping_on_signals(stop):
        os.kill(os.getpid(), signal.SIGHUP)
    assert not stop
    signal.signal(signal.SIGHUP, before)


def test_an_error_leaves_what_was_learned(tmp_path: Path) -> None:
    def fail(progress: Any) -> None:
        if progress.step >= 64:
            raise ModelError("out of order")

    notices: list[str] = []
    with pytest.raises(ModelError, match="out of order"):
        train(cartpole(), LONG, output=tmp_path / "run", workers=1, on_progress=fail, on_notice=notices.append)
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "failed"
    assert f"--resume {run.path}" in notices[-1]
    assert resume(run.path, steps=run.record.step + 20, workers=1).run.record.status == "finished"


# --- replay buffers


def actions_of(run: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> tuple[set[int], list[str], list[int]]:
    """Resume a run whose policy always pushes left; returns the actions made and the steps at which it learned."""
    from stable_baselines3 import DQN as Algorithm

    notices: list[str] = []
    made: set[int] = set()
    learned: list[int] = []
    build = setup.build_algorithm

    def built(*args: Any, **kwargs: Any) -> Any:
        model: Any = build(*args, **kwargs)
        assert isinstance(model, Algorithm)
        model.exploration_schedule = lambda _: 0.0
        step, learn = model.env.step_async, model.train
        model.env.step_async = lambda actions: (made.update(np.ravel(actions).tolist()), step(actions))[1]
        model.train = lambda *args, **kwargs: (learned.append(model.num_timesteps), learn(*args, **kwargs))[1]
        return model

    monkeypatch.setattr(setup, "build_algorithm", built)
    resume(run, steps=steps, workers=1, on_notice=notices.append)
    return made, notices, learned


def test_no_random_actions_after_a_resume_without_the_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = DQN.model_copy(update={"hyperparameters": {**DQN.hyperparameters, "learning_rate": 1e-12}})
    run = train(cartpole(), idle, output=tmp_path / "run", workers=1).run
    folder = run.checkpoint("last").path
    (folder / "replay.npz").unlink()
    from safetensors.torch import save_file

    weights = load_file(folder / "policy.safetensors")
    for value in weights.values():
        value.zero_()
        if value.shape == (2,):
            value[0] = 1.0  # left, whatever the state
    save_file(weights, folder / "policy.safetensors")
    write_manifest(folder)
    made, notices, learned = actions_of(run.path, monkeypatch, steps=300)
    assert made == {0}
    assert "fills again" in notices[0]
    assert min(learned) >= 200 + idle.hyperparameters["learning_starts"]


def test_every_checkpoint_can_be_gone_on_with_and_two_buffers_are_kept(tmp_path: Path) -> None:
    run = train(cartpole(), DQN.model_copy(update={"steps": 300}), output=tmp_path / "run", workers=1).run
    holding = [checkpoint.step for checkpoint in run.checkpoints() if (checkpoint.path / "replay.npz").exists()]
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [100, 200, 300]
    assert holding == [200, 300]


def test_a_full_disk_leaves_the_buffer_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = saver_module.save_checkpoint

    def fill(folder: Path, model: Any, *args: Any, **kwargs: Any) -> None:
        if model.num_timesteps >= 150:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
        try:
            save(folder, model, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(saver_module, "save_checkpoint", fill)
    with pytest.raises(RunError, match="cannot write") as caught:
        train(cartpole(), DQN, output=tmp_path / "run", workers=1)
    monkeypatch.setattr(saver_module, "save_checkpoint", save)
    assert "\n" not in str(caught.value)
    run = RunFolder.open(tmp_path / "run")
    last = run.checkpoint("last")
    assert last.step == 100
    assert (last.path / "replay.npz").exists()
    assert resume(run.path, workers=1).step == 200


def test_a_buffer_without_room_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_replay, "SPARE_DISK", 10**18)
    notices: list[str] = []
    run = train(cartpole(), DQN, output=tmp_path / "run", workers=1, on_notice=notices.append).run
    assert not list(run.path.rglob("replay.npz"))
    assert [notice for notice in notices if "replay buffer" in notice] == notices
    assert len(notices) == 1


@pytest.mark.parametrize("damage", ["garbage", "short", "far", "other"])
def test_a_damaged_buffer_is_one_line(tmp_path: Path, damage: str) -> None:
    run = train(cartpole(), DQN, output=tmp_path / "run", workers=1).run
    path = run.checkpoint("last").path / "replay.npz"
    with np.load(path) as file:
        arrays = dict(file)
    if damage == "garbage":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "short":
        np.savez(path, **{**arrays, "rewards": arrays["rewards"][:5]})
    elif damage == "far":
        np.savez(path, **{**arrays, "pos": np.array(10**9)})
    else:
        np.savez(path, x=np.zeros(3))
    write_manifest(path.parent)  # as if somebody had taken care of that
    with pytest.raises(RunError, match=r"replay\.npz") as caught:
        resume(run.path, steps=300, workers=1)
    assert "\n" not in str(caught.value)


# --- threads, memory, rewards that are no numbers, records


class Alone(BrightnessReward):
    """A model whose calls must not overlap, on an unnamed device; notes the threads that torch gives it."""

    concurrent = False

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def __call__(self, frames: Any) -> Any:
        self.threads.add(torch.get_num_threads())
        return super().__call__(frames)


@pytest.fixture
def three_threads() -> Iterator[None]:
    with kept_torch_threads():
        torch.set_num_threads(3)
        yield


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("device", "scoring"), [(None, 3), ("cpu", 3), ("cuda:0", 1)])
def test_learning_takes_one_thread_and_gives_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None, scoring: int
) -> None:
    model, learning = Alone(), set()
    if device is not None:
        model.device = device  # type: ignore[attr-defined]
        monkeypatch.setattr(session_module, "describe_machine", lambda **_: {})
    monkeypatch.setattr(setup, "load_reward_model", lambda task: model)
    train(
        cartpole(), PPO, output=tmp_path / "run", workers=1,
        on_progress=lambda _: learning.add(torch.get_num_threads()),
    )  # fmt: skip
    assert learning == {1}
    assert model.threads == {scoring}
    assert torch.get_num_threads() == 3


def test_a_gpu_without_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(BrightnessReward):
        def __call__(self, frames: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand more")

    monkeypatch.setattr(setup, "load_reward_model", lambda task: Greedy())
    with pytest.raises(ModelError, match="memory does not suffice") as caught:
        train(cartpole(), PPO, output=tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)


class Bottomless(gym.Wrapper[Any, Any, Any, Any]):
    """Pendulum whose own reward is not finite now and then."""

    def __init__(self) -> None:
        super().__init__(gym.make("Pendulum-v1", render_mode="rgb_array"))
        self._count = 0

    def step(self, action: Any) -> Any:
        state, _, *rest = self.env.step(action)
        self._count += 1
        return state, (-np.inf, np.nan, np.inf, 1.0)[self._count % 4], *rest


def test_a_task_reward_that_is_no_number_is_null_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gym.registry, "Bottomless-v0", gym.envs.registration.EnvSpec("Bottomless-v0", lambda **_: Bottomless())
    )
    task = TaskSpec(
        id="Test/Bottomless-v0",
        env=EnvSpec(id="Bottomless-v0", max_episode_steps=10),
        reward=RewardSpec(goal="bright", model="brightness"),
    )
    notices: list[str] = []
    run = train(task, PPO, output=tmp_path / "run", workers=1, on_notice=notices.append).run
    assert run.record.status == "finished"
    assert len(notices) == 1
    assert "own reward was" in notices[0]
    assert run.best is not None
    assert run.best.task_reward is None
    assert "task_reward" not in " ".join(rows(run)[-1])
    result = evaluate(run, episodes=2, workers=1, video=False)
    assert result.policy.task_reward is None
    json.loads((run.path / "eval" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert resume(run.path, steps=512, workers=1).run.record.status == "finished"


def test_a_run_names_its_judge_and_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BrightnessReward()
    model.weights_digest, model.precision, model.device = "ab12", "fp32", "cpu"  # type: ignore[attr-defined]
    monkeypatch.setattr(setup, "load_reward_model", lambda task: model)
    run = train(cartpole(), PPO, output=tmp_path / "run", workers=1).run
    judge = {"model": "brightness", "weights_digest": "ab12", "precision": "fp32", "device": "cpu"}
    assert read_json(run.path / "run.json")["judge"] == judge
    assert run.record.machine["processor"] not in ("", "x86_64")
    model.weights_digest = "cd34"  # type: ignore[attr-defined]
    notices: list[str] = []
    resume(run.path, steps=300, workers=1, on_notice=notices.append)
    assert notices == ["the weights of the reward model 'brightness' were ab12 and are cd34 now"]
    assert run.record.judge is not None
    assert run.record.judge.weights_digest == "cd34"


def test_a_resumed_run_may_move_to_another_device(tmp_path: Path) -> None:
    elsewhere = cartpole(device="cuda")
    run = train(elsewhere, PPO, output=tmp_path / "run", workers=1).run
    assert run.task.reward.device == "cuda"
    resume(run.path, steps=300, device="cpu", workers=1)
    assert run.task.reward.device == "cpu"


def test_two_processes_do_not_train_into_one_folder(tmp_path: Path) -> None:
    run = train(cartpole(), PPO, output=tmp_path / "run", workers=1).run

    def again(progress: Any) -> None:
        with pytest.raises(RunError, match="another process is training"):
            resume(run.path, steps=10_000, workers=1)

    assert resume(run.path, steps=300, workers=1, on_progress=again).run.record.status == "finished"
    assert not (run.path / ".lock").exists()


def test_tensorboard_forgets_the_steps_that_are_made_anew(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(cartpole(), PPO, output=tmp_path / "run", workers=1).run
    shutil.rmtree(run.checkpoint("last").path)  # as if killed before it was written
    first = run.checkpoint("last").step
    resume(run.path, steps=300, workers=1)
    events = EventAccumulator(str(run.path / "tensorboard"), purge_orphaned_data=True).Reload()
    steps = [event.step for event in events.Scalars("rollout/vlm_reward")]
    assert steps == sorted(set(steps))
    assert steps == [int(row["step"]) for row in rows(run) if row["rollout/vlm_reward"]]
    assert first in steps


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_before_and_after_a_command_ends_it_in_one_line(name: str, code: int) -> None:
    """Typer makes 130 of any KeyboardInterrupt, and Python kills itself by a Ctrl-C that comes while it ends."""
    program = f"""
import atexit, os, signal, sys
atexit.register(os.kill, os.getpid(), signal.SIGINT)
from gym_vlmrm_cli import main
main.app.command("dawdle")(lambda: os.kill(os.getpid(), signal.{name}))
sys.argv = ["vlmrm", "dawdle"]
main.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.strip() == f"error: stopped by {name}; to begin again, give the same command"


def test_a_signal_that_a_library_made_its_own_of_is_known_again() -> None:
    """Ray turns whatever comes while it waits into a plain KeyboardInterrupt."""

    def wait() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt:
            plain = KeyboardInterrupt()
        plain.advice = "go on"  # type: ignore[attr-defined]
        raise plain

    with pytest.raises(Stopped) as caught, raising_on_signals():
        wait()
    assert (caught.value.signal, caught.value.advice) == (signal.SIGTERM, "go on")
    with pytest.raises(KeyboardInterrupt) as own, raising_on_signals():
        raise KeyboardInterrupt("of somebody else")
    assert not isinstance(own.value, Stopped)
