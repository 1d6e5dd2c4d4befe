"""What holds for every built-in task; a new file in `tasks/` is tested by being there.

Every task is made and played for a few steps. The rest is asked of one task of each world, as what tasks of one world
do not share, sentence and rule of success, is none of it.
"""

import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from each_world import ONE_OF_EACH_WORLD
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import gym_vlmrm  # registers the tasks
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS, cut_prompts, unknown_words
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.homes import EMBEDDED_MODELS
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.scene import SCENES

TASKS = builtin_tasks()
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
every_world = pytest.mark.parametrize("task", ONE_OF_EACH_WORLD.values(), ids=ONE_OF_EACH_WORLD.keys())
models = pytest.mark.parametrize("model", ["brightness", pytest.param("embedded", marks=pytest.mark.slow)])
assert gym_vlmrm.__all__


def model_of(task: TaskSpec, model: str = "brightness") -> str:
    """Motions are seen by models of films alone, of which the embedded one is the cheapest."""
    return "embedded" if task.reward.sees_films else model


def make(task: TaskSpec, *, model: str = "brightness", **changes: Any) -> gym.Env[Any, Any]:
    return gym.make(task.id, **{"model": model_of(task, model), "device": "cpu", **changes})


def play(env: gym.Env[Any, Any], steps: int = 5) -> Iterator[tuple[Any, ...]]:
    """Play a fixed sequence of actions from a fixed seed; yields observation, reward, frame and info."""
    env.action_space.seed(7)
    yield env.reset(seed=3)
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        yield observation, reward, terminated, truncated, info, env.render()


