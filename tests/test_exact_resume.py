"""Exact resume: a run that is killed and gone on with is, to the byte, the run that nobody killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from traces import traces
from trainings import DQN, PPO, cartpole, cartpole_of_parts, cartpole_that_ends

from gym_vlmrm import load_task
from gym_vlmrm.errors import RunError, WorldError
from gym_vlmrm.learning import checkpoint_replay, resume, train
from gym_vlmrm.learning import saver as saver_module
from gym_vlmrm.learning import session as session_module
from gym_vlmrm.learning.manifest import MANIFEST, write_manifest
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import run_metrics
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import ContinuationSpec, EnvSpec, Recipe, TaskSpec
from gym_vlmrm.tensors import load_state, save_state, save_tensors
from gym_vlmrm.worlds.state import state_of
from gym_vlmrm.worlds.world import make_world, make_worlds

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MOUNTAIN = override(load_task("mountain-car"), model="brightness", max_episode_steps=20)
SAC = Recipe(
    algorithm="SAC",
    steps=160,
    num_envs=2,
    checkpoint_every=64,
    updates_per_step=0.25,
    reward_every=3,
    hyperparameters={"learning_starts": 40, "batch_size": 8, "buffer_size": 60, "policy_kwargs": {"net_arch": [8]}},
)
ARS = Recipe(
    algorithm="ARS",
    steps=800,
    num_envs=2,
    checkpoint_every=200,
    hyperparameters={"n_delta": 2, "policy": "LinearPolicy"},
)
"""Resets its environments between two episodes, at the places of their own random numbers."""
SDE = PPO.model_copy(update={"hyperparameters": {**PPO.hyperparameters, "use_sde": True, "sde_sample_freq": 3}})
"""Draws random numbers before its callbacks hear of a rollout."""


CONTINUED = PPO.model_copy(update={"continuation": ContinuationSpec(level=0.5, frames=2), "steps": 512})


class Killed(BaseException):
    """What no handler of errors sees."""


def _cut(original: Any, at: int) -> Any:
    """Return a function like another, whose `at`-th call kills."""
    calls = []

    def cut(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == at:
            raise Killed
        return original(*args, **kwargs)

    return cut


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TaskSpec, Recipe], RunFolder]:
    """Return a function that gives the run, of seed 2, that nobody stopped."""
    done: list[tuple[TaskSpec, Recipe, RunFolder]] = []

    def find(task: TaskSpec, recipe: Recipe) -> RunFolder:
        for known_task, known_recipe, run in done:
            if (known_task, known_recipe) == (task, recipe):
                return run
        run = train(task, recipe, seed=2, output=tmp_path_factory.mktemp("whole") / "run", workers=1).run
        done.append((task, recipe, run))
        return run

    return find


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        (cartpole(), PPO),
        (cartpole(), DQN),
        (MOUNTAIN, SAC),
        (MOUNTAIN, ARS),
        (MOUNTAIN, CONTINUED),
        (cartpole_of_parts(), PPO),
        (cartpole_of_parts(), DQN),
        (cartpole_that_ends(), PPO),
        (cartpole_that_ends(), CONTINUED),
    ],
    ids=["PPO", "DQN", "SAC", "ARS", "continued", "PPO, parts", "DQN, parts", "ends", "ends, continued"],
)
def test_a_run_cut_short_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: TaskSpec, recipe: Recipe
) -> None:
    """Cut where it hurts: before and after a checkpoint is there, its verdict, `best.json`, the row of metrics."""
    train(task, recipe, seed=4, output=tmp_path / "whole", workers=1)
    run = tmp_path / "cut"
    places = [
        (session_module, "write_verdict"),
        (RunFolder, "write_best"),
        (session_module.MetricsTable, "write"),
        (session_module.Session, "_write_record"),
        (saver_module, "save_checkpoint"),
    ]
    twice = task == cartpole()  # the others remember more, and meet each place once
    for count, (owner, name) in enumerate(places * (2 if twice else 1), 1):
        cut = _cut(getattr(owner, name), at=1 + count % 3)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, cut)
            try:
                if (run / "run.json").exists():
                    if RunFolder.open(run).record.status != "finished":
                        resume(run, workers=1)
                else:
                    shutil.rmtree(run, ignore_errors=True)
                    train(task, recipe, seed=4, output=run, workers=1)
            except Killed:
                pass
    if RunFolder.open(run).record.status != "finished":
        resume(run, workers=1)
    assert traces(run) == traces(tmp_path / "whole")


@pytest.mark.slow
def test_a_few_kills_at_random_moments_change_nothing() -> None:
    """A sample of ``python benchmarks/kills.py``."""
    command = [sys.executable, str(BENCHMARKS / "kills.py"), "--kills", "2", "--per-run", "2", "--cases", "sac"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("task", "recipe", "at"),
    [*((cartpole(), recipe, at) for recipe in (PPO, DQN) for at in (0, 30, 60, 100, 150)), (MOUNTAIN, SDE, 90)],
    ids=lambda value: getattr(value, "algorithm", value) if not isinstance(value, TaskSpec) else value.id[6:10],
)
def test_a_signal_changes_nothing_either(
    tmp_path: Path, task: TaskSpec, recipe: Recipe, at: int, monkeypatch: pytest.MonkeyPatch, whole_run: Any
) -> None:
    whole = whole_run(task, recipe)
    monkeypatch.setattr("gym_vlmrm.learning.callbacks.PROGRESS_PERIOD", 0)  # told of every step, however fast they are

    def stop(progress: Any) -> None:
        if progress.step >= at:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = train(task, recipe, seed=2, output=tmp_path / "stopped", workers=1, on_progress=stop)
    assert stopped.interrupted
    assert RunFolder.open(tmp_path / "stopped").checkpoint("last").step == stopped.step
    run = resume(tmp_path / "stopped", workers=1).run
    last = [folder.checkpoint("last").path / "policy.safetensors" for folder in (whole, run)]
    assert last[0].read_bytes() == last[1].read_bytes()
    assert (whole.path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()
    assert whole.best == run.best


# --- damage


@pytest.mark.parametrize("name", ["state.safetensors", "replay.npz", "policy.safetensors", "training.safetensors"])
@pytest.mark.parametrize("damage", ["bit", "half", "gone"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, dqn_run: Path, name: str, damage: str) -> None:
    run = RunFolder.open(shutil.copytree(dqn_run, tmp_path / "run"))
    before, last = traces(run.path), run.checkpoint("last")
    path = last.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    run.write_record(run.record.model_copy(update={"status": "running"}))
    notices: list[str] = []
    result = resume(run.path, workers=1, on_notice=notices.append)
    assert result.step == 200
    if name == "replay.npz" and damage == "gone":  # may be removed to save space
        assert "fills again" in notices[0]
    else:
        assert name in notices[0]
        assert "earlier checkpoint" in notices[0]
        assert traces(run.path) == before


def test_without_a_whole_checkpoint_it_is_one_line(tmp_path: Path, dqn_run: Path) -> None:
    run = RunFolder.open(shutil.copytree(dqn_run, tmp_path / "run"))
    for checkpoint in run.checkpoints():
        (checkpoint.path / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"manifest\.json") as caught:
        resume(run.path, steps=300, workers=1)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_training_is_one_line(tmp_path: Path, dqn_run: Path) -> None:
    run = RunFolder.open(shutil.copytree(dqn_run, tmp_path / "run"))
    folder = run.checkpoint("last").path
    state = load_state(folder / "state.safetensors")
    state["worlds"] = state["worlds"][:1]
    save_state(folder / "state.safetensors", state)
    write_manifest(folder)
    with pytest.raises(RunError, match="does not fit its run"):
        resume(run.path, steps=300, workers=1)


def test_a_run_without_a_checkpoint_begins_again(tmp_path: Path, dqn_run: Path) -> None:
    run = RunFolder.open(shutil.copytree(dqn_run, tmp_path / "run"))
    before = traces(run.path)
    for checkpoint in run.checkpoints():
        shutil.rmtree(checkpoint.path)
    run.write_record(run.record.model_copy(update={"status": "running", "step": 0}))
    notices: list[str] = []
    resume(run.path, workers=1, on_notice=notices.append)
    assert "begins again" in notices[0]
    assert traces(run.path) == before


def test_a_large_buffer_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dqn_run: Path) -> None:
    monkeypatch.setattr(checkpoint_replay, "PIECE", 7)
    run = RunFolder.open(shutil.copytree(dqn_run, tmp_path / "run"))
    before = traces(run.path)
    shutil.rmtree(run.checkpoint("last").path)
    run.write_record(run.record.model_copy(update={"status": "running"}))
    resume(run.path, workers=1)
    assert traces(run.path) == before


def test_times_have_a_table_of_their_own(dqn_run: Path) -> None:
    run = RunFolder.open(dqn_run)
    assert "time/" not in (run.path / "metrics.csv").read_text()
    columns = run_metrics(run.path)
    speeds = columns["time/steps_per_second"]
    assert len(speeds) == len(columns["step"])
    assert all(speed is not None and speed > 0 for speed in speeds)


@pytest.fixture(scope="module")
def dqn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(cartpole(), DQN, output=tmp_path_factory.mktemp("exact") / "run", workers=1).run.path


# --- worlds


@pytest.mark.parametrize("name", ["cartpole", "mountain-car", "kneeling", "Pendulum-v1", "MountainCar-v0"])
def test_a_world_goes_on_from_its_state(name: str) -> None:
    if "-v" in name:
        task = TaskSpec(id="Any/World-v0", env=EnvSpec(id=name), reward={"goal": "x", "model": "brightness"})  # type: ignore[arg-type]
    else:
        task = load_task(name)
    one, other = (make_world(task, render_size=32, limited=True, frames=True, every=2, verdicts=True) for _ in range(2))
    one.reset(seed=5)
    one.action_space.seed(0)
    actions = [one.action_space.sample() for _ in range(40)]
    for action in actions[:9]:
        one.step(action)
    state: Any = state_of(one)
    assert state is not None
    other.world_state = state  # type: ignore[attr-defined]
    for action in actions[9:]:
        for left, right in zip(one.step(action), other.step(action), strict=True):
            np.testing.assert_equal(left, right)
    for left, right in zip(one.reset(), other.reset(), strict=True):
        np.testing.assert_equal(left, right)
    one.close()
    other.close()


def test_a_state_passes_through_a_file_and_worker_processes(tmp_path: Path) -> None:
    task = load_task("cartpole")
    pools = [make_worlds(task, 3, render_size=32, workers=workers) for workers in (1, 2)]
    pools[0].reset(seed=1)
    pools[0].step(np.array([0, 1, 1]))
    save_state(tmp_path / "a.safetensors", list(pools[0].get_attr("world_state")))
    pools[1].set_attr("world_state", load_state(tmp_path / "a.safetensors"))
    results = [pool.step(np.array([1, 0, 1])) for pool in pools]
    for left, right in zip(*results, strict=True):
        np.testing.assert_equal(left, right)
    with pytest.raises(WorldError, match="not that of such a world"):
        pools[0].set_attr("world_state", [{"layers": []}] * 3)
    for pool in pools:
        pool.close()


def test_a_world_that_cannot_tell_its_state_says_so() -> None:
    class Own(gym.Wrapper[Any, Any, Any, Any]):
        pass

    assert state_of(Own(gym.make("CartPole-v1"))) is None


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    """The order of an array's numbers is part of it: sums along another one have other last bits."""
    columns = np.asfortranarray(np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32))
    numbers = [np.float32(0.1), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1), np.float16("nan")]
    state = {
        "columns": columns,
        "rows": columns.copy("C"),
        "numbers": numbers,
        "none": np.zeros((0, 3)),
        "one": np.array(1),
    }
    save_state(tmp_path / "a.safetensors", state)
    back = load_state(tmp_path / "a.safetensors")
    assert [type(number) for number in back["numbers"]] == [type(number) for number in numbers]
    np.testing.assert_array_equal(back["numbers"], numbers)
    for name in ("columns", "rows", "none", "one"):
        assert back[name].shape == state[name].shape  # type: ignore[attr-defined]
        assert back[name].tobytes("A") == state[name].tobytes("A")  # type: ignore[attr-defined]
    assert back["columns"].sum() == columns.sum()


