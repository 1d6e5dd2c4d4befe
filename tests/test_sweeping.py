"""What a sweep's file means, and one training of it: begun, gone on with and stopped early. Ray is not needed here."""

import sys
from pathlib import Path
from typing import Any

import pytest
from gym_vlmrm_cli.main import app
from typer.testing import CliRunner

from gym_vlmrm import load_task
from gym_vlmrm.cluster.connecting import ClusterError, connected, import_ray
from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.errors import TaskError, TrainingError, VLMRMError
from gym_vlmrm.learning import callbacks
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.sweeping.plan import SweepSpec, Trial, read_sweep, trials_of
from gym_vlmrm.sweeping.sweep import begin_sweep
from gym_vlmrm.sweeping.trial import StopEarly, make_trial, rewards_so_far

SMALL = {
    "tasks": ["cartpole"], "models": ["brightness"], "algorithms": ["PPO"], "steps": 96, "num_envs": 2,
    "hyperparameters": {
        "n_steps": [24], "batch_size": [24], "n_epochs": [1], "policy_kwargs": [{"net_arch": [8]}],
        "checkpoint_every": [24],
    },
}  # fmt: skip


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_lists_are_varied_and_single_values_are_lists_of_one(tmp_path: Path) -> None:
    text = """
tasks: [cartpole, mountain-car]
models: brightness
alphas: [0, 0.5]
seeds: [0, 1]
algorithms: PPO
steps: 1000
hyperparameters: {learning_rate: [1e-4, 3e-4], reward_every: 2}
stopping: {after: 0.5}
"""
    spec = read_sweep(written(tmp_path, text))
    trials = trials_of(spec)
    assert len(trials) == 16
    assert len({trial.name for trial in trials}) == 16
    assert {trial.recipe.hyperparameters["learning_rate"] for trial in trials} == {1e-4, 3e-4}
    assert {trial.recipe.reward_every for trial in trials} == {2}
    assert {trial.task.reward.alpha for trial in trials} == {0, 0.5}
    assert all(trial.recipe.steps == 1000 and trial.task.reward.model == "brightness" for trial in trials)
    assert spec.stopping is not None
    assert spec.stopping.after == 0.5


