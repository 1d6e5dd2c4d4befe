"""The examples run, with small settings, and say what they show."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gym_vlmrm
from gym_vlmrm.worlds.explore import Explorer

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


TASKS = sorted(path for path in EXAMPLES.rglob("*.yaml") if not path.name.startswith("_"))
TAUGHT = [path for path in TASKS if path.parent.name == "worlds"]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.name)
def test_every_task_file_among_the_examples_is_right(path: Path) -> None:
    assert gym_vlmrm.load_task(path).id.startswith("VLMRM-Examples/")
    first = path.read_text().splitlines()[0]
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).is_file()


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.name)
def test_what_is_to_be_taught_can_be(path: Path) -> None:
    """Captions say goal and baseline, and read what their world has, as the rule does; nothing ends an episode."""
    task = gym_vlmrm.load_task(path)
    said = {sentence for caption in task.captions for sentence in caption.sentences}
    assert {*task.reward.goals, *task.reward.baselines} <= said
    assert "default" in task.training
    explorer = Explorer(task, task.captions, 16, 0)
    world = explorer.world
    world.reset(seed=0)
    world.action_space.seed(0)
    *_, terminated, truncated, info = [world.step(world.action_space.sample()) for _ in range(40)][-1]
    assert not terminated
    assert not truncated
    assert type(info["success"]) is np.bool_
    explorer.close()


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
