"""Worlds: physics untouched, pictures of the present state, the contract of `make_world`, and what bad input gets."""

import copy
import gc
import itertools
import pickle
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv

from gym_vlmrm.errors import RenderingError, TaskError, VLMRMError
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.cartpole import CartPoleScene
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.mountain_car import MountainCarScene
from gym_vlmrm.worlds.scene import SCENES
from gym_vlmrm.worlds.world import make_world

SIZE = 48
OTHERS = ["Pendulum-v1", "Ant-v5", "Blackjack-v1"]


def spec(env_id: str, success: Any = None, kwargs: dict[str, Any] | None = None, **scene: Any) -> TaskSpec:
    data = {"id": "Test-v0", "env": {"id": env_id, "kwargs": kwargs or {}}, "reward": {"goal": "a thing"}}
    return TaskSpec.model_validate(data | {"success": success, "scene": scene})


def world(env_id: str, *args: Any, size: int = SIZE, **kwargs: Any) -> gym.Env[Any, Any]:
    return make_world(spec(env_id, *args, **kwargs), render_size=size)


def move(env: gym.Env[Any, Any], number: int) -> None:
    """Put a scene into one of several states."""
    below: Any = env.unwrapped
    if isinstance(below, HumanoidEnv):
        qpos = below.init_qpos.copy()
        qpos[7 + number] += 0.5
        below.set_state(qpos, np.zeros(below.model.nv))
    elif isinstance(below, CartPoleEnv):
        below.state = np.array([0.2 * number, 0.0, 0.3 * number, 0.0])
    else:
        below.state = np.array([-1.0 + 0.3 * number, 0.0], np.float32)


@pytest.mark.parametrize("env_id", [*SCENES, *OTHERS])
def test_frames_are_square_pictures(env_id: str) -> None:
    env = world(env_id)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert (frame.shape, frame.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert frame.std() > 5
    env.close()


@pytest.mark.parametrize("env_id", [*SCENES, *OTHERS])
def test_info_has_the_environments_reward_and_no_success_without_a_rule(env_id: str) -> None:
    env = world(env_id)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert type(info["task_reward"]) is np.float64
    assert info["task_reward"] == float(reward)
    assert "success" not in info
    env.close()


@pytest.mark.parametrize(
    ("env_id", "base"),
    [
        ("Humanoid-v5", HumanoidEnv),
        ("CartPole-v1", CartPoleEnv),
        ("MountainCarContinuous-v0", Continuous_MountainCarEnv),
    ],
)
def test_unwrapped_is_gymnasiums_class(env_id: str, base: type) -> None:
    env = world(env_id)
    assert isinstance(env.unwrapped, base)
    assert env.metadata["render_modes"] == ["rgb_array"]
    env.close()


@pytest.mark.parametrize("env_id", SCENES)
@pytest.mark.parametrize("look", ["textured", "original"])
def test_a_frame_shows_the_present_state_whatever_was_drawn_before(env_id: str, look: str) -> None:
    env, fresh = world(env_id, look=look), world(env_id, look=look)
    env.reset(seed=0)
    frames = []
    for number in (0, 1, 2, 0):
        move(env, number)
        frames.append(env.render())
    assert np.array_equal(frames[0], frames[3])
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(frames[:3], 2))
    fresh.reset(seed=7)
    move(fresh, 2)
    assert np.array_equal(fresh.render(), frames[2])
    env.close()
    fresh.close()


@pytest.mark.parametrize("env_id", SCENES)
def test_textured_is_not_original(env_id: str) -> None:
    pictures = []
    for look in ("textured", "original"):
        env = world(env_id, look=look)
        env.reset(seed=0)
        pictures.append(np.asarray(env.render(), float))
        env.close()
    assert np.abs(pictures[0] - pictures[1]).mean() > 15


@pytest.mark.parametrize("env_id", [*SCENES, *OTHERS])
def test_copies_behave_like_new_ones(env_id: str) -> None:
    env = world(env_id)
    env.reset(seed=3)
    env.render()
    copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    new = world(env_id)
    observation, _ = new.reset(seed=5)
    env.reset(seed=5)
    for twin in copies:
        assert np.array_equal(twin.reset(seed=5)[0], observation)
        # The camera of some of Gymnasium's environments is aimed by their first picture, and a copy keeps that.
        assert np.array_equal(np.asarray(twin.render()), np.asarray(env.render()))
        twin.close()
    new.close()
    env.close()


