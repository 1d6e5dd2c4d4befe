"""One name per thing in all commands; old names still work, and no page of help shows them. Shells complete words."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import vlmrm
from gym_vlmrm_cli.completion import complete_runs, complete_tasks
from gym_vlmrm_cli.main import COMMANDS

from gym_vlmrm.task.builtin import builtin_paths


def options(command: str) -> dict[str, str]:
    """Return the options of a command and what kind of value each takes, from its help."""
    text = vlmrm(command, "--help").stdout
    return dict(re.findall(r"^  (--[a-z-]+)(?:/--[a-z-]+)? +(<[^>]+>|[A-Z]+|)", text, re.M))


def test_an_option_takes_one_kind_of_value_everywhere() -> None:
    kinds: dict[str, set[str]] = {}
    for command in COMMANDS:
        for name, kind in options(command).items():
            if name != "--output":  # a folder, or a file where one file is written
                kinds.setdefault(name, set()).add(re.sub(r"list\[(.*)\]| range", r"\1", kind))
    several = {name: found for name, found in kinds.items() if len(found) > 1}
    assert several == {"--resume": {"RUN", "DIR"}}, several  # both are folders to go on with


@pytest.mark.parametrize(
    ("command", "old", "new", "target", "argument"),
    [
        ("audit", ("--frames", "dir"), ("--pictures", "dir"), "gym_vlmrm.auditing.audit", "frames"),
        ("audit", ("--prompt", "b"), ("--other-goal", "b"), "gym_vlmrm.auditing.audit", "prompts"),
        ("prompts", ("--frames", "dir"), ("--pictures", "dir"), "gym_vlmrm.auditing.prompts.rank_prompts", "frames"),
    ],
)
def test_old_names_do_what_they_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, old: Any, new: Any, target: str, argument: str
) -> None:
    from gym_vlmrm.errors import TaskError

    seen: list[Any] = []

    def record(*_: Any, **given: Any) -> Any:
        seen.append(given[argument])
        raise TaskError("enough")

    monkeypatch.setattr(target, record)
    monkeypatch.chdir(tmp_path)
    for words in (old, new):
        assert vlmrm(command, "cartpole", *words).stderr == "error: enough\n"
    assert seen[0] == seen[1]
    assert seen[0] in (Path("dir"), ["b"])
    assert old[0] not in options(command)
    assert new[0] in options(command)


def test_other_old_names_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing.txt" in vlmrm("prompts", "cartpole", "--try", "nothing.txt").stderr
    asked = vlmrm("finetune", "cartpole", "--model", "scratch", "--output", "out", "--frames", "1")
    assert asked.exit_code == 2
    assert "--num-frames" in asked.stderr
    assert vlmrm("train", "cartpole", "--frames", "2").exit_code == 2  # only where it was once


def test_check_prints_a_rule_as_it_reads(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "id: A/B-v0\nenv: {id: CartPole-v1}\nreward: {goal: [up, high], model: brightness}\n"
        'success: {any: ["obs[0] < 1", {not: {all: ["obs[1] > 2", "obs[2] > 3"]}}]}\n'
    )
    text = vlmrm("check", file).stdout
    assert "obs[0] < 1 or (not (obs[1] > 2 and obs[2] > 3))" in text
    assert "up; high" in text
    assert "{" not in text


def test_shells_complete_tasks_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(builtin_paths()) <= set(complete_tasks(""))
    assert complete_tasks("kne") == ["kneeling"]
    for run in ("runs/a", "runs/b-seeds-1/seed-0", "elsewhere/c"):
        Path(run).mkdir(parents=True)
        (Path(run) / "run.json").write_text("")
    Path("mine.yaml").write_text("")
    assert complete_tasks("mi") == ["mine.yaml"]
    assert complete_runs("") == ["runs/a", "runs/b-seeds-1/seed-0", "runs/b-seeds-1"]
    assert complete_runs("elsewhere/") == ["elsewhere/c"]
    assert complete_runs("\0") == []


def complete(words: str, cwd: Path) -> tuple[list[str], list[str]]:
    """Ask as bash does; return the offered words, and which heavy libraries were imported for them."""
    heavy = ["torch", "gymnasium", "mujoco", "gym_vlmrm", "numpy"]
    code = (
        "import sys\nfrom gym_vlmrm_cli.main import app\n"
        "try: app(prog_name='vlmrm')\nfinally: "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    asked = {"_VLMRM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment = {**os.environ, **asked}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd)
    return done.stdout.split(), [line for line in done.stderr.splitlines() if line.startswith("[")]


def test_completion_imports_nothing_heavy(tmp_path: Path) -> None:
    offered, heavy = complete("vlmrm train kne", tmp_path)
    assert offered == ["kneeling"]
    assert heavy == ["[]"]
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("")
    assert complete("vlmrm watch ru", tmp_path)[0] == ["runs/mine"]
    assert complete("vlmrm comp", tmp_path)[0] == ["compare"]


def test_help_answers_soon() -> None:
    """By processor time, since others keep the machine busy; far from what torch alone would take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "gym_vlmrm_cli.main", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
