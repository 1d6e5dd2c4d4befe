"""The examples run, with small settings, and say what they show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gym_vlmrm

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {
    "plain_loop.py": (["--steps", "5"], "the last frame, which the last reward scored: (96, 96, 3)"),
    "sb3_ppo.py": (["--steps", "256", "--envs", "2"], "mean return of the model's rewards"),
    "cleanrl_ppo.py": (["--num-envs", "2", "--total-timesteps", "128"], "128 steps"),
    "custom_reward_model.py": (["--steps", "5"], "from the picture"),
    "custom_scene.py": ([], "a dim lamp is turned up"),
}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_task_file_among_the_examples_is_right(path: Path) -> None:
    assert gym_vlmrm.load_task(path).id.startswith("VLMRM-Examples/")
    first = path.read_text().splitlines()[0]
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).is_file()


@pytest.mark.slow
def test_examples_run(tmp_path: Path) -> None:
    """One after the other in one process: most of the time would go into its imports."""
    runs = [(name, [str(EXAMPLES / name), *options]) for name, (options, _) in SHORT.items()]
    code = (
        "import runpy, sys\n"
        f"for name, sys.argv in {runs}:\n"
        "    print(f'=== {name}', flush=True)\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    said = dict(re.findall(r"^=== (\S+)\n(.*?)(?=^=== |\Z)", process.stdout, re.M | re.S))
    assert said.keys() == SHORT.keys()
    for name, (_, words) in SHORT.items():
        assert words in said[name]
    assert not list(tmp_path.iterdir())
