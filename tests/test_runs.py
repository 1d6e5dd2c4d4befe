"""Lists of runs, the newest run, and runs beside one another."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import vlmrm
from scipy.stats import t as student

import gym_vlmrm
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import is_held, only_writer
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import list_runs, newest_run


@pytest.fixture
def home(cartpole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three seeds of one run in `runs`, and one of other settings."""
    for seed, name in enumerate(("a", "b", "c", "other")):
        path = tmp_path / "runs" / name
        shutil.copytree(cartpole_run, path, ignore=shutil.ignore_patterns("eval"))
        edit(path / "run.json", seed=seed)
        edit(path / "best.json", vlm_reward=0.25 * (seed + 1))
        os.utime(path / "run.json", (1000 + seed, 1000 + seed))
    task = tmp_path / "runs" / "other" / "task.yaml"
    text = task.read_text()
    assert "\n  alpha: 0.0" in text
    task.write_text(text.replace("\n  alpha: 0.0", "\n  alpha: 0.5"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_runs_are_listed_the_newest_first(home: Path) -> None:
    entries = list_runs()
    assert [entry.run for entry in entries] == ["runs/other", "runs/c", "runs/b", "runs/a"]
    assert {(entry.task, entry.algorithm, entry.status) for entry in entries} == {("cartpole", "PPO", "finished")}
    assert [entry.best_reward for entry in entries] == [1.0, 0.75, 0.5, 0.25]
    assert all(entry.success_rate is None for entry in entries)
    assert list_runs([home / "runs" / "a"])[0].seed == 0


def test_a_running_run_is_told_from_a_killed_one(home: Path) -> None:
    edit(home / "runs" / "a" / "run.json", status="running")
    assert list_runs(["runs/a"])[0].status == "killed"
    with only_writer(home / "runs" / "a"):
        assert is_held(home / "runs" / "a")
        assert list_runs(["runs/a"])[0].status == "running"
    assert not is_held(home / "runs" / "a")
    (home / "runs" / "a" / ".lock").write_text("")  # of a process that was killed
    assert list_runs(["runs/a"])[0].status == "killed"


def test_broken_runs_are_said(home: Path) -> None:
    (home / "runs" / "b" / "run.json").write_text("{")
    (home / "runs" / "c" / "best.json").unlink()
    (home / "runs" / "c" / "best.json").symlink_to("/etc/passwd")
    entries = {entry.run: entry for entry in list_runs()}
    assert "not valid JSON" in str(entries["runs/b"].fault)
    assert "link" in str(entries["runs/c"].fault)
    assert entries["runs/a"].fault is None
    result = vlmrm("runs")
    assert result.exit_code == 0
    assert result.stderr.count("broken") == 2
    assert [run["status"] for run in json.loads(vlmrm("runs", "--json").stdout)["runs"]].count("broken") == 2


def test_the_newest_run_is_whole_and_if_need_be_playable(home: Path) -> None:
    assert newest_run().path.name == "other"
    (home / "runs" / "other" / "run.json").write_text("{")
    assert newest_run().path.name == "c"
    shutil.rmtree(home / "runs" / "c" / "checkpoints")
    assert newest_run().path.name == "c"
    assert newest_run(playable=True).path.name == "b"


@pytest.mark.usefixtures("home")
def test_without_a_run_the_newest_is_taken_and_named() -> None:
    result = vlmrm("report", "--json")
    assert json.loads(result.stdout)["run"] == "runs/other"
    assert "taking the newest, runs/other" in result.stderr
    asked = vlmrm("export", "--output", "out", "--json")
    assert json.loads(asked.stdout)["run"] == "runs/other", asked.stderr


def test_where_there_are_no_runs_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("runs",), ("compare", "runs"), ("runs", "nowhere")):
        result = vlmrm(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert "vlmrm train TASK" in result.stderr
    for arguments in (("report",), ("eval",), ("export", "--output", "out")):
        result = vlmrm(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert "there is no 'runs' here; name a run" in " ".join(result.stderr.replace("│", " ").split())
    Path("runs").mkdir()
    Path("file").write_text("")
    for arguments in (("runs",), ("compare", "file"), ("runs", "file")):
        result = vlmrm(*arguments)
        assert result.exit_code == 1
        assert "vlmrm train TASK" in result.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs", "it has no run.json; it holds runs, such as 'runs/a'"),
        ("runs/a/run.json", "it is no folder; its run is 'runs/a'"),
        ("a", "it does not exist; did you mean 'runs/a'?"),
        ("runs/othr", "did you mean 'runs/other'?"),
        ("nothing/like/it", "it does not exist"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_wrong_run_is_told_by_what_it_is(path: str, words: str) -> None:
    with pytest.raises(RunError) as caught:
        RunFolder.open(path)
    assert words in str(caught.value)


def test_seeds_are_one_group_with_mean_and_interval(home: Path) -> None:
    result = gym_vlmrm.compare("runs/a", "runs/b", home / "runs" / "c", "runs/other")
    first, other = result.groups
    assert [run.seed for run in first.runs] == [0, 1, 2]
    assert (first.settings, other.settings) == ({"reward.alpha": "0.0"}, {"reward.alpha": "0.5"})
    assert first.name == "cartpole PPO, alpha 0.0"
    values = np.array([0.25, 0.5, 0.75])
    found = first.numbers["best_reward"]
    half = student.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert (found.runs, found.mean, found.low, found.high) == pytest.approx((3, 0.5, 0.5 - half, 0.5 + half))
    alone = other.numbers["best_reward"]
    assert (alone.mean, alone.low, alone.high) == (1.0, None, None)
    assert "success_rate" not in first.numbers  # none was evaluated
    curve = first.curves["rollout/vlm_reward"]
    assert (curve.runs, len(curve.step)) == (3, len(curve.mean))
    assert curve.low == pytest.approx(curve.mean)  # three copies of one table


def test_the_interval_of_a_share_is_one_of_shares(home: Path) -> None:
    """Student's t knows nothing of a share's ends; a reward's interval goes where it goes."""
    for name, value in zip("abc", (0.0, 1.0, 0.9), strict=True):
        table = home / "runs" / name / "metrics.csv"
        table.write_text(f"step,eval/success,eval/vlm_reward\n100,{value},{value}\n")
    (group,) = gym_vlmrm.compare("runs/a", "runs/b", "runs/c").groups
    share, reward = group.curves["eval/success"], group.curves["eval/vlm_reward"]
    assert (share.low, share.high) == ([0.0], [1.0])
    assert reward.low[0] is not None
    assert reward.low[0] < 0


def test_curves_of_other_lengths_are_averaged_where_they_are(home: Path) -> None:
    table = home / "runs" / "a" / "metrics.csv"
    table.write_text("step,rollout/vlm_reward\n0,0\n100,1\n300,1\n")
    (home / "runs" / "b" / "metrics.csv").write_text("step,rollout/vlm_reward\n50,0\n100,3\n")
    (home / "runs" / "c" / "metrics.csv").unlink()
    (group,) = gym_vlmrm.compare("runs/a", "runs/b", "runs/c").groups
    curve = group.curves["rollout/vlm_reward"]
    assert curve.step == [0, 50, 100, 300]
    assert curve.mean == [0, 0.25, 2, 1]
    assert [low is None for low in curve.low] == [True, False, False, True]
    assert curve.runs == 2


def test_compare_prints_and_writes(home: Path) -> None:
    result = vlmrm("compare", "runs")
    assert result.exit_code == 0, result.output
    assert "0.5000 [" in result.stdout
    page = (home / "comparisons" / "cartpole-1" / "report.html").read_text()
    assert page.count("<svg") >= 1
    assert "cartpole PPO, alpha 0.5" in page
    told = json.loads(vlmrm("compare", "runs/a", "--json", "--output", "out").stdout)
    assert told["output"] == "out"
    written = json.loads((home / "out" / "report.json").read_text())
    assert written["groups"] == told["groups"]
    assert vlmrm("compare", "runs/a", "--quiet").stdout == ""
    assert page.count("<table") == page.count('<table class="stack"')  # which fits a narrow page
    assert re.findall(r"<td>", page) == []
    assert vlmrm("compare", "runs/a", "--output", "out", "--quiet").exit_code == 0  # its own may be written again
    result = vlmrm("compare", "runs", "--output", "runs/a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "holds the report of a run" in result.stderr
    assert not (home / "runs" / "a" / "report.html").exists()


def test_a_stranger_s_names_command_nothing(home: Path) -> None:
    evil = home / "runs" / "x\x1b[31m<script>"
    (home / "runs" / "a").rename(evil)
    assert "\x1b" not in vlmrm("runs").stdout
    assert vlmrm("compare", evil).exit_code == 0
    page = (home / "comparisons" / "cartpole-1" / "report.html").read_text()
    assert "<script>" not in page
