"""What else a training logs to: texts, frames and films in TensorBoard, Weights & Biases and Trackio when asked."""

import contextlib
import io
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trainings import DQN, PPO, cartpole

from gym_vlmrm import api
from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.trackers import Tracker, check_trackers
from gym_vlmrm.learning.trials import trial_episodes

SMALL = PPO.model_copy(update={"steps": 64, "checkpoint_every": 64})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(cartpole(), PPO, output=path, workers=1)
    return path


def _events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_sentence_settings_frames_and_film(trained: Path) -> None:
    events, trials = _events(trained / "tensorboard"), _events(trained / "tensorboard" / "trials")
    texts = {
        tag.removesuffix("/text_summary"): events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
    }
    assert texts["goal"] == "pole vertically upright on top of the cart"
    assert "algorithm: PPO" in texts["recipe"]
    assert "CartPole-v1" in texts["task"]
    steps = [event.step for event in events.Scalars("eval/vlm_reward")]
    for tag in ("trial/frames", "trial/film"):
        assert [event.step for event in trials.Images(tag)] == steps
    film = trials.Images("trial/film")[-1]
    with Image.open(io.BytesIO(film.encoded_image_string)) as gif:
        assert gif.format == "GIF"
        assert 1 < gif.n_frames <= 10  # type: ignore[attr-defined]  # every second frame of twenty steps at most
    with Image.open(io.BytesIO(trials.Images("trial/frames")[-1].encoded_image_string)) as strip:
        assert strip.width == 5 * strip.height


def test_a_resumed_run_shows_each_trial_once(tmp_path: Path) -> None:
    train(cartpole(), SMALL, output=tmp_path / "run", workers=1)
    resume(tmp_path / "run", steps=128, workers=1)
    events = _events(tmp_path / "run" / "tensorboard" / "trials")
    assert [event.step for event in events.Images("trial/film")] == [64, 128]


@pytest.mark.parametrize(("num_envs", "episodes"), [(1, 8), (2, 8), (8, 8), (16, 16)])
def test_at_least_eight_episodes_judge(num_envs: int, episodes: int) -> None:
    assert trial_episodes(PPO.model_copy(update={"num_envs": num_envs})) == episodes


@pytest.mark.parametrize("recipe", [PPO, DQN])
def test_the_number_of_judging_episodes_is_said_and_changes_no_weight(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More episodes come after the first ones and from their own generators: what is learned is the same."""
    weights = []
    for least in (1, 8):
        monkeypatch.setattr("gym_vlmrm.learning.trials.LEAST_EPISODES", least)
        result = train(cartpole(), recipe, output=tmp_path / str(least), workers=1)
        assert result.best is not None
        assert result.best.episodes == max(least, recipe.num_envs)
        weights.append((result.run.checkpoints()[-1].path / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_unknown_and_absent_trackers_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"'wand' is no tracker; did you mean 'wandb'\?"):
        check_trackers(["wand"])
    monkeypatch.setattr("gym_vlmrm.learning.trackers.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install trackio"):
        api.train("cartpole", model="brightness", steps=64, output=tmp_path / "run", log=["trackio"])
    assert not (tmp_path / "run").exists()
    assert check_trackers(()) == ()
    assert "wandb" not in sys.modules
    assert "trackio" not in sys.modules


class _Broken:
    """A tracker's module whose service goes away, and which draws random numbers meanwhile."""

    def __init__(self) -> None:
        self.logged: list[Any] = []

    def init(self, **_: Any) -> "_Broken":
        np.random.random()  # noqa: NPY002
        return self

    def log(self, numbers: dict[str, float], step: int) -> None:
        np.random.random()  # noqa: NPY002
        self.logged.append((step, numbers))
        if len(self.logged) == 2:
            raise ConnectionError("service\ngone")

    def finish(self) -> None:
        raise AssertionError("it was left out before")


def test_a_tracker_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _Broken()
    monkeypatch.setattr("gym_vlmrm.learning.trackers.import_module", lambda name: module)
    notices: list[str] = []
    state = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
    tracker = Tracker("wandb", "run", {}, notices.append)
    for step in range(4):
        tracker.write({"a": 1, "text": "no number"}, {}, step)
    tracker.close()
    assert [step for step, _ in module.logged] == [0, 1]
    assert module.logged[0][1] == {"a": 1.0}
    assert notices == ["wandb failed and is left out from now on (service gone)"]
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index,union-attr]  # noqa: NPY002


def test_a_tracker_that_refuses_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def init(**_: Any) -> None:
            raise RuntimeError("no API key")

    monkeypatch.setattr("gym_vlmrm.learning.trackers.find_spec", lambda name: True)
    monkeypatch.setattr("gym_vlmrm.learning.trackers.import_module", lambda name: Refusing)
    with pytest.raises(TrainingError, match="wandb does not begin a run: no API key"):
        train(cartpole(), SMALL, output=tmp_path / "run", workers=1, log=["wandb"])
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
def test_wandb_logs_a_training(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    result = train(cartpole(), PPO, output=tmp_path / "run", workers=1, log=["wandb"])
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/videos/trial/film_*.gif"))
    same = (trained / "checkpoints" / result.run.checkpoints()[-1].path.name / "policy.safetensors").read_bytes()
    assert (result.run.checkpoints()[-1].path / "policy.safetensors").read_bytes() == same


@pytest.mark.filterwarnings("ignore")
def test_trackio_logs_a_training(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    result = train(cartpole(), PPO, output=tmp_path / "run", workers=1, log=["trackio"])
    assert capsys.readouterr().out == ""
    (table,) = (tmp_path / "trackio").rglob("*.db")
    with contextlib.closing(sqlite3.connect(table)) as base:
        rows = base.execute("select step, metrics from metrics order by step").fetchall()
    assert rows[-1][0] == PPO.steps
    assert "eval/vlm_reward" in "".join(str(row[1]) for row in rows)
    assert list((tmp_path / "trackio").rglob("*.gif"))
    same = (trained / "checkpoints" / result.run.checkpoints()[-1].path.name / "policy.safetensors").read_bytes()
    assert (result.run.checkpoints()[-1].path / "policy.safetensors").read_bytes() == same
