"""MuJoCo inside other people's environments: the right pixels in any company, and cameras by name."""

import gc
import itertools
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import strangers
from pydantic import ValidationError

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.catalog import load_task, override, task_from_dict
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import overlay
from gym_vlmrm.worlds.viewers import find_renderers
from gym_vlmrm.worlds.world import make_world

HOLDERS = ["strangers:Holder-v0", "strangers:DeepHolder-v0", "strangers:LateHolder-v0", "strangers:LazyHolder-v0"]
HOLDERS += ["strangers:TwoArtists-v0"]
SIZE = 48


def spec(env_id: str, **scene: Any) -> TaskSpec:
    data = {"id": "Test-v0", "env": {"id": env_id}, "reward": {"goal": "a"}, "scene": scene}
    return TaskSpec.model_validate(data)


def world(env_id: str, **scene: Any) -> gym.Env[Any, Any]:
    return make_world(spec(env_id, **scene), render_size=SIZE)


def play(*envs: gym.Env[Any, Any]) -> list[list[Any]]:
    """Step environments in turn, and return the pictures of each."""
    frames: list[list[Any]] = [[] for _ in envs]
    for env in envs:
        env.reset(seed=0)
        env.action_space.seed(0)
    for _ in range(2):
        for env in envs:
            env.step(env.action_space.sample())
        for index, env in enumerate(envs):
            frames[index].append(env.render())
    return frames


@pytest.mark.parametrize("env_id", HOLDERS)
def test_an_environment_inside_is_drawn_as_if_alone(env_id: str) -> None:
    ids = [env_id, "InvertedPendulum-v5", "Humanoid-v5", env_id]
    alone = []
    for name in ids:
        env = world(name)
        alone += play(env)
        env.close()
    together = [world(name) for name in ids]
    for _ in range(2):
        for expected, seen in zip(alone, play(*together), strict=True):
            np.testing.assert_array_equal(expected, seen)
    together.pop(1)  # unclosed, left to the garbage collector
    gc.collect()
    alone.pop(1)
    for expected, seen in zip(alone, play(*together), strict=True):
        np.testing.assert_array_equal(expected, seen)
    together.pop(0).close()
    for expected, seen in zip(alone[1:], play(*together), strict=True):
        np.testing.assert_array_equal(expected, seen)
    for env in together:
        env.close()


@pytest.fixture(scope="module")
def reacher_alone() -> list[Any]:
    env = world("strangers:Holder-v0")
    frames = play(env)[0]
    env.close()
    return frames


@pytest.mark.parametrize("way", strangers.WAYS)
def test_wherever_it_is_kept_it_is_drawn_as_if_alone_and_maybe_found(way: str, reacher_alone: list[Any]) -> None:
    other = world("InvertedPendulum-v5")
    play(other)
    data = {"id": "T-v0", "reward": {"goal": "a"}, "env": {"id": "strangers:OddHolder-v0", "kwargs": {"way": way}}}
    env = make_world(TaskSpec.model_validate(data), render_size=SIZE)
    np.testing.assert_array_equal(play(other, env)[1], reacher_alone)
    np.testing.assert_array_equal(play(env, other)[0], reacher_alone)
    assert len(find_renderers(env)) == (way not in ("class", "module"))
    aimed = TaskSpec.model_validate({**data, "scene": {"camera": {"azimuth": 10.0, "distance": 2.0}}})
    if way in ("class", "module"):
        with pytest.raises(TaskError, match="look through 'strangers:OddHolder-v0' found none"):
            make_world(aimed, render_size=SIZE)
    else:
        twin = make_world(aimed, render_size=SIZE)
        assert (play(twin)[0][-1] != reacher_alone[-1]).any()
        twin.close()
    env.close()
    other.close()


def test_a_viewer_that_ends_leaves_the_context_of_another() -> None:
    worlds = [world("InvertedPendulum-v5"), world("Reacher-v5")]
    expected = play(*worlds)[0][-1]
    viewer = find_renderers(worlds[0])[0].viewer
    if not hasattr(viewer.opengl_context, "as_current"):
        pytest.skip("this MuJoCo cannot tell which context is current")
    draw = type(viewer).render.__wrapped__
    viewer.make_context_current()
    ended = find_renderers(worlds.pop())[0].viewer
    ended.free()
    again = draw(viewer, "rgb_array", find_renderers(worlds[0])[0].camera_id)
    np.testing.assert_array_equal(again, expected)
    ended.free()  # and its finaliser calls it once more
    again = draw(viewer, "rgb_array", find_renderers(worlds[0])[0].camera_id)
    np.testing.assert_array_equal(again, expected)
    worlds[0].close()