def test_equal_trainings_are_made_once() -> None:
    own = load_task("cartpole").reward.goals[0]
    assert len(trials_of(SweepSpec.model_validate({**SMALL, "goals": [None, own, "light"]}))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "tasks|mapping"), ("tasks: []", "tasks: give 1 to 200 values"), ("seeds: [0]", "tasks: Field required"),
        ("tasks: cartpole\nsteps: 0", r"sweep.yaml:2: steps: Input should be greater"),
        ("tasks: cartpole\nsteeps: 1", r"sweep.yaml:2: steeps: Extra"),
        ("tasks: cartpole\nstopping: {after: 2}", r"sweep.yaml:2: stopping.after: Input should be less"),
        ("tasks: cartpole\nhyperparameters: 3", "hyperparameters: Input should be"),
        ("tasks: cartpole\nhyperparameters: {gamma: []}", "hyperparameters.gamma: give 1 to 200 values"),
        ("tasks: cartpole\nseeds: [0, 1, 0]", "sweep.yaml:2: seeds: 0 stands there twice; write it once"),
        ("tasks: [cartpole, cartpole]", 'tasks: "cartpole" stands there twice'),
        ("tasks: cartpole\nalphas: [0.5, .5]", "alphas: 0.5 stands there twice"),
        ("tasks: cartpole\ngoals: [null, null]", "goals: null stands there twice"),
        ("tasks: cartpole\ngoals: [[a, b], [a, b]]", r'goals: \["a", "b"\] stands there twice'),
        ("tasks: cartpole\nhyperparameters:\n  gamma: [0.9, 0.9]", "hyperparameters: gamma: 0.9 stands there twice"),
        ("tasks: cartpole\nseeds: [true]", "seeds: Input should be a valid integer"),
        ("tasks: cartpole\nseeds: ['1']", "seeds: Input should be a valid integer"),
        ("tasks: cartpole\naccelerators: .inf", "accelerators: Input should be a finite"),
        ("tasks: cartpole\nseeds: [a]", "seeds: Input should be a valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TaskError, match=words) as caught:
        read_sweep(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ["cartpoles"]}, "did you mean"), ({"algorithms": ["PPQ"]}, "PPQ"), ({"recipes": ["none"]}, "none"),
        ({"seeds": list(range(150)), "alphas": [0, 0.5]}, "means 300 trainings"), ({"alphas": [2]}, "alpha"),
        ({"seeds": [-1]}, "seed"), ({"models": ["no-such-model"]}, "cartpole, PPO: .*no-such-model"),
        ({"hyperparameters": {"learning_rat": [1]}}, "cartpole, PPO: PPO has no hyperparameter 'learning_rat'"),
        ({"algorithms": ["SAC"], "hyperparameters": {}}, "cartpole, SAC: "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_before_anything_is_trained(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    spec = SweepSpec.model_validate({**SMALL, **changes})
    with pytest.raises((VLMRMError, TrainingError), match=words):
        begin_sweep(spec, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_folder_keeps_its_sweep(tmp_path: Path) -> None:
    spec, folder = SweepSpec.model_validate(SMALL), tmp_path / "sweep"
    assert begin_sweep(spec, folder) == begin_sweep(spec, folder)
    with pytest.raises(VLMRMError, match="holds another sweep"):
        begin_sweep(spec.model_copy(update={"seeds": [7]}), folder)


def one_trial() -> Trial:
    return trials_of(SweepSpec.model_validate(SMALL))[0]


def test_a_training_that_was_stopped_early_goes_on_where_it_was_and_ends_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PROGRESS_PERIOD", 0.0)
    trial, told, again = one_trial(), list[tuple[int, float]](), list[tuple[int, float]]()

    def stop(step: int, reward: float) -> None:
        told.append((step, reward))
        raise StopEarly

    with pytest.raises(StopEarly):
        make_trial(trial, tmp_path / "a", stop)
    make_trial(trial, tmp_path / "a", lambda *pair: again.append(pair))
    assert [pair[0] for pair in again] == sorted({pair[0] for pair in again})
    assert again[0] == told[0]
    make_trial(trial, tmp_path / "b", lambda *_: None)
    assert rewards_so_far(tmp_path / "a" / trial.name) == rewards_so_far(tmp_path / "b" / trial.name) == again
    assert RunFolder.open(tmp_path / "a" / trial.name).record.status == "finished"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: cartpol", "did you mean 'cartpole'"), ("tasks: cartpole\nseeds: [0, 0]", "0 stands there twice"),
        ("tasks: cartpole\nmodels: [no-such-model]", "no-such-model"), ("steps: 5", "tasks: Field required"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_where_ray_is_missing_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["sweep", str(written(tmp_path, text))])
    assert ended.exit_code == 1
    assert words in " ".join(ended.output.split())
    assert "Ray" not in ended.output
    ended = CliRunner().invoke(app, ["sweep", "--resume", str(tmp_path)])
    assert "holds no sweep" in ended.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.yaml"]


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ClusterError, match=r'pip install "ray\[default,serve,tune\]" \(gym-vlmrm\[cluster\]\)'):
        import_ray()
    sweep = written(tmp_path, "tasks: cartpole")
    for arguments in (["train", "cartpole", "--cluster", "auto"], ["sweep", str(sweep)]):
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 1
        assert "pip install" in ended.output
        assert len(ended.output.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://host:1", "log in there"),
        ("nonsense", "give auto"),
        ("host:99999", "give auto"),
        ("127.0.0.1:1", "nothing answers at '127.0.0.1:1' .*; start a cluster with: ray start --head"),
    ],
)
def test_addresses_of_no_cluster(address: str, words: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match=words), connected(address):
        pass


def test_how_much_of_a_cluster() -> None:
    with pytest.raises(TrainingError, match="replicas must be at least 1"):
        Cluster("auto", replicas=0)
