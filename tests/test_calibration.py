"""`vlmrm calibrate`: verdicts of real small audits beside real small runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import vlmrm

from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.calibration import calibrate
from gym_vlmrm.auditing.results import AuditReport
from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.evaluation import Evaluation, evaluate
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.page import write_audit
from gym_vlmrm.reports.run_page import report_run


@pytest.fixture(scope="module")
def finished(cartpole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one audit and one evaluated run of the same reward; do not change it."""
    root = tmp_path_factory.mktemp("calibration")
    run = root / "runs" / "cartpole"
    shutil.copytree(cartpole_run, run)
    evaluate(run, episodes=4, workers=1, video=False)
    report_run(run)  # leaves a report.json that is no audit
    result = audit(RunFolder.open(run).task, models=["brightness"], evaluations=0, workers=1)
    write_audit(result, root / "audits" / "cartpole-1")
    return root


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "work")
    return tmp_path / "work"


def edit(path: Path, **changes: Any) -> None:
    """Change numbers of a JSON file; `a__b=1` sets ["a"]["b"]."""
    data = json.loads(path.read_text())
    for key, value in changes.items():
        *above, last = key.split("__")
        place = data
        for name in above:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
    path.write_text(json.dumps(data))


def verdict(folder: Path, label: str) -> None:
    edit(folder / "audits" / "cartpole-1" / "report.json", models__0__verdict__label=label)


def success(run: Path, rate: float) -> None:
    edit(run / "eval" / "evaluation.json", policy__success_rate=rate)


def test_a_run_meets_the_audit_of_its_reward(finished: Path) -> None:
    result = calibrate([finished / "audits", finished / "runs"])
    (row,) = result.outcomes
    report = json.loads((finished / "audits" / "cartpole-1" / "report.json").read_text())
    evaluation = json.loads((finished / "runs" / "cartpole" / "eval" / "evaluation.json").read_text())
    assert row.task == "VLMRM/CartPole-Balance-v0"
    assert row.model == "brightness"
    assert row.verdict == report["models"][0]["verdict"]["label"]
    assert row.auc.value == report["findings"][0]["numbers"]["auc"]["value"]
    assert row.success_rate.value == evaluation["policy"]["success_rate"]
    assert row.random_success_share == evaluation["random"]["success_share"]
    assert (row.steps, row.episodes, row.seed) == (128, 4, 0)
    assert row.reward_start is not None
    assert row.reward_end is not None
    assert result.left_out == []
    assert calibrate([finished]) == calibrate([finished / "runs" / "cartpole", finished / "audits" / "cartpole-1"])


@pytest.mark.parametrize(
    ("label", "rate", "learned", "agrees"),
    [
        ("teachable", 0.5, True, True),
        ("teachable", 0.49, False, False),
        ("exploitable", 0.0, False, True),
        ("doubtful", 1.0, True, False),
        ("not separable", 0.0, False, True),
    ],
)
def test_teachable_must_mean_learned(folder: Path, label: Any, rate: float, learned: bool, agrees: bool) -> None:
    verdict(folder, label)
    success(folder / "runs" / "cartpole", rate)
    result = calibrate([folder])
    assert (result.outcomes[0].learned, result.outcomes[0].agrees) == (learned, agrees)
    assert result.agreeing == agrees
    assert result.counts[label] == {"learned": int(learned), "not learned": int(not learned)}
    assert sum(count for fates in result.counts.values() for count in fates.values()) == 1


def test_every_seed_counts_and_other_rewards_do_not_match(folder: Path) -> None:
    runs = folder / "runs"
    for name in ("second", "other-goal", "other-model", "unplayed", "no-rule"):
        shutil.copytree(runs / "cartpole", runs / name)
    edit(runs / "second" / "run.json", seed=1)
    for name, change in (("other-goal", {"goal": "a pole"}), ("other-model", {"model": "embedded"})):
        task = RunFolder.open(runs / name).task
        changed = task.model_copy(update={"reward": task.reward.model_copy(update=change)})
        RunFolder(runs / name).write_task(changed)
    (runs / "unplayed" / "eval" / "evaluation.json").unlink()
    edit(runs / "no-rule" / "eval" / "evaluation.json", policy__success_rate=None)
    result = calibrate([folder])
    assert [row.seed for row in result.outcomes] == [0, 1]
    assert sorted(line.replace(f"{runs}/", "", 1) for line in result.left_out) == [
        "no-rule: its task defines no success",
        "other-goal: no audit of its reward",
        "other-model: no audit of its reward",
        f"unplayed: not evaluated; vlmrm eval {runs / 'unplayed'}",
    ]


