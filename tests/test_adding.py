"""CONTRIBUTING's four recipes, done in a copy of the repository: whatever is added is found everywhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TASK = """\
id: VLMRM/Acrobot-Up-v0
description: Swing the lower link up.
source: made up by a test
env: {id: Acrobot-v1, max_episode_steps: 30}
reward: {goal: an acrobot whose tip points straight up, baseline: an acrobot, model: redness}
success: tip_height > 1.0
training:
  default: {algorithm: PPO, steps: 64, num_envs: 2, hyperparameters: {n_steps: 16, batch_size: 16, n_epochs: 1}}
"""
SCENE = '''\
"""Gymnasium's Acrobot-v1, drawn as two links."""

import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.utils import EzPickle

from gym_vlmrm.worlds.canvas import Canvas
from gym_vlmrm.worlds.flat import FlatScene
from gym_vlmrm.worlds.scene import Floats, Grid, Landmark, SearchSpace, box_space

__all__ = ["AcrobotScene"]


class AcrobotScene(FlatScene, AcrobotEnv, EzPickle):
    """`AcrobotEnv`; a configuration is its two angles [rad]."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}
    name, title = "acrobot", "Acrobot"
    view = (-2.2, -2.2, 4.4)
    quantity_names = ("tip_height",)
    screen_width = screen_height = 500

    def __init__(self, **kwargs: Any) -> None:
        """Build the links; arguments are those of `FlatScene`."""
        EzPickle.__init__(self, **kwargs)
        super().__init__(**kwargs)

    def _points(self) -> tuple[tuple[float, float], tuple[float, float]]:
        first, second = (float(value) for value in self.current_state()[:2])
        elbow = math.sin(first), -math.cos(first)
        return elbow, (elbow[0] + math.sin(first + second), elbow[1] - math.cos(first + second))

    def quantities(self) -> dict[str, float]:
        """Return `tip_height`, of the lower link's end above the pivot [m]."""
        return {"tip_height": self._points()[1][1]}

    def place(self, configuration: Floats) -> None:
        """Put the links at two angles, at rest."""
        self.state = np.array([configuration[0], configuration[1], 0.0, 0.0])

    def configuration(self) -> Floats:
        """Return the two angles."""
        return np.asarray(self.current_state()[:2], np.float64)

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return all pairs of angles."""
        return box_space([-math.pi, -math.pi], [math.pi, math.pi])

    @classmethod
    def survey(cls) -> Grid:
        """Return turns of the stretched links, and any pair of angles."""
        def places() -> list[Landmark]:
            turns = np.linspace(-math.pi, math.pi, 41)
            return [Landmark(np.array([a, 0.0]), f"stretched, {a:.2f} rad", float(round(a, 6))) for a in turns]

        def cloud(rng: np.random.Generator) -> list[Landmark]:
            return [Landmark(rng.uniform(-math.pi, math.pi, 2), "any angles") for _ in range(120)]

        return Grid("angle of the stretched links [rad]", places, cloud)

    def draw_surroundings(self, canvas: Canvas) -> None:
        """Draw a meadow."""
        canvas.backdrop("meadow")

    def draw(self, canvas: Canvas) -> None:
        """Draw the links."""
        elbow, tip = self._points()
        canvas.line((0.0, 0.0), elbow, 0.2, (40, 40, 40))
        canvas.line(elbow, tip, 0.2, (255, 0, 0))
'''
MODEL = '''\
"""A reward model that likes red in the upper half of the picture."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["RednessReward"]


