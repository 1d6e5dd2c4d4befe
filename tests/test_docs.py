"""The pages: their tables follow the task files, their picture the scenes, and what they name is there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gym_vlmrm.reward.loading import unknown_words
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import RewardSpec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("environments/*.md")),
    *sorted(ROOT.glob("*/README.md")),
]


def run(script: str, *arguments: Path) -> None:
    subprocess.run([sys.executable, DOCS / script, *arguments], check=True, timeout=300)


def test_the_table_of_tasks_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    run("make_tables.py", page)
    assert page.read_text(encoding="utf-8") == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_worlds_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "worlds.md"
    run("make_worlds.py", page)
    assert page.read_text() == (DOCS / "worlds.md").read_text()


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table\n")
    with pytest.raises(subprocess.CalledProcessError):
        run("make_tables.py", page)
    assert page.read_text() == "no table\n"


def test_the_pages_of_the_environments_are_up_to_date(tmp_path: Path) -> None:
    run("make_pages.py", tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "environments").glob("*.md")}


@pytest.mark.slow
def test_the_picture_shows_the_scenes_of_today(tmp_path: Path) -> None:
    run("make_pictures.py", tmp_path / "frames.png")
    drawn, kept = (
        np.asarray(Image.open(path).convert("RGB"), int) for path in (tmp_path / "frames.png", DOCS / "frames.png")
    )
    assert drawn.shape == kept.shape
    # Other versions of Mesa shade edges otherwise.
    assert np.abs(drawn - kept).mean() < 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    ours = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"runs"}
    named = [name for name in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if name.split("/")[0] in ours]
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (page.parent / link).exists()]
    assert not missing, f"{page.name} names {missing}"


def modules_named(page: Path) -> set[str]:
    return set(re.findall(r"\b(?:gym_vlmrm|embedded_model)(?:\.[a-z_]+)+", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    for name in modules_named(page):
        parts = name.split(".")
        # The last word may be a name in a module or a package.
        places = [ROOT.joinpath(*parts[:end]) for end in (len(parts), len(parts) - 1)]
        assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), f"{page.name}: {name}"


def test_every_reward_that_a_page_shows_is_right() -> None:
    page = (DOCS / "designing-a-reward.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert len(blocks) > 6
    env = {"id": "Humanoid-v5"}
    tasks = [task_from_dict({"id": "Test/Page-v0", "env": env, **written}) for written in blocks]
    assert all(task.reward.ask is not None or not task.reward.plain for task in tasks)
    for task in tasks:
        assert not unknown_words("embedded", [word for part in task.reward.all_parts for word in part.goals])
    written, task = blocks[0], tasks[0]
    assert [part.name for part in task.reward.all_parts] == ["goal", "avoid", "upright", "from-the-side", "settled"]
    told = {name for name in RewardSpec.model_fields if f"`{name}" in page} | set(written["reward"])
    assert told >= set(RewardSpec.model_fields) - {"precision", "device", "every"}


def test_measured_keys_stand_on_the_page() -> None:
    """The table is what the script prints of what it has kept."""
    command = [sys.executable, str(ROOT / "benchmarks" / "keys.py"), "--table"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert printed.count("\n") > 2
    assert printed in (DOCS / "designing-a-reward.md").read_text(encoding="utf-8")


def test_the_rules_of_the_motion_tasks_are_todays() -> None:
    page = (DOCS / "designing-a-reward.md").read_text(encoding="utf-8")
    motion = page[page.index("### Motion tasks") :]
    rows = [line for line in motion.splitlines() if line.startswith("|") and re.search(r"`(mean|max)\(", line)]
    assert len(rows) == len({row.split("|")[1] for row in rows}) == 5
    for row in rows:
        rule = (ROOT / "tasks" / f"{row.split('|')[1].strip()}.yaml").read_text(encoding="utf-8")
        named = re.findall(r"`([a-z]+\([^`]*)`", row)
        assert named
        assert [text for text in named if text not in rule] == []