def test_an_audit_may_be_repeated_but_not_contradicted(folder: Path) -> None:
    shutil.copytree(folder / "audits" / "cartpole-1", folder / "audits" / "cartpole-2")
    assert len(calibrate([folder]).outcomes) == 1
    verdict(folder, "doubtful")
    edit(folder / "audits" / "cartpole-2" / "report.json", models__0__verdict__label="teachable")
    with pytest.raises(RunError, match=r"cartpole-1 and .*cartpole-2 give one reward different verdicts"):
        calibrate([folder])


def digest(folder: Path, audit: str | None, run: str | None, number: int = 1) -> None:
    """Let an audit and the run say which weights judged; ``None``: as version 0.1.0, which did not."""

    def judge(weights: str | None) -> dict[str, Any] | None:
        return weights and {"model": "brightness", "weights_digest": weights, "precision": "fp32", "device": "cpu"}

    edit(folder / "audits" / f"cartpole-{number}" / "report.json", models__0__judge=judge(audit))
    edit(folder / "runs" / "cartpole" / "run.json", judge=judge(run))


@pytest.mark.parametrize(("audit", "run"), [(None, None), ("a" * 64, None), (None, "b" * 64), ("a" * 64, "a" * 64)])
def test_weights_that_may_be_the_same_are_compared(folder: Path, audit: str | None, run: str | None) -> None:
    digest(folder, audit, run)
    result = calibrate([folder])
    assert [row.weights_digest for row in result.outcomes] == [run or audit]
    assert result.left_out == []


def test_other_weights_of_one_name_are_not_compared(folder: Path) -> None:
    digest(folder, "a" * 64, "b" * 64)
    shutil.copytree(folder / "runs" / "cartpole", folder / "runs" / "old")
    edit(folder / "runs" / "old" / "run.json", judge=None)
    result = calibrate([folder])
    assert [row.run for row in result.outcomes] == [str(folder / "runs" / "old")]
    assert result.left_out == [
        f"{folder / 'runs' / 'cartpole'}: the weights that judged it (bbbbbbbbbbbb) are not those that were audited "
        "(aaaaaaaaaaaa)"
    ]


def test_audits_of_other_weights_may_disagree(folder: Path) -> None:
    shutil.copytree(folder / "audits" / "cartpole-1", folder / "audits" / "cartpole-2")
    verdict(folder, "doubtful")
    edit(folder / "audits" / "cartpole-2" / "report.json", models__0__verdict__label="teachable")
    digest(folder, "a" * 64, "b" * 64, 1)
    digest(folder, "b" * 64, "b" * 64, 2)
    assert [row.verdict for row in calibrate([folder]).outcomes] == ["teachable"]
    edit(folder / "runs" / "cartpole" / "run.json", judge=None)
    with pytest.raises(RunError, match="does not say which weights judged it"):
        calibrate([folder])


def test_records_of_version_0_1_0_are_read(folder: Path) -> None:
    report, evaluation = (
        json.loads((folder / place).read_text())
        for place in ("audits/cartpole-1/report.json", "runs/cartpole/eval/evaluation.json")
    )
    assert AuditReport.model_validate(report).models[0].judge.model == "brightness"  # type: ignore[union-attr]
    assert Evaluation.model_validate(evaluation).versions["torch"]
    assert Evaluation.model_validate(evaluation).judge.model == "brightness"  # type: ignore[union-attr]
    del report["models"][0]["judge"], evaluation["judge"], evaluation["versions"]
    assert AuditReport.model_validate(report).models[0].judge is None
    assert Evaluation.model_validate(evaluation).judge is None


def test_what_cannot_be_compared_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no folder"):
        calibrate([tmp_path / "none"])
    with pytest.raises(RunError, match=r"nothing to compare .*no audit of its reward"):
        calibrate([folder / "runs"])
    with pytest.raises(RunError, match=r"nothing to compare .*no run with the reward of brightness"):
        calibrate([folder / "audits"])
    edit(folder / "runs" / "cartpole" / "eval" / "evaluation.json", policy__success_share="most")
    with pytest.raises(RunError, match=r"evaluation\.json: policy\.success_share"):
        calibrate([folder])
    edit(folder / "audits" / "cartpole-1" / "report.json", seed="x")
    with pytest.raises(RunError, match=r"report\.json: seed"):
        calibrate([folder])


def test_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict(folder, "teachable")
    success(folder / "runs" / "cartpole", 0.75)
    monkeypatch.chdir(folder)
    spoken = vlmrm("calibrate")
    assert spoken.exit_code == 0, spoken.output
    assert "agrees with training in 1 of 1 runs" in spoken.stdout
    assert "75% [" in spoken.stdout
    printed = json.loads(vlmrm("calibrate", "audits", "runs", "--json").stdout)
    assert printed["counts"]["teachable"] == {"learned": 1, "not learned": 0}
    assert vlmrm("calibrate", "--quiet").stdout == ""
    missing = vlmrm("calibrate", "nowhere")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("error: no folder 'nowhere'")
    assert len(missing.stderr.splitlines()) == 1
