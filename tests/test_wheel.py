"""The wheel: everything inside, nothing in anybody's way, and it works from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("gym_vlmrm", "cli", "tasks")
LEFT_OUT = ("benchmarks", "docs", "embedded_model", "examples", "tests")
"""Folders of the repository that no user installs."""
DATA = (
    "gym_vlmrm/finetuning/scene_captions/*.yaml",
    "gym_vlmrm/learning/zoo/*/checkpoints/*/policy.safetensors",
    "gym_vlmrm/learning/zoo/*/eval/evaluation.json",
    "gym_vlmrm/reports/templates/*.j2",
    "gym_vlmrm/reward/embedded/open_clip_model.safetensors",
    "gym_vlmrm/reward/embedded/words.txt",
    "gym_vlmrm/reward/embedded_gymnasium/open_clip_model.safetensors",
    "gym_vlmrm/reward/embedded_mujoco/open_clip_model.safetensors",
    "gym_vlmrm/reward/embedded/worlds.txt",
    "gym_vlmrm/worlds/textures/*.png",
    "gym_vlmrm_cli/commands/*.py",
    "gym_vlmrm_tasks/*.yaml",
)
"""What must be inside, whatever stands in the folders."""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="venv has other folders there")]


def run(*command: object, cwd: Path) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=inherited, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that neither old build folders get in nor new ones stay behind."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*SOURCES, *LEFT_OUT):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", target)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=target)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment that holds the wheel, and sees this one's libraries but not our package."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    home = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        home,
        wheel,
        cwd=folder,
    )
    # Libraries one by one: a path to their folder would bring our editable installation with it.
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            ours = "gym_vlmrm" in entry.name or entry.suffix == ".pth"
            if not ours and not (home / entry.name).exists():
                (home / entry.name).symlink_to(entry)
    return python


def test_every_file_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    installed_as = {"gym_vlmrm": "gym_vlmrm", "cli": "gym_vlmrm_cli", "tasks": "gym_vlmrm_tasks"}
    expected = {
        str(Path(installed_as[source]) / path.relative_to(ROOT / source))
        for source in SOURCES
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= names, sorted(expected - names)
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == set(installed_as.values())
    assert "gym_vlmrm/py.typed" in names
    for pattern in DATA:
        assert any(fnmatch(name, pattern) for name in names), pattern
    # Tests, the embedded model's recipe and its phrases stay in the repository.
    assert not [
        name for name in names if {"tests", "embedded_model", "phrases", "docs", "benchmarks"} & {*name.split("/")}
    ]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_works_from_another_folder(python: Path, tmp_path: Path) -> None:
    home = python.parent.parent
    # pip --target leaves scripts beside the packages.
    listing = run(python, "-c", "from gym_vlmrm_cli.main import main; main()", "tasks", cwd=tmp_path)
    assert "VLMRM/Humanoid-Splits-v0" in listing
    entry = (
        "from importlib.metadata import entry_points as found\n"
        "print([script.value for script in found(group='console_scripts', name='vlmrm')])"
    )
    assert "gym_vlmrm_cli.main:main" in run(python, "-c", entry, cwd=tmp_path)
    code = (
        "import importlib.util, gymnasium as gym, gym_vlmrm\n"
        f"assert gym_vlmrm.__file__.startswith({str(home)!r}), gym_vlmrm.__file__\n"
        "assert importlib.util.find_spec('cli') is None and importlib.util.find_spec('tasks') is None\n"
        "for name in ('VLMRM/Humanoid-Lotus-v0', 'VLMRM/MountainCar-Summit-v0'):\n"
        "    env = gym.make(name, device='cpu')\n"
        "    env.reset(seed=0)\n"
        "    print(type(env.step(env.action_space.sample())[1]).__name__)\n"
        "    env.close()\n"
        "from gym_vlmrm.learning.zoo import zoo_names\n"
        "assert zoo_names() and all(gym_vlmrm.load_policy(f'zoo:{name}') for name in zoo_names())\n"
    )
    assert run(python, "-c", code, cwd=tmp_path).split() == ["float", "float"]
    assert not list(tmp_path.iterdir())


def test_a_model_is_made_of_a_built_in_scene(python: Path, tmp_path: Path) -> None:
    command = ("-c", "from gym_vlmrm_cli.main import main; main()", "finetune", "mountain-car", "--model", "scratch")
    run(python, *command, "--frames", 24, "--steps", 1, "--batch-size", 8, "--output", "mine", "--quiet", cwd=tmp_path)
    assert (tmp_path / "mine" / "open_clip_model.safetensors").is_file()
