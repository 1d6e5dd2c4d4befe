"""Several seeds of one training: `vlmrm train --seeds`."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import vlmrm
from trainings import PPO, cartpole, rows

from gym_vlmrm.errors import RunError
from gym_vlmrm.learning import train
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import list_runs, newest_run
from gym_vlmrm.learning.seeds import holds_seeds, prepare_seeds, train_seeds

TASK = """
id: Test/Cart-v0
env: {id: CartPole-v1, max_episode_steps: 20}
reward: {goal: up, model: brightness}
training:
  default: {algorithm: PPO, steps: 64, num_envs: 2, hyperparameters: {n_steps: 16, batch_size: 16, n_epochs: 1}}
"""


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gym_vlmrm.worlds.pools.pool.usable_cores", lambda: 1)
    Path("mine.yaml").write_text(TASK)


def test_each_seed_is_what_it_would_be_alone() -> None:
    recipe = PPO.model_copy(update={"steps": 128})
    folder = prepare_seeds(cartpole(), recipe, range(2), output="both")
    notices: list[str] = []
    begun: list[int] = []
    result = train_seeds(folder, workers=1, on_seed=begun.append, on_notice=notices.append)
    assert (begun, notices, result.step) == ([0, 1], [], 256)
    alone = train(cartpole(), recipe, seed=1, output="alone", workers=1)
    assert rows(result.runs[1]) == rows(alone.run)
    assert alone.run.record.recipe == result.runs[1].record.recipe
    with pytest.raises(RunError, match="has trained its 2 seeds"):
        train_seeds(folder)


def test_a_stopped_folder_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = PPO.model_copy(update={"steps": 128})
    folder = prepare_seeds(cartpole(), recipe, (3, 4, 5), output="some")
    assert holds_seeds(folder)
    assert not holds_seeds(folder / "seed-3")

    class Stopped(Exception):
        pass

    def stop(seed: int) -> None:
        if seed == 4:
            raise Stopped

    with pytest.raises(Stopped):
        train_seeds(folder, workers=1, on_seed=stop)
    assert [run.status for run in list_runs([folder])].count("finished") == 1
    begun: list[int] = []
    train_seeds(folder, workers=1, on_seed=begun.append)
    assert begun == [4, 5]


def test_the_command_prints_one_table_and_lists_know_the_runs() -> None:
    result = vlmrm("train", "mine.yaml", "--seeds", 2, "--seed", 7, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["output"], told["status"], told["step"]) == ("runs/cart-ppo-seeds-1", "finished", 128)
    assert [run["seed"] for run in told["groups"][0]["runs"]] == [7, 8]
    assert told["groups"][0]["numbers"]["best_reward"]["low"] is not None
    assert {run.run for run in list_runs()} == {f"runs/cart-ppo-seeds-1/seed-{seed}" for seed in (7, 8)}
    assert newest_run().record.seed == 8
    again = vlmrm("train", "--resume", "runs/cart-ppo-seeds-1")
    assert again.exit_code == 1
    assert "has trained its 2 seeds; compare them: vlmrm compare runs/cart-ppo-seeds-1" in again.stderr


def test_what_fails_at_once_leaves_nothing() -> None:
    for arguments, words in (
        (("--algorithm", "XYZ"), "unknown algorithm"),
        (("--algorithm", "SAC"), "SAC needs Box actions"),
        (("--model", "nothing/such"), "nothing"),
    ):
        result = vlmrm("train", "mine.yaml", "--seeds", 2, *arguments)
        assert result.exit_code == 1, result.output
        assert words in result.stderr
        assert [path.name for path in Path().iterdir() if path.name != "runs"] == ["mine.yaml"]
        assert not list(Path().glob("runs/*"))
    assert vlmrm("train", "mine.yaml", "--seeds", 1).exit_code == 2


def test_a_signal_is_told_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    from gym_vlmrm.learning import seeds
    from gym_vlmrm.learning.trainer import TrainingResult

    def interrupted(run: RunFolder, **_: Any) -> TrainingResult:
        return TrainingResult(run, 10, 1.0, interrupted=True, best=None, signal=15)

    monkeypatch.setattr(seeds, "resume", interrupted)
    result = vlmrm("train", "mine.yaml", "--seeds", 3)
    assert result.exit_code == 143
    assert "vlmrm train --resume runs/cart-ppo-seeds-1" in result.stderr
    assert len(list(Path("runs/cart-ppo-seeds-1").iterdir())) == 3