@pytest.mark.parametrize("scene", [HumanoidScene, CartPoleScene, MountainCarScene])
def test_scene_classes_pickle_by_their_arguments(scene: Any) -> None:
    env = scene(render_size=40, look="original")
    twin = pickle.loads(pickle.dumps(env))
    twin.reset(seed=0)
    assert type(twin) is scene
    assert twin.render().shape == (40, 40, 3)
    twin.close()
    env.close()


def test_the_humanoids_physics_is_gymnasiums() -> None:
    ours = HumanoidScene(render_size=32, terminate_when_unhealthy=False)
    theirs = HumanoidEnv(terminate_when_unhealthy=False)
    theirs.action_space.seed(0)
    for seed in range(2):
        assert np.array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for step in range(150):
            action = theirs.action_space.sample()
            a, b = ours.step(action), theirs.step(action)
            assert np.array_equal(a[0], b[0]), step
            assert a[1] == b[1]
            if step % 40 == 0:
                ours.render()
                ours.quantities()
    ours.close()


def test_position_targets_take_joints_there_with_no_more_force_than_before() -> None:
    plain, targets = HumanoidScene(render_size=16), HumanoidScene(render_size=16, position_targets=True)
    assert plain.action_space.high.max() == pytest.approx(0.4)
    assert (targets.action_space.low == -1).all()
    assert (targets.action_space.high == 1).all()
    heights = []
    for env in (plain, targets):
        env.reset(seed=0)
        for _ in range(50):
            env.step(np.zeros(17, np.float32))
        heights.append(env.quantities()["pelvis_height"])
    assert heights[0] < 0.5 < 0.85 < heights[1], "without torque it falls, with the zero target it stands"
    targets.reset(seed=0)
    elbow = targets.model.actuator("left_elbow").id
    action = np.zeros(17, np.float32)
    action[elbow] = -0.5
    for _ in range(40):
        targets.step(action)
        assert (np.abs(targets.data.actuator_force) <= 0.4 + 1e-9).all()
    joint = targets.model.joint("left_elbow")
    assert targets.data.qpos[joint.qposadr[0]] == pytest.approx(-0.5 * np.abs(joint.range).max(), abs=0.15)
    assert pickle.loads(pickle.dumps(targets)).action_space == targets.action_space
    for env in (plain, targets):
        env.close()


def test_the_cartpoles_and_mountain_cars_physics_is_gymnasiums() -> None:
    for ours, theirs in ((CartPoleScene(), CartPoleEnv()), (MountainCarScene(), Continuous_MountainCarEnv())):
        theirs.action_space.seed(0)
        assert np.array_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
        done = False
        for _ in range(200):
            action = theirs.action_space.sample()
            a, b = ours.step(action), theirs.step(action)
            assert np.array_equal(a[0], b[0])
            assert a[1:4] == b[1:4]
            done = b[2]
            if done:
                break


def test_set_state_after_steps_shows_the_frame_of_the_step() -> None:
    env = HumanoidScene(render_size=64)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    qpos, qvel, seen = env.data.qpos.copy(), env.data.qvel.copy(), env.render()
    env.reset(seed=1)
    env.set_state(qpos, qvel)
    assert np.array_equal(env.render(), seen)
    env.close()


def test_environments_that_share_a_process_do_not_disturb_one_another() -> None:
    alone = HumanoidScene(render_size=32)
    alone.reset(seed=0)
    expected = alone.render()
    others = [HumanoidScene(render_size=40, look="original"), world("Ant-v5"), HumanoidScene(render_size=32)]
    for other in others:
        other.reset(seed=0)
        other.render()
        assert np.array_equal(alone.render(), expected)
    ant = np.asarray(others[1].render())
    del other, others[2], others[0]  # left to the garbage collector, unclosed
    gc.collect()
    assert np.array_equal(alone.render(), expected)
    alone.close()
    assert np.array_equal(np.asarray(others[0].render()), ant)
    others[0].close()


@pytest.mark.parametrize("height", [0.2, 1.3])
@pytest.mark.parametrize("quaternion", [(1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, -1, 0)])
def test_the_whole_humanoid_stays_in_the_frame(height: float, quaternion: tuple[int, ...]) -> None:
    # A size of its own: it shares no OpenGL context with what other tests left open.
    env = HumanoidScene(render_size=95)
    qpos = env.init_qpos.copy()
    qpos[2], qpos[3:7] = height, np.array(quaternion) / np.linalg.norm(quaternion)
    env.set_state(qpos, np.zeros(env.model.nv))
    seen = env.render().astype(int)
    env.set_state(qpos + np.array([-40.0] + [0.0] * (len(qpos) - 1)), np.zeros(env.model.nv))
    body = np.abs(seen - env.render().astype(int)).max(axis=2) > 12
    assert body.sum() > 80
    assert not body[0].any()
    assert not body[:, [0, -1]].any()
    assert body[-1].mean() < 0.15  # feet towards the camera may touch the lower edge
    env.close()


