"""OpenGL is found without a display, an explicit choice is kept, and what is missing is named."""

import os
import subprocess
import sys

import pytest

from gym_vlmrm.errors import RenderingError
from gym_vlmrm.worlds import gl


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl, "_proven", set())
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def works(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(gl, "BACKENDS", {name: lambda name=name: name in names for name in ("egl", "osmesa", "glfw")})


@pytest.mark.parametrize(
    ("working", "chosen"), [(("egl", "osmesa", "glfw"), "egl"), (("osmesa", "glfw"), "osmesa"), (("glfw",), "glfw")]
)
def test_the_best_backend_that_works_is_chosen(
    monkeypatch: pytest.MonkeyPatch, working: tuple[str, ...], chosen: str
) -> None:
    works(monkeypatch, *working)
    assert gl.ensure_gl() == chosen
    assert os.environ["MUJOCO_GL"] == chosen


def test_nothing_works_names_the_debian_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    works(monkeypatch)
    with pytest.raises(RenderingError, match=r"libegl1 and libgl1-mesa-dri.*libosmesa6") as raised:
        gl.ensure_gl()
    assert "\n" not in str(raised.value)
    assert "MUJOCO_GL" not in os.environ


def test_an_explicit_choice_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    works(monkeypatch, "egl", "osmesa")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert gl.ensure_gl() == "osmesa"


@pytest.mark.parametrize(("name", "cure"), [("osmesa", "libosmesa6"), ("glfw", "DISPLAY"), ("egl", "libegl1")])
def test_an_explicit_choice_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, cure: str) -> None:
    works(monkeypatch)
    monkeypatch.setenv("MUJOCO_GL", name)
    with pytest.raises(RenderingError, match=cure):
        gl.ensure_gl()


@pytest.mark.parametrize("name", ["disabled", "metal"])
def test_an_unknown_choice_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", name)
    with pytest.raises(RenderingError, match=f"'{name}'.*egl, osmesa, glfw"):
        gl.ensure_gl()


def test_software_opengl_gets_one_thread_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    works(monkeypatch, "egl")
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    gl.ensure_gl()
    assert os.environ["LP_NUM_THREADS"] == "1"
    monkeypatch.setenv("LP_NUM_THREADS", "4")
    gl.ensure_gl()
    assert os.environ["LP_NUM_THREADS"] == "4"


def test_windows_and_mac_use_the_window_system(monkeypatch: pytest.MonkeyPatch) -> None:
    works(monkeypatch, "glfw")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert gl.ensure_gl() == "glfw"


def test_probing_leaves_pyopengl_alone() -> None:
    code = (
        "import sys, os; from gym_vlmrm.worlds.gl import _egl_works, _osmesa_works, _glfw_works;"
        "_egl_works(); _osmesa_works(); _glfw_works();"
        "assert 'OpenGL' not in sys.modules and 'mujoco' not in sys.modules;"
        "assert 'PYOPENGL_PLATFORM' not in os.environ"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=clean, timeout=60)


def test_who_drew_here_may_train_here_by_any_library() -> None:
    """Loading triton's LLVM after Mesa's would end the process, and torch's optimisers bring triton."""
    code = (
        "import sys, gymnasium, gym_vlmrm\n"
        "env = gymnasium.make('VLMRM/Humanoid-Kneeling-v0', reward='task', render_size=32)\n"
        "env.reset(seed=0); env.render()\n"
        "assert 'torch' not in sys.modules\n"
        "from stable_baselines3 import PPO\n"
        "PPO('MlpPolicy', env, n_steps=16, batch_size=16, n_epochs=1, device='cpu').learn(16)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