def test_a_renderer_first_imported_within_a_step_is_kept_apart_too() -> None:
    program = """
import sys, gymnasium as gym, numpy as np
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import make_world

class Late(gym.Env):
    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
    inner = None
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def reset(self, *, seed=None, options=None):
        return 0, {}
    def step(self, action):
        if Late.inner is None:
            Late.inner = gym.make("Reacher-v5", render_mode="rgb_array")
            Late.inner.reset(seed=0)
        self.seen = Late.inner.render()
        return 0, 0.0, False, False, {}
    def render(self):
        return self.seen

gym.register("Late-v0", Late)
spec = lambda name: TaskSpec.model_validate({"id": "T-v0", "env": {"id": name}, "reward": {"goal": "a"}})
env = make_world(spec("Late-v0"), render_size=32)
env.reset(seed=0)
assert "gymnasium.envs.mujoco.mujoco_rendering" not in sys.modules
env.step(0)
first = env.render()
other = make_world(spec("Humanoid-v5"), render_size=32)
other.reset(seed=0)
other.render()
env.step(0)
assert first.any() and (env.render() == first).all()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_search_has_bounds_and_reads_no_properties() -> None:
    class Trap:
        def __init__(self) -> None:
            self.itself = self
            self.many = [Trap.Leaf() for _ in range(10_000)]

        class Leaf:
            def __init__(self) -> None:
                self.value = object()

        @property
        def renderer(self) -> Any:
            raise AssertionError("a property was read")

    world("Ant-v5").close()
    assert find_renderers(Trap()) == []


@pytest.mark.parametrize("env_id", ["Ant-v5", "Ant-v4", "Humanoid-v5"])
def test_a_camera_of_the_model_by_name_or_number(env_id: str) -> None:
    frames = []
    for scene in ({"camera": {"name": "track"}}, {"camera": {"id": 0}}, {"camera": {"azimuth": 20.0}}, {}):
        env = world(env_id, **scene)
        frames.append(play(env)[0])
        env.close()
    np.testing.assert_array_equal(frames[0], frames[1])
    for one, other in itertools.combinations(frames[1:], 2):
        assert (one[-1] != other[-1]).any()


def test_the_humanoids_tracking_camera_follows_its_body() -> None:
    env = world("Humanoid-v5", camera={"name": "track"})
    env.reset(seed=0)
    below: Any = env.unwrapped
    body = []
    for shift in (0.0, 3.0):
        qpos = below.init_qpos.copy()
        qpos[0] += shift
        below.set_state(qpos, np.zeros(below.model.nv))
        body.append(np.asarray(env.render(), int))
    assert np.abs(body[0] - body[1]).mean() < 8  # else it would have left the picture
    below.set_camera(azimuth=90.0)
    assert np.abs(np.asarray(env.render(), int) - body[1]).mean() > 3
    env.close()


def test_a_free_camera_aims_at_what_is_inside() -> None:
    frames = []
    for env_id, azimuth in itertools.product(("strangers:DeepHolder-v0", "strangers:ByFunction-v0"), (10.0, 60.0)):
        env = world(env_id, camera={"azimuth": azimuth, "distance": 2.0, "lookat": [0.0, 0.0, 0.0]})
        frames.append(play(env)[0][-1])
        env.close()
    assert (frames[0] != frames[1]).any()
    assert (frames[2] != frames[3]).any()


@pytest.mark.parametrize(
    ("env_id", "camera", "words"),
    [
        ("Ant-v5", {"name": "trak"}, r"'Ant-v5' has no camera 'trak'; did you mean 'track'\?; cameras: 0 \('track'\)"),
        ("Ant-v5", {"id": 7}, r"has no camera 7; cameras: 0 \('track'\)"),
        ("Humanoid-v5", {"name": "corner"}, r"has no camera 'corner'; cameras: 0 \('track'\)"),
        ("strangers:Holder-v0", {"name": "corner"}, "it has no camera of its own; use distance"),
        ("strangers:Fine-v0", {"name": "corner"}, "look through 'strangers:Fine-v0' found none; remove it"),
        ("CartPole-v1", {"id": 0}, "drawn flat; remove it"),
    ],
)
def test_wrong_cameras_get_one_true_line(env_id: str, camera: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words) as raised:
        world(env_id, camera=camera)
    assert raised.value.field[:2] == ("scene", "camera")


@pytest.mark.parametrize(
    "camera",
    [
        {"name": "a", "distance": 2.0},
        {"name": "a", "id": 0},
        {"id": -1},
        {"name": ""},
        {"nmae": "a"},
        {"distance": 1e300},
        {"distance": float("inf")},
        {"lookat": [0.0, -1e300, 0.0]},
        {"azimuth": 1e300},
    ],
)
def test_cameras_are_strict_and_bounded(camera: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec("Ant-v5", camera=camera)


def test_a_camera_is_one_value_in_includes_and_overrides() -> None:
    task = load_task("kneeling")
    named = override(task, scene={"camera": {"name": "track"}})
    assert named.scene.camera is not None
    assert named.scene.camera.model_dump() == {"name": "track"}
    for data in (named.model_dump(mode="json"), named.model_dump(mode="json", exclude_unset=True)):
        assert task_from_dict(data).scene == named.scene
    free = override(named, scene={"camera": {"distance": 9.0}})
    assert free.scene.camera is not None
    assert list(free.scene.camera.model_dump()) == ["distance", "lookat", "elevation", "azimuth"]
    assert override(named, scene={"camera": {"id": 1}}).scene.camera.model_dump() == {"id": 1}  # type: ignore[union-attr]
    mixed = overlay({"scene": {"camera": {"distance": 2}}}, {"scene": {"camera": {"azimuth": 3}}})
    assert mixed["scene"]["camera"] == {"distance": 2, "azimuth": 3}
