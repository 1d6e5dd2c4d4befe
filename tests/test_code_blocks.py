"""Every block of code on the pages: Python runs, a `vlmrm` line is one that the command line understands."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import imageio
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
RUN_ELSEWHERE = {"libraries.md"}
"""Pages whose Python blocks are lines of scripts that other tests run: tests/interop."""
NEEDS_HUB = "# needs weights from the Hub"
"""Begins a Python block that cannot run without a network; its page's reader sees it."""
SMALL = {
    '"MlpPolicy", make_vec_env("VLMRM/Humanoid-Kneeling-v0", n_envs=8, seed=0)': (
        '"MlpPolicy", make_vec_env("VLMRM/Humanoid-Kneeling-v0", n_envs=2, seed=0), n_steps=32, batch_size=32'
    ),
    "learn(1_000_000)": "learn(64)",
    'gym_vlmrm.train("kneeling", steps=200_000': 'gym_vlmrm.train("small.yaml", steps=64',
    "steps=400_000": "steps=128",
    "episodes=50": "episodes=1, video=False",
    'gym_vlmrm.audit("kneeling", model="embedded")': 'gym_vlmrm.audit("cartpole", model="embedded", evaluations=0)',
}
"""What a block says, and what a test can wait for."""
IN_ONE_PROCESS = """\
from gym_vlmrm.auditing import stage_pool
from gym_vlmrm.worlds.pools import pool

stage_pool.usable_cores = pool.usable_cores = lambda: 1
"""
"""Where a block leaves the number of workers to us: to start them takes longer than all that the blocks do."""

SMALL_TASK = """\
include: _humanoid.yaml
id: Mine/Small-v0
reward: {goal: a humanoid robot kneeling}
training:
  default: {num_envs: 2, hyperparameters: {n_steps: 32, batch_size: 32, n_epochs: 1}}
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page as (language, text); a fence without a language holds shell lines."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language or "sh", text) for language, text in found]


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(kind == language for kind, _ in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[list[str]]:
    text = "\n".join(text for language, text in blocks(page) if language == "sh").replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages_with("python") if page.name not in RUN_ELSEWHERE], ids=name)
def test_python_blocks_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    parts = [text for language, text in blocks(page) if language == "python" and not text.startswith(NEEDS_HUB)]
    code = "\n".join([IN_ONE_PROCESS, *parts])
    for said, short in SMALL.items():
        code = code.replace(said, short)
    # What the pages speak of: a task file and a film of the reader's own.
    task = (ROOT / "tasks" / "cartpole.yaml").read_text(encoding="utf-8").replace("VLMRM/CartPole", "Mine/CartPole")
    (tmp_path / "my_task.yaml").write_text(task, encoding="utf-8")
    (tmp_path / "small.yaml").write_text(SMALL_TASK, encoding="utf-8")
    imageio.mimwrite(tmp_path / "film.mp4", np.zeros((4, 96, 96, 3), np.uint8))
    script = tmp_path / "blocks.py"
    script.write_text(code, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]


def test_what_is_made_small_stands_on_a_page() -> None:
    text = "".join(text for page in PAGES for language, text in blocks(page) if language == "python")
    assert all(said in text for said in SMALL)


@pytest.mark.parametrize("page", pages_with("sh"), ids=name)
def test_shell_lines_name_what_there_is(page: Path) -> None:
    for words in commands(page):
        if words[0] == "vlmrm":
            check_vlmrm(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), words
        elif words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file(), words
        elif words[:2] == ["pip", "install"]:
            for target in (word for word in words[2:] if word.startswith(".")):
                assert (ROOT / target.partition("[")[0] / "pyproject.toml").is_file(), words


def check_vlmrm(words: list[str]) -> None:
    """Parse a command line as `vlmrm` does, without doing what it says."""
    from gym_vlmrm_cli.main import app
    from typer.main import get_command

    group = get_command(app)
    assert words[0] in group.commands, f"vlmrm has no command {words[0]}"
    command = group.commands[words[0]]
    try:
        command.make_context(words[0], list(words[1:]))
    except Exception as error:
        # A path that a reader has and we have not is no fault of the page's.
        if "does not exist" not in str(error):
            raise AssertionError(f"vlmrm {shlex.join(words)}: {error}") from error


def test_yaml_blocks_of_task_files_are_task_files(tmp_path: Path) -> None:
    from gym_vlmrm.task.catalog import load_task

    seen = 0
    for page in pages_with("yaml"):
        for language, text in blocks(page):
            data = yaml.safe_load(text) if language == "yaml" else None
            if isinstance(data, dict) and {"id", "env", "reward"} <= data.keys():
                path = tmp_path / f"task{seen}.yaml"
                path.write_text(text, encoding="utf-8")
                assert load_task(str(path)).id == data["id"]
                seen += 1
    assert seen


@pytest.mark.slow
def test_the_first_commands_of_the_readme_do_what_they_say(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks")
    shutil.copy(ROOT / "tasks" / "cartpole.yaml", tmp_path / "tasks" / "mine.yaml")
    listed = [words for words in commands(ROOT / "README.md") if words[0] == "vlmrm"]
    light = [words for words in listed if words[1] in ("tasks", "check")]
    assert len(light) >= 2
    for words in light:
        process = subprocess.run(
            [sys.executable, "-m", "gym_vlmrm_cli.main", *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
