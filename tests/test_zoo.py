"""Policies that come with the package: what they are, that they stand wherever a run does, that nothing spoils them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import vlmrm
from gym_vlmrm_cli.completion import complete_runs

import gym_vlmrm
from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.manifest import check_files
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import list_runs
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.learning.zoo import HOME, copy_of, zoo_folder, zoo_names
from gym_vlmrm.task.builtin import builtin_paths

NAMES = zoo_names()
SOME = NAMES[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_all_together_are_small() -> None:
    assert sum(map(len, contents(HOME).values())) < 4_000_000


@pytest.mark.parametrize("name", NAMES)
def test_each_is_of_a_built_in_task_and_was_judged_by_the_weights_that_ship(name: str) -> None:
    run = RunFolder.open(f"zoo:{name}")
    best, evaluation, record = run.checkpoint("best"), read_evaluation(run), run.record
    assert name in builtin_paths()
    assert run.task.id == record.task == gym_vlmrm.load_task(name).id
    assert check_files(best.path) >= {"policy.json", "policy.safetensors"}
    shipped = gym_vlmrm.load_reward_model(name, device="cpu").weights_digest  # type: ignore[attr-defined]
    assert evaluation is not None
    assert evaluation.checkpoint == best.step
    for judge in (record.judge, evaluation.judge):
        assert judge is not None
        assert judge.weights_digest == shipped


@pytest.mark.parametrize("name", NAMES)
def test_each_acts(name: str) -> None:
    policy = gym_vlmrm.load_policy(f"zoo:{name}")
    policy.observation_space.seed(0)
    seen = np.stack([policy.observation_space.sample() for _ in range(3)])
    actions, state = policy.predict(np.clip(seen, -5, 5))
    assert all(policy.action_space.contains(action) for action in actions)
    assert state is None


@pytest.mark.parametrize("name", ["", "kneling", "../kneeling", "/etc", ".", "VLMRM/Nothing-v0", "\0", "a" * 5000])
def test_an_unknown_one_is_a_line_with_those_there_are(name: str) -> None:
    with pytest.raises(RunError) as raised:
        RunFolder.open(f"zoo:{name}")
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500 + 100 * len(NAMES)
    assert all(f"zoo:{known}" in said for known in NAMES)


def test_the_id_of_its_task_names_it_too() -> None:
    assert zoo_folder(f"zoo:{gym_vlmrm.load_task(SOME).id}") == zoo_folder(f"zoo:{SOME}") == HOME / SOME


def test_evaluating_one_makes_a_run_here_and_leaves_the_package_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(HOME)
    scores = gym_vlmrm.evaluate(f"zoo:{SOME}", episodes=1, workers=1, video=False)
    assert contents(HOME) == before
    own = RunFolder.open(f"runs/zoo-{SOME}")
    found = read_evaluation(own)
    assert found is not None
    assert found.policy == scores.policy
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [f"zoo-{SOME}"]
    # An unbroken copy serves again; what is another policy by now stays, and the new one goes beside it.
    folder = zoo_folder(f"zoo:{SOME}")
    assert copy_of(folder, Path("runs")) == Path(f"runs/zoo-{SOME}")
    manifest = next(own.path.glob("checkpoints/*/manifest.json"))
    manifest.write_text(manifest.read_text() + " ")
    assert copy_of(folder, Path("runs")) == Path(f"runs/zoo-{SOME}-2")


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("a file")
    answer = vlmrm("eval", f"zoo:{SOME}", "--episodes", 1)
    assert answer.exit_code == 1
    assert "'runs'" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_read_only_installation_gives_a_copy_that_can_be_written(tmp_path: Path) -> None:
    installed = tmp_path / "installed" / SOME
    shutil.copytree(HOME / SOME, installed)
    for path in (*installed.rglob("*"), installed):
        path.chmod(0o555 if path.is_dir() else 0o444)
    made = copy_of(installed, tmp_path / "runs")
    assert all(path.stat().st_mode & 0o200 for path in (*made.rglob("*"), made))
    assert contents(made) == contents(installed)


def test_none_can_be_trained_on() -> None:
    with pytest.raises(RunError, match=f"'zoo:{SOME}' comes with the package.*vlmrm train {SOME}"):
        gym_vlmrm.resume(f"zoo:{SOME}")


def test_they_stand_in_lists_and_comparisons() -> None:
    assert sorted(entry.run for entry in list_runs(["zoo:"])) == [f"zoo:{name}" for name in NAMES]
    assert [entry.status for entry in list_runs([f"zoo:{SOME}"])] != ["broken"]
    assert [run.run for group in gym_vlmrm.compare(f"zoo:{SOME}").groups for run in group.runs] == [f"zoo:{SOME}"]
    assert f"zoo:{SOME}" in complete_runs("zoo")
    assert not [name for name in complete_runs("") if name.startswith("zoo:")]


def test_the_command_lists_them() -> None:
    answer = vlmrm("zoo", "--json")
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)["policies"]
    assert [policy["name"] for policy in told] == [f"zoo:{name}" for name in NAMES]
    assert all(policy["judge"]["weights_digest"] and policy["policy"]["episodes"] for policy in told)
    assert all(f"zoo:{name}" in vlmrm("zoo").stdout for name in NAMES)


def test_one_is_exported_as_any_run(tmp_path: Path) -> None:
    answer = vlmrm("export", f"zoo:{SOME}", "--output", tmp_path / "out", "--json")
    assert answer.exit_code == 0
    assert (tmp_path / "out" / "policy.zip").is_file()