class RednessReward:
    """Mean red above the middle, in [0, 1]."""

    name = "redness"
    frame_size = 48

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score frames (N, H, W, 3)."""
        upper = frames[:, : frames.shape[1] // 2].astype(np.float32)
        red = (upper[..., 0] > 200) & (upper[..., 1] < 60)
        return red.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
'''
COMMAND = '''\
"""`vlmrm greet`: a command."""

from ..console import print_json, say
from ..options import Json, Task

__all__ = ["greet"]


def greet(task: Task, json: Json = False) -> None:
    """Greet a task."""
    if json:
        print_json({"hello": task})
    else:
        say(f"hello, {task}")
'''


def insert(path: Path, before: str, line: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, line + before), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository to which one task, scene, reward model and command were added."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("gym_vlmrm", "cli", "tasks", "tests", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in ("README.md", "CONTRIBUTING.md", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, root / file)
    names = root / "installed"
    names.mkdir()
    (names / "gym_vlmrm_cli").symlink_to(root / "cli")
    (names / "gym_vlmrm_tasks").symlink_to(root / "tasks")
    (root / "tasks" / "acrobot-up.yaml").write_text(TASK)
    (root / "gym_vlmrm" / "worlds" / "acrobot.py").write_text(SCENE)
    insert(
        root / "gym_vlmrm" / "worlds" / "scene.py",
        '    "MountainCarContinuous-v0":',
        '    "Acrobot-v1": "gym_vlmrm.worlds.acrobot:AcrobotScene",\n',
    )
    (root / "gym_vlmrm" / "reward" / "redness.py").write_text(MODEL)
    insert(
        root / "gym_vlmrm" / "reward" / "loading.py",
        '    "brightness":',
        '    "redness": "gym_vlmrm.reward.redness:RednessReward",\n',
    )
    (root / "cli" / "commands" / "greet.py").write_text(COMMAND)
    return root


def python(copy: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "installed")])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def vlmrm(copy: Path, *arguments: str) -> str:
    return python(copy, "-m", "gym_vlmrm_cli.main", *arguments)


def test_a_new_command_is_one_file(copy: Path) -> None:
    assert "Greet a task." in vlmrm(copy, "--help")
    assert vlmrm(copy, "greet", "splits") == "hello, splits\n"


def test_a_new_task_is_one_file(copy: Path) -> None:
    listed = json.loads(vlmrm(copy, "tasks", "--json"))["tasks"]
    assert "acrobot-up" in [task["name"] for task in listed]
    python(copy, "docs/make_tables.py")
    row = "| acrobot-up | `VLMRM/Acrobot-Up-v0` | an acrobot whose tip points straight up |"
    assert row in (copy / "README.md").read_text(encoding="utf-8")


def test_a_new_scene_and_a_new_reward_model_are_one_file_and_one_line(copy: Path) -> None:
    assert json.loads(vlmrm(copy, "check", "acrobot-up", "--json"))["valid"]
    code = (
        "import gymnasium as gym, gym_vlmrm\n"
        "from gymnasium.utils.env_checker import check_env\n"
        "env = gym.make('VLMRM/Acrobot-Up-v0')\n"
        "check_env(env.unwrapped, skip_render_check=True)\n"
        "env.reset(seed=0); print(type(env.unwrapped).__name__, env.render().shape)\n"
        "print(gym_vlmrm.load_reward_model('acrobot-up').name)\n"
        "print(gym_vlmrm.load_reward_model('splits', model='redness').name)\n"
    )
    assert python(copy, "-c", code).split() == ["AcrobotScene", "(48,", "48,", "3)", "redness", "redness"]


def test_what_was_added_is_audited_and_trained(copy: Path) -> None:
    report = json.loads(
        vlmrm(copy, "audit", "acrobot-up", "--evaluations", "300", "--workers", "1", "--output", "audit", "--json")
    )
    (model,) = report["models"]
    assert model["model"] == "redness"
    assert model["exploit"] is not None  # its states could be searched
    assert report["landscapes"]
    run = json.loads(vlmrm(copy, "train", "acrobot-up", "--workers", "1", "--output", "run", "--json"))
    assert run["step"] >= 64


@pytest.mark.slow
def test_what_was_added_is_tested_and_breaks_no_other_test(copy: Path) -> None:
    python(copy, "docs/make_tables.py")
    files = ("every_task", "guards", "catalog", "cli", "finetuning")
    chosen = "(acrobot or test_guards or test_catalog or test_cli or goal_is_among or scene_captions) and not alone"
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", chosen)
    said = python(copy, "-m", "pytest", *options, *(f"tests/test_{name}.py" for name in files))
    assert "passed" in said
    assert "failed" not in said