def test_the_camera_moves_and_comes_back() -> None:
    env = HumanoidScene(render_size=32)
    env.reset(seed=0)
    before = env.render()
    env.set_camera(azimuth=90.0, distance=5.0)
    assert not np.array_equal(env.render(), before)
    env.set_camera(azimuth=180.0, distance=3.5)
    assert np.array_equal(env.render(), before)
    env.close()
    elsewhere = HumanoidScene(render_size=32, camera={"distance": 6.0})
    elsewhere.reset(seed=0)
    assert not np.array_equal(elsewhere.render(), before)
    elsewhere.close()


def test_the_light_can_be_changed_through_the_model() -> None:
    env = HumanoidScene(render_size=32)
    env.reset(seed=0)
    before = env.render().mean()
    env.model.light_diffuse[:] *= 0.2
    assert env.render().mean() < before - 5
    env.close()


def test_quality_changes_the_picture_a_little() -> None:
    pictures = {}
    for quality in ("draft", "standard", "paper"):
        env = HumanoidScene(render_size=64, quality=quality)
        env.reset(seed=0)
        pictures[quality] = env.render().astype(float)
        env.close()
    assert 0 < np.abs(pictures["draft"] - pictures["standard"]).mean() < 10
    assert 0 < np.abs(pictures["paper"] - pictures["standard"]).mean() < 15


def test_frame_costs_are_bounded_by_the_model() -> None:
    env = HumanoidScene(render_size=64)
    quality = env.model.vis.quality
    assert (quality.offsamples, quality.shadowsize, quality.numslices) == (0, 0, 12)
    assert (env.model.vis.global_.offwidth, env.model.vis.global_.offheight) == (64, 64)
    assert env.model.geom("floor").size[2] >= 1.0
    masses = mujoco.MjModel.from_xml_path(env.fullpath).body_mass
    assert np.array_equal(env.model.body_mass, masses)
    env.close()


def test_original_flat_frames_open_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    import pygame

    def fail() -> None:
        raise AssertionError("a display was opened or shut")

    monkeypatch.setattr(pygame.display, "init", fail)
    monkeypatch.setattr(pygame.display, "quit", fail)
    for env in (CartPoleScene(look="original", render_size=32), MountainCarScene(look="original", render_size=32)):
        env.reset(seed=0)
        assert env.render().shape == (32, 32, 3)
        env.close()


@pytest.mark.parametrize("scene", [CartPoleScene, MountainCarScene])
@pytest.mark.parametrize("size", [50, 96])
def test_redrawing_what_moved_is_drawing_everything(scene: Any, size: int) -> None:
    env = scene(render_size=size)
    env.reset(seed=0)
    for number in (0, 3, 1, 40, 2):
        move(env, number)
        frame = env.render()
        canvas = env._canvas
        whole = canvas.pygame.transform.smoothscale(canvas.surface, (size, size))
        assert np.array_equal(frame, canvas.pygame.surfarray.array3d(whole).transpose(1, 0, 2)), number
        frame[:] = 0  # the caller's own
    env.close()


def test_a_wide_frame_is_padded_not_squashed() -> None:
    env = MountainCarScene(look="original", render_size=60)
    env.reset(seed=0)
    frame = env.render()
    assert (frame[:8] == 255).all()
    assert (frame[-8:] == 255).all()
    env.close()


def test_a_camera_aims_gymnasiums_mujoco_environments() -> None:
    frames = []
    for azimuth in (0.0, 90.0):
        env = world("Ant-v5", camera={"azimuth": azimuth, "distance": 5.0})
        env.reset(seed=0)
        frames.append(np.asarray(env.render()))
        env.close()
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize(("env_id", "ground"), [("Pendulum-v1", 255), ("InvertedPendulum-v5", 0)])
def test_a_backdrop_stands_behind_what_moves_and_changes_nothing_else(env_id: str, ground: int) -> None:
    worlds = [world(env_id, size=96), world(env_id, size=96, backdrop="meadow")]
    for env in worlds:
        env.reset(seed=3)
        env.action_space.seed(3)
    for _ in range(5):
        seen, other = (env.step(env.action_space.sample())[0] for env in worlds)
        assert np.array_equal(seen, other)
    plain, textured = (np.asarray(env.render()) for env in worlds)
    empty = (plain == ground).all(axis=-1)
    assert empty.mean() > 0.5
    assert not (textured == ground).all(axis=-1)[empty].any()
    assert textured[empty].std() > 20, "a texture, and no other colour"
    inside = (np.abs(plain.astype(int) - textured) < 40).all(axis=-1) & ~empty
    assert inside.sum() > 0.3 * (~empty).sum(), "what moves keeps its colours"
    for env in worlds:
        env.close()


