"""Several cameras of a scene: what they see, what is drawn once, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from angles import AngleWorld, Colours

from gym_vlmrm import load_reward_model, load_task, register_task
from gym_vlmrm.auditing.prompts import PromptTrial, rank_prompts
from gym_vlmrm.entry_points import make_env
from gym_vlmrm.errors import ModelError, TaskError
from gym_vlmrm.learning.check import check_task
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import RewardSpec, SceneSpec, TaskSpec
from gym_vlmrm.worlds.cameras import take_pictures
from gym_vlmrm.worlds.world import make_world
from gym_vlmrm.wrappers import VLMReward

PARTS = [
    {"name": "two", "goal": "light", "cameras": ["side", "main"], "views": "min"},
    {"name": "one", "goal": "light", "cameras": "side"},
    {"name": "turn", "goal": "light", "cameras": ["main", "side"], "views": "turn"},
]


def task(env_id: str = "Humanoid-v5", scene: Any = None, **reward: Any) -> TaskSpec:
    cameras = {"cameras": {"side": {"azimuth": 90}}} if scene is None else scene
    return task_from_dict({
        "id": "Test/Cameras-v0", "env": {"id": env_id, "max_episode_steps": 5}, "scene": cameras,
        "reward": {"model": "brightness", "parts": PARTS, **reward},
    })  # fmt: skip


@pytest.mark.parametrize("env_id", ["Humanoid-v5", "InvertedPendulum-v5"])
def test_cameras_see_what_they_would_see_alone(env_id: str) -> None:
    main = {"camera": {"distance": 3.0, "azimuth": 180.0}}
    several = task(env_id, {**main, "cameras": {"side": {"azimuth": 90.0}}})
    alone = [task_from_dict({"id": "Test/Cameras-v0", "env": {"id": env_id}, "reward": {"goal": "x"}, "scene": scene})
             for scene in (main, {"camera": {"distance": 3.0, "azimuth": 90.0}})]  # fmt: skip
    worlds = [make_world(spec, render_size=32) for spec in (several, *alone)]
    for world in worlds:
        world.reset(seed=3)
    pictures = take_pictures(worlds[0], several.reward.shots, turn=1)
    shown: list[Any] = [world.render() for world in worlds]
    assert several.reward.shots.slots == (("side",), ("main",), ("main", "side"))
    np.testing.assert_array_equal(pictures[0], shown[2])
    np.testing.assert_array_equal(pictures[1], shown[1])
    np.testing.assert_array_equal(pictures[2], shown[2])
    np.testing.assert_array_equal(shown[0], shown[1])
    assert (shown[1] != shown[2]).any()
    for world in worlds:
        world.close()


def test_a_picture_is_drawn_and_embedded_once_for_all_parts() -> None:
    parts = [
        {"goal": "x", "cameras": ["a", "b"]},
        {"avoid": "y", "cameras": "b"},
        {"goal": "z", "cameras": "b", "window": {"frames": 2}},
    ]
    spec = RewardSpec.model_validate({"model": "colours", "parts": parts})
    models = [Colours(goal) for goal in ((0, 0.6, 0.8), (1, 0, 0), (0, 1, 0))]
    eye = models[0].towers
    for model in models:
        model.towers = eye
    world = AngleWorld(0)
    env = VLMReward(world, PartsReward(spec, models))
    env.reset()
    drawn, asked = world.drawn, eye.asked
    env.step(0)
    assert world.drawn - drawn == 2
    assert eye.asked - asked == 2


def test_environments_of_a_task_with_cameras() -> None:
    spec = task()
    register_task(spec)
    try:
        env, envs = gym.make(spec.id), gym.make_vec(spec.id, num_envs=2)
        assert env.observation_space == envs.single_observation_space
        _, info = env.reset(seed=0)
        envs.reset(seed=0)
        names = ["two", "one", "turn"]
        assert list(info["reward_parts"]) == names
        for step in range(7):
            actions = np.full((2, 17), 0.1 * (step % 3), np.float32)
            _, rewards, terminations, truncations, infos = envs.step(actions)
            if step < 5:
                _, reward, *_, info = env.step(actions[0])
                assert reward == rewards[0]
                assert [infos["reward_parts"][name][0] for name in names] == list(info["reward_parts"].values())
                assert all(isinstance(value, np.float64) for value in info["reward_parts"].values())
            assert (terminations[0] or truncations[0]) == (step == 4)
        assert infos["_reward_parts"].all()
        env.close()
        envs.close()
    finally:
        gym.registry.pop(spec.id, None)


@pytest.mark.parametrize(
    ("env_id", "scene", "message"),
    [
        ("CartPole-v1", {"cameras": {"side": {}}}, "scene.cameras is for environments that MuJoCo draws"),
        ("InvertedPendulum-v5", {"cameras": {"side": {}}}, "need 'scene.camera:' too"),
        ("Humanoid-v5", {"look": "original", "cameras": {"side": {}}}, "need 'scene.camera:' too"),
        ("Humanoid-v5", {"cameras": {"side": {"name": "sid"}}}, "has no camera 'sid'"),
        ("Acrobot-v1", {"camera": {}, "cameras": {"side": {}}}, "scene.camera is for environments that"),
    ],
)
def test_cameras_that_do_not_fit_are_refused(env_id: str, scene: Any, message: str, tmp_path: Path) -> None:
    spec = task(env_id, scene)
    with pytest.raises(TaskError, match=message) as caught:
        make_world(spec, render_size=32)
    assert caught.value.field[0] == "scene"
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"id: {spec.id}\nenv: {{id: {env_id}, max_episode_steps: 5}}\nscene: {scene}\n"
        "reward: {goal: x, model: brightness, cameras: [main, side]}\n"
    )
    (problem,) = check_task(str(file)).problems
    assert problem.startswith(f"{file}:3: ")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"goal": "x", "cameras": ["main", "sid"]},
            r"reward.cameras: 'sid' is no camera of the scene; did you mean 'side'",
        ),
        ({"parts": [{"goal": "x", "cameras": "nowhere"}]}, r"reward.parts.0.cameras: 'nowhere' is no camera"),
        ({"goal": "x", "cameras": ["side", "side"]}, "names a camera twice"),
        ({"goal": "x", "views": "max"}, "'max' is for two cameras or more"),
        ({"parts": [{"goal": "x"}, {"goal": "y", "name": "part1"}]}, "two parts are called 'part1'"),
        ({"parts": [{"name": "x"}]}, "neither 'goal' nor 'avoid'"),
        ({"parts": [{"goal": "x", "avoid": "y"}]}, "both 'goal' and 'avoid'"),
        ({"parts": [{"goal": []}]}, "needs at least one sentence"),
        ({"parts": [{"goal": "x", "alpha": 0.5}]}, "alpha is 0.5 but there is no baseline prompt"),
        (
            {"parts": [{"goal": "x", "weight": -1}]},
            r"reward.parts.0.weight: input should be greater",
        ),
        ({"parts": []}, r"reward.goal: missing"),
        ({"parts": [{"goal": "x", "weight": 2}], "combine": "min"}, "parts of a min have no weights"),
        ({"parts": [{"goal": "x", "shape": "difference"}], "combine": "product"}, "a part of a product has no shape"),
        ({"goal": "x", "window": {"frames": 2, "join": "change"}}, "measured from the baseline prompt"),
        ({"goal": "x", "shape": {"kind": "difference", "gamma": 0.9}}, "gamma belongs to 'potential'"),
        ({"goal": "x", "shape": "sideways"}, "input should be 'potential' or 'difference'"),
        ({"parts": [{"goal": "x"}] * 17}, "at most 16 items"),
    ],
)
def test_rewards_that_make_no_sense_are_refused(written: Any, message: str) -> None:
    data = {
        "id": "Test/Wrong-v0", "env": {"id": "Humanoid-v5"}, "scene": {"cameras": {"side": {}}}, "reward": written,
    }  # fmt: skip
    with pytest.raises(TaskError, match=message):
        task_from_dict(data)


def test_what_is_left_out_of_a_camera_is_the_main_ones() -> None:
    scene = SceneSpec.model_validate({"camera": {"distance": 5.0}, "cameras": {"side": {"azimuth": 90.0}}})
    assert (scene.camera_of("side").distance, scene.camera_of("side").azimuth) == (5.0, 90.0)
    again = SceneSpec.model_validate(scene.model_dump())
    assert again.camera_of("side") == scene.camera_of("side")


def test_overrides_of_parts() -> None:
    spec = task(goal="whole", alpha=0.0)
    assert [part.model for part in override(spec, model="embedded").reward.all_parts] == ["embedded"] * 4
    assert override(spec, goal="other").reward.all_parts[0].goals == ("other",)
    assert override(spec, baseline="below", alpha=0.5).reward.all_parts[2].alpha == 0.5
    with pytest.raises(TaskError, match="has no goal to replace"):
        override(task(), goal="other")


def test_plain_rewards_stay_plain() -> None:
    for written in ({}, {"cameras": "main"}, {"views": "mean"}, {"window": {"frames": 1}}, {"combine": "sum"}):
        assert RewardSpec.model_validate({"goal": "x", **written}).plain, written
    for written in ({"avoid": "y"}, {"task": 0.1}, {"scale": 2.0}, {"cameras": "a"}, {"window": {}}, {"weight": 0.5}):
        assert not RewardSpec.model_validate({"goal": "x", **written}).plain, written
    assert "parts" not in load_task("kneeling").reward.model_dump()


def test_gamma_of_a_potential_is_the_algorithms(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    recipe = "training: {default: {algorithm: PPO, steps: 100, hyperparameters: {gamma: 0.95}}}\n"
    text = (
        "id: Test/Gamma-v0\nenv: {id: CartPole-v1}\nreward:\n  goal: x\n  model: brightness\n  task: 1\n"
        "  shape: {kind: potential, gamma: 0.9}\n"
    )
    file.write_text(text + recipe)
    (problem,) = check_task(str(file)).problems
    assert problem.startswith(f"{file}:7: recipe 'default': reward.shape.gamma is 0.9, but PPO trains here with 0.95")
    file.write_text(text.replace(", gamma: 0.9", "") + recipe)
    assert not check_task(str(file)).problems
    spec = load_task(file)
    assert make_env(spec.model_dump(mode="json")).reward_model.spec.shape.gamma == 0.95
    file.write_text(text.replace(", gamma: 0.9", ""))
    assert not check_task(str(file)).problems
    with pytest.raises(TaskError, match=r"reward.shape: only training knows the algorithm's gamma"):
        make_env(load_task(file).model_dump(mode="json"))
    assert make_env(load_task(file).model_dump(mode="json"), reward="task")


def test_a_reward_of_parts_can_be_copied_and_scores_frames_by_themselves() -> None:
    spec = override(task(), render_size=32)
    reward = load_reward_model(spec)
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    again = pickle.loads(pickle.dumps(reward))
    np.testing.assert_array_equal(reward(frames), again(frames))
    np.testing.assert_allclose(reward(frames), 3 * frames.mean(axis=(1, 2, 3)) / 255, rtol=1e-6)
    assert reward(frames[:0]).shape == (0,)
    with pytest.raises(ModelError, match="pictures of 3 cameras must be of shape"):
        reward.signals(frames)


def test_what_is_made_for_one_sentence_refuses_parts() -> None:
    with pytest.raises(TaskError, match="made of parts"):
        rank_prompts(task(), PromptTrial([], []))
