"""Run folders of version 0.1.0 (commit 05d5ac7) can still be evaluated, reported and gone on with."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import vlmrm

OLD = Path(__file__).parent / "data" / "run-0.1.0"


@pytest.fixture(params=["ppo", "dqn"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / request.param, tmp_path / request.param))


def output(*arguments: object) -> str:
    result = vlmrm(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_old_run_is_evaluated_as_before(run: Path) -> None:
    stored = run / "eval" / "evaluation.json"
    before = json.loads(stored.read_text()) if stored.exists() else None
    now = json.loads(output("eval", run, "--episodes", 4, "--workers", 1, "--json"))
    assert now["policy"]["episodes"] == 4
    if before is not None:
        for policy in ("policy", "random"):
            for name in ("success_rate", "success_share", "vlm_reward", "task_reward"):
                assert now[policy][name] == pytest.approx(before[policy][name], abs=1e-6), (policy, name)


def test_an_old_run_is_reported(run: Path) -> None:
    output("report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Old/CartPole-v0" in page


def test_an_old_run_goes_on(run: Path) -> None:
    step = json.loads((run / "run.json").read_text())["step"]
    more = json.loads(output("train", "--resume", run, "--steps", step + 64, "--workers", 1, "--json"))
    assert more["step"] >= step + 64
    assert (run / "checkpoints" / f"step_{more['step']:08d}").is_dir()
