"""Run folders: made in one piece, read with suspicion."""

import math
from pathlib import Path

import pytest

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import read_json, write_json
from gym_vlmrm.learning.records import Best, RunRecord
from gym_vlmrm.learning.run_folder import RunFolder, default_run_path
from gym_vlmrm.task.spec import EnvSpec, Recipe, RewardSpec, TaskSpec

RECIPE = Recipe(algorithm="PPO", steps=100)
TASK = TaskSpec(
    id="Test/Cart-Pole-v3",
    env=EnvSpec(id="CartPole-v1", max_episode_steps=30),
    reward=RewardSpec(goal=["up", "upright"], baseline="pole", alpha=0.5, model="brightness"),
    success={"all": ["obs[0] < 1.5", {"not": "obs[2] > 0.1"}]},
    training={"default": RECIPE},
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_record(RunRecord(task=TASK.id, recipe_name="default", recipe=RECIPE, seed=7))
    return folder


def _checkpoint(run: RunFolder, step: int) -> None:
    run.write_checkpoint(step, lambda folder: (folder / "policy.json").write_text("{}") and None)


def test_task_and_record_come_back(run: RunFolder) -> None:
    run.write_task(TASK)
    again = RunFolder.open(run.path)
    assert again.task == TASK
    assert again.record.seed == 7
    assert again.record.recipe == RECIPE


def test_checkpoints_are_found_by_step_and_by_reward(run: RunFolder) -> None:
    for step in (1000, 200, 3000):
        _checkpoint(run, step)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [200, 1000, 3000]
    assert run.checkpoint("best").step == 3000  # none was judged
    run.write_best(Best(step=200, vlm_reward=0.5, task_reward=0.0))
    assert run.checkpoint("best").step == 200
    assert run.checkpoint("last").step == 3000
    assert run.checkpoint(1000).path.name == "step_00001000"
    with pytest.raises(RunError, match="no checkpoint of step 5; there are 200, 1000, 3000"):
        run.checkpoint(5)


def test_a_checkpoint_that_fails_leaves_nothing(run: RunFolder) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("written")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.write_checkpoint(10, fail)
    assert list((run.path / "checkpoints").iterdir()) == []


def test_an_interrupted_checkpoint_is_not_seen(run: RunFolder) -> None:
    (run.path / "checkpoints" / ".abc").mkdir()
    with pytest.raises(RunError, match="no checkpoint yet"):
        run.checkpoint("last")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(RunError, match="--resume"):
        RunFolder.create(run.path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RunError, match="not empty"):
        RunFolder.create(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty")


def test_checking_a_new_folder_leaves_no_trace(tmp_path: Path) -> None:
    RunFolder.check_new(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write to .*--output"):
        RunFolder.check_new(tmp_path / "file" / "run")


def test_what_is_no_run_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no run\.json"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "Field required"),
        ('{"format": 2}', "format"),
        ("3", "run.json"),
    ],
)
def test_a_damaged_record_is_one_line(run: RunFolder, text: str, message: str) -> None:
    (run.path / "run.json").write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        RunFolder.open(run.path)
    assert "\n" not in str(caught.value)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": object()})
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_numbers_that_json_does_not_know_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [float("nan"), {"y": -math.inf}], "z": (1.5,)})
    assert read_json(tmp_path / "a.json") == {"x": [None, {"y": None}], "z": [1.5]}


def test_a_link_under_a_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("kept")
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    (tmp_path / ".a.json.known.part").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="cannot write"):
        write_json(tmp_path / "a.json", {})
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_checkpoint_of_the_same_step_is_replaced_only_by_a_whole_one(run: RunFolder) -> None:
    def write(text: str) -> None:
        run.write_checkpoint(5, lambda folder: (folder / "policy.json").write_text(text) and None)

    write("old")
    policy = run.checkpoint(5).path / "policy.json"

    def fail(folder: Path) -> None:
        assert policy.read_text() == "old"
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        run.write_checkpoint(5, fail)
    assert policy.read_text() == "old"
    write("new")
    assert policy.read_text() == "new"
    assert [path.name for path in policy.parent.parent.iterdir()] == [policy.parent.name]


def test_the_old_checkpoint_outlives_a_failing_move(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _checkpoint(run, 5)
    move = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.startswith("step_") or path.name.endswith(".old"):
            return move(path, target)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(RunError, match="Input/output"):
        _checkpoint(run, 5)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [5]


def test_what_a_killed_process_left_is_cleared_away(run: RunFolder) -> None:
    for step in (1, 2):
        _checkpoint(run, step)
    folder = run.path / "checkpoints"
    (folder / "step_00000001").rename(folder / ".step_00000001.old")  # killed between two moves
    (folder / ".step_00000002.old").mkdir()  # killed after both
    (folder / ".abcdef").mkdir()  # killed while writing
    (run.path / ".run.json.12ab.part").touch()
    with run.only_writer():
        assert sorted(path.name for path in folder.iterdir()) == ["step_00000001", "step_00000002"]
        assert not list(run.path.glob(".run*"))
    assert (folder / "step_00000001" / "policy.json").exists()


def test_a_run_has_one_writer(run: RunFolder) -> None:
    with run.only_writer():
        with pytest.raises(RunError, match="another process is training into"), RunFolder(run.path).only_writer():
            pass
        assert (run.path / ".lock").exists()
    assert not (run.path / ".lock").exists()
    with run.only_writer():
        pass


def test_a_record_without_a_judge_is_read(run: RunFolder) -> None:
    stored = read_json(run.path / "run.json")
    del stored["judge"]  # as 0.1.0 wrote it
    write_json(run.path / "run.json", stored)
    assert RunFolder.open(run.path).record.judge is None


def test_default_names_count_up(tmp_path: Path) -> None:
    first = default_run_path(TASK, "PPO", 3, tmp_path)
    assert first.name == "cart-pole-ppo-3-1"
    first.mkdir()
    assert default_run_path(TASK, "PPO", 3, tmp_path).name == "cart-pole-ppo-3-2"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="can be no folder"):
        RunFolder.check_new(tmp_path / name)
