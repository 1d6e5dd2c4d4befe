"""Other RL libraries train on our tasks, each in its own process, by the lines that docs/libraries.md shows."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from thorough import THOROUGH

from docs.make_libraries import PREFIX, RESULTS, ROOT, TASKS, read_scripts, render, run_script

SCRIPTS = read_scripts()
PAGE = ROOT / "docs" / "libraries.md"


def test_ci_runs_at_least_six_libraries_besides_stable_baselines3() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert any("interop" in requirement for requirement in extras["dev"])
    installed = " ".join([*project["dependencies"], *extras["interop"]])
    brought = [name for name, script in SCRIPTS.items() if script.library in installed and name != "sb3"]
    assert len(brought) >= 6, brought


def test_the_page_is_what_the_results_say(tmp_path: Path) -> None:
    page = tmp_path / "libraries.md"
    subprocess.run([sys.executable, ROOT / "docs" / "make_libraries.py", page], check=True, timeout=60)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_a_result_of_other_lines_is_no_result() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    results["sb3"]["lines"] += "\nmodel.save('x')"
    with pytest.raises(ValueError, match=r"train_sb3\.py has other lines now"):
        render(results, SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_library_trains(name: str) -> None:
    script = SCRIPTS[name]
    if script.version is None:
        pytest.skip(f"{script.library} is not installed")
    given = [TASKS[0], PREFIX + TASKS[1]] if name != "rl_zoo3" else TASKS
    if not THOROUGH:  # by turns, so that both kinds of actions are met
        given = [given[list(SCRIPTS).index(name) % 2]]
    told = run_script(script, given, timeout=300)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")).get(name, {"tasks": {}})["tasks"]
    assert [result["task"] for result in told] == [task.removeprefix(PREFIX) for task in given]
    for result in told:
        if "refused" in result:
            assert result["refused"] == kept[result["task"]]
        else:
            assert result["steps"] >= 150


@pytest.mark.slow
def test_lerobots_distribution_builds_and_is_found_by_its_prefix(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "examples" / "lerobot_env_vlmrm", source, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", tmp_path / "site")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True, timeout=300)
    # What LeRobot's importer does: the raw name of every distribution, then an import by that name.
    code = (
        "import importlib.metadata as m, importlib.util as u, sys\n"
        "names = [d.metadata['Name'] for d in m.distributions(path=[sys.path[1]])]\n"
        "found = [name for name in names if name.startswith('lerobot_env_')]\n"
        "assert found == ['lerobot_env_vlmrm'], names\n"
        "assert u.find_spec(found[0]) is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path / "site")}, check=True, timeout=60)
    pytest.importorskip("lerobot", reason="lerobot is not installed: importing the distribution needs it")