def test_a_state_of_a_million_numbers_is_read_again(tmp_path: Path) -> None:
    state = {"map": [[column % 7 for column in range(1000)] for _ in range(1200)]}
    save_state(tmp_path / "a.safetensors", state)
    assert load_state(tmp_path / "a.safetensors") == state


@pytest.mark.parametrize(
    "skeleton", ['{"array": []}', '{"array": ["t0", [1e30]]}', '{"array": ["t0", [100000000000000000000]]}', "[" * 5000,
                 '{"number": ["O", ""]}', '{"number": ["<f4", "00"]}', '{"number": []}'],
)  # fmt: skip
def test_a_made_up_skeleton_is_one_line(tmp_path: Path, skeleton: str) -> None:
    save_tensors(tmp_path / "a.safetensors", {"t0": torch.zeros(1)}, {"skeleton": skeleton})
    with pytest.raises(RunError, match="holds no training state"):
        load_state(tmp_path / "a.safetensors")


class Buffer:
    """A replay buffer of ten places."""

    buffer_size, pos, full = 10, 4, False

    def __init__(self) -> None:
        self.observations = self.next_observations = self.actions = np.zeros((10, 2, 3), np.float32)
        self.rewards = self.dones = self.timeouts = np.zeros((10, 2), np.float32)

    def fill(self) -> None: ...

    def size(self) -> int:
        return self.pos


@pytest.mark.parametrize("fault", ["method", "encrypted", "header"])
def test_a_made_up_buffer_is_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "replay.npz"
    checkpoint_replay.save_buffer(path, Buffer())
    checkpoint_replay.restore_buffer(path, Buffer())
    content = bytearray(path.read_bytes())
    if fault == "header":
        at = content.index(b"'descr'", content.index(b"rewards.npy"))
        content[at : at + 7] = b"[[[[[[["
    else:
        entry = content.rindex(b"rewards.npy") - 46  # in the directory
        content[entry + 10 if fault == "method" else entry + 8] ^= 99 if fault == "method" else 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="does not fit its run"):
        checkpoint_replay.restore_buffer(path, Buffer())