def same(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, tuple):
        for a, b in zip(left, right, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(left, right)


def frame(env: gym.Env[Any, Any]) -> NDArray[np.int64]:
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    return picture.astype(np.int64)


@every_task
def test_words(task: TaskSpec) -> None:
    assert re.fullmatch(r"VLMRM/[A-Z][A-Za-z]+-[A-Z][A-Za-z]+-v\d+", task.id)
    assert task.source
    assert task.description.endswith(".")
    assert task.reward.baseline
    assert task.success_rule is not None
    assert "default" in task.training
    if "2310.12921" in task.source:  # a task of the paper has its settings
        assert "paper" in task.training


@every_task
def test_the_embedded_model_knows_the_prompts(task: TaskSpec) -> None:
    if task.reward.model not in EMBEDDED_FOLDERS:
        pytest.skip(f"judged by {task.reward.model}")
    for part in task.reward.all_parts:
        sentences = [*part.goals, *part.baselines]
        assert unknown_words(part.model, sentences, motion=part.sees_films) == []
        assert part.sees_films or cut_prompts(part.model, sentences) == {}


@every_task
def test_a_world_without_a_scene_says_what_is_seen_when(task: TaskSpec) -> None:
    """The embedded model of such a world was taught nothing else, so it must have heard of goal and baseline there."""
    if task.env.id in SCENES:
        pytest.skip("a scene has captions of its own")
    said = {sentence for caption in task.captions for sentence in caption.sentences}
    assert {*task.reward.goals, *task.reward.baselines} <= said
    assert task.env.id in EMBEDDED_MODELS[task.reward.model]


@every_task
def test_it_is_made_and_played(task: TaskSpec) -> None:
    env = make(task)
    assert env.spec is not None
    assert env.spec.id == task.id
    observation, info = env.reset(seed=3)
    env.action_space.seed(7)
    for _ in range(3):
        assert env.observation_space.contains(observation)
        assert type(info["success"]) is np.bool_
        assert type(info["task_reward"]) is np.float64
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        assert not terminated
        assert not truncated
    env.close()


def test_every_scene_is_played_by_a_task() -> None:
    played = {task.env.id for task in ONE_OF_EACH_WORLD.values()}
    assert {task.env.id for task in TASKS.values() if task.env.id in SCENES} < played
    assert {"cartpole", "mountain-car", "cheetah-back", "pendulum-hanging"} < set(ONE_OF_EACH_WORLD)


@every_world
@models
def test_gymnasiums_checker(task: TaskSpec, model: str) -> None:
    env = make(task, model=model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version")  # so it must be
        # Actions beyond -1 to 1 are the base environment's (Pendulum's torque), and so are observations without bounds.
        warnings.filterwarnings("ignore", message=r".*For Box action spaces, we recommend")
        warnings.filterwarnings("ignore", message=r".*A Box observation space (minimum|maximum) value is.*infinity")
        check_env(env, skip_render_check=True)
    env.close()


@every_world
def test_stable_baselines_checker(task: TaskSpec) -> None:
    from stable_baselines3.common.env_checker import check_env as check

    env = make(task)
    with warnings.catch_warnings():
        # The humanoid's actions go from -0.4 to 0.4; that is Gymnasium's choice.
        warnings.filterwarnings("ignore", message=r".*symmetric and normalized Box action space")
        check(env, skip_render_check=True)
    env.close()


@every_world
@models
def test_equal_seeds_give_equal_trajectories_and_rewards(task: TaskSpec, model: str) -> None:
    left, right = make(task, model=model), make(task, model=model)
    for a, b in zip(play(left), play(right), strict=True):
        same(a, b)
    for a, b in zip(play(left), play(right), strict=True):  # and again, after an episode
        same(a, b)
    left.close()
    right.close()


@every_world
def test_the_specification_makes_the_environment_again(task: TaskSpec) -> None:
    env = make(task, alpha=0.5, render_size=40, max_episode_steps=9)
    assert env.spec is not None
    text = env.spec.to_json()
    copies = [gym.make(env.spec), gym.make(EnvSpec.from_json(text)), pickle.loads(pickle.dumps(env))]
    played = list(play(env, 3))
    for copy in copies:
        assert copy.spec is not None
        assert copy.spec.to_json() == text
        for a, b in zip(played, play(copy, 3), strict=True):
            same(a, b)
        copy.close()
    env.close()


@every_world
def test_underneath_is_gymnasiums_environment(task: TaskSpec) -> None:
    env, plain = make(task), gym.make(task.env.id)
    assert isinstance(env.unwrapped, type(plain.unwrapped))
    assert isinstance(env.get_wrapper_attr("reward_model"), RewardModel)
    assert env.action_space == plain.action_space
    plain.close()
    env.close()


@every_world
def test_the_time_limit_truncates_and_nothing_terminates(task: TaskSpec) -> None:
    env = make(task, reward="task", max_episode_steps=60 if task.env.id == "Humanoid-v5" else None)
    env.action_space.seed(0)
    _, first = env.reset(seed=0)
    assert (type(first["success"]), type(first["task_reward"])) == (np.bool_, np.float64)
    limit = env.spec.max_episode_steps if env.spec else None
    assert limit is not None
    for step in range(1, limit + 1):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert not terminated
        assert truncated == (step == limit)
        assert type(info["success"]) is np.bool_
        assert type(info["task_reward"]) is np.float64
        assert info.keys() == first.keys()
        assert all(isinstance(value, np.generic | np.ndarray) for value in info.values())
    env.close()


@every_world
@pytest.mark.parametrize("push", ["random", "steady"])
def test_observations_stay_in_their_space_for_whole_episodes(task: TaskSpec, push: str) -> None:
    """A steady push leads out of bounds where there are any; Gymnasium's checker looks at the first step alone."""
    env = make(task, reward="task")
    env.action_space.seed(0)
    action = env.action_space.sample()
    observation, _ = env.reset(seed=0)
    truncated = False
    while not truncated:
        assert env.observation_space.contains(observation)
        observation, _, _, truncated, _ = env.step(action if push == "steady" else env.action_space.sample())
    assert env.observation_space.contains(observation)
    env.close()


@every_world
def test_the_frame_shows_the_state(task: TaskSpec) -> None:
    env = make(task, render_size=64)
    env.reset(seed=0)
    before = frame(env)
    assert before.shape == (64, 64, 3)
    np.testing.assert_array_equal(frame(env), before)  # looking changes nothing
    env.action_space.seed(0)
    for _ in range(15):
        env.step(env.action_space.sample())
    assert np.abs(frame(env) - before).max() > 20
    env.reset(seed=0)
    np.testing.assert_array_equal(frame(env), before)
    env.close()


@every_world
def test_textured_differs_from_original(task: TaskSpec) -> None:
    if task.env.id not in SCENES:
        pytest.skip("drawn as the environment draws itself, whatever the look")
    looks = [make(task, scene=scene, render_size=64) for scene in ("textured", "original")]
    pictures = []
    for env in looks:
        env.reset(seed=0)
        pictures.append(frame(env))
    assert np.abs(pictures[0] - pictures[1]).mean() > 10
    observations = [env.step(env.action_space.sample() * 0)[0] for env in looks]
    np.testing.assert_array_equal(*observations)  # the physics are the same
    for env in looks:
        env.close()


@every_world
def test_the_reward_is_the_models_verdict_on_the_frame(task: TaskSpec) -> None:
    if task.reward.sees_films:
        pytest.skip("judged by windows: tests/test_motion.py")
    env = make(task)
    judge = env.get_wrapper_attr("reward_model")
    for _, reward, *_, picture in list(play(env))[1:]:
        assert reward == pytest.approx(float(judge(picture[None])[0]), abs=1e-6)
    env.close()


@every_world
@models
def test_single_equals_vector(task: TaskSpec, model: str) -> None:
    settings = {"model": model_of(task, model), "device": "cpu", "max_episode_steps": 4}
    envs = gym.make_vec(task.id, num_envs=2, workers=2, **settings)
    alone = [gym.make(task.id, **settings) for _ in range(2)]
    envs.action_space.seed(5)
    observations, _ = envs.reset(seed=11)
    for index, env in enumerate(alone):
        np.testing.assert_array_equal(observations[index], env.reset(seed=11 + index)[0])
    for step in range(7):
        actions = envs.action_space.sample()
        observations, rewards, _, truncations, infos = envs.step(actions)
        for index, env in enumerate(alone):
            if step == 4:  # the step after the end resets
                observation, info = env.reset()
                reward, truncated = 0.0, False
            else:
                observation, reward, _, truncated, info = env.step(actions[index])
            assert infos["task_reward"][index] == info["task_reward"]
            assert infos["success"][index] == info["success"]
            assert infos["success"].dtype == np.bool_
            assert infos["_task_reward"].all()
            assert infos["_success"].all()
            np.testing.assert_array_equal(observations[index], observation)
            assert rewards[index] == pytest.approx(reward, abs=1e-6)
            assert truncations[index] == truncated
    envs.close()
    for env in alone:
        env.close()