BAD: list[tuple[type[VLMRMError], str, TaskSpec]] = [
    (TaskError, "did you mean 'Pendulum-v1'", spec("Pendullum-v1")),
    (TaskError, "'zzqx'", spec("zzqx:Nothing-v0")),
    (TaskError, "did you mean 'terminate'", spec("CartPole-v1", kwargs={"terminat": True})),
    (TaskError, "write true or false", spec("CartPole-v1", kwargs={"terminate": "no"})),
    (TaskError, "section 'scene:'", spec("CartPole-v1", kwargs={"look": "original"})),
    (TaskError, "scene.camera", spec("CartPole-v1", camera={})),
    (TaskError, "scene.camera", spec("Pendulum-v1", camera={})),
    (TaskError, "scene.backdrop", spec("CartPole-v1", backdrop="meadow")),
    (TaskError, "env.kwargs", spec("Pendulum-v1", kwargs={"gravitas": 1})),
    (TaskError, "nope.xml", spec("Humanoid-v5", kwargs={"xml_file": "nope.xml"})),
    (TaskError, "did you mean 'pole_angle'", spec("CartPole-v1", "pole_angel > 0")),
    (TaskError, "known: .*cart_position", spec("CartPole-v1", "zz > 0")),
    (TaskError, r"obs\[0\] to obs\[2\]", spec("Pendulum-v1", "obs[3] > 0")),
    (TaskError, r"obs.0\[0\], obs.1\[0\], obs.2\[0\] exist", spec("Blackjack-v1", "obs[0] > 0")),
    (TaskError, "does not have", spec("Pendulum-v1", "height > 0")),
]


@pytest.mark.parametrize(("error", "message", "task"), BAD)
def test_bad_worlds_get_one_line(error: type[VLMRMError], message: str, task: TaskSpec) -> None:
    with pytest.raises(error, match=message) as raised:
        make_world(task, render_size=SIZE)
    assert "\n" not in str(raised.value)


class Blind(gym.Env[Any, Any]):
    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(1)
    frame: Any = None

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, **_: Any) -> tuple[int, dict[str, Any]]:
        super().reset()
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, 0.0, False, False, {"word": "yes"}

    def render(self) -> Any:
        return None


class Painter(Blind):
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012


@pytest.fixture
def blind_environments() -> Any:
    gym.register("Blind-v0", Blind)
    gym.register("Painter-v0", Painter)
    yield
    del gym.registry["Blind-v0"], gym.registry["Painter-v0"]


@pytest.mark.usefixtures("blind_environments")
def test_an_environment_that_cannot_render_is_refused() -> None:
    with pytest.raises(RenderingError, match="'Blind-v0' cannot render 'rgb_array'; it renders ansi"):
        world("Blind-v0")
    env = world("Painter-v0")
    env.reset()
    with pytest.raises(RenderingError, match="'Painter-v0' renders NoneType"):
        env.render()


@pytest.mark.usefixtures("blind_environments")
def test_info_that_a_rule_reads_must_be_there_and_a_number() -> None:
    for rule, message in (("info.wrod > 0", "did you mean 'info.word'"), ("info.word > 0", "not one number")):
        env = world("Painter-v0", rule)
        env.reset()
        with pytest.raises(TaskError, match=message):
            env.step(0)


def test_alike_scenes_share_an_opengl_context_and_others_do_not() -> None:
    def scene(number: int, **kwargs: Any) -> tuple[HumanoidScene, Any]:
        env = HumanoidScene(render_size=SIZE, **kwargs)
        env.reset(seed=0)
        move(env, number)
        return env, env.render()

    first, alone = scene(1)
    second, other = scene(2)
    third, plain = scene(1, look="original")
    contexts = [env._renderer._context for env in (first, second, third)]  # type: ignore[union-attr]
    assert contexts[0] is contexts[1]
    assert contexts[0] is not contexts[2]
    assert (alone != other).any()
    assert (alone != plain).any()
    np.testing.assert_array_equal(first.render(), alone)
    first.close()
    np.testing.assert_array_equal(second.render(), other)
    for env in (second, third):
        env.close()
