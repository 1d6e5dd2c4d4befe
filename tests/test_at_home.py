"""What other libraries and Gymnasium's own wrappers ask of these environments."""

import copy
import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

import gym_vlmrm
from gym_vlmrm.errors import RenderingError, ResetNeededError, UnknownArgumentError, VLMRMError

CARTPOLE, KNEELING, CAR = "VLMRM/CartPole-Balance-v0", "VLMRM/Humanoid-Kneeling-v0", "VLMRM/MountainCar-Summit-v0"
INFOS = {"task_reward": np.float64, "success": np.bool_}


def vector(task: str = CARTPOLE, **changes: Any) -> Any:
    return gym.make_vec(task, **{"num_envs": 3, "workers": 2, "model": "brightness", "render_size": 32, **changes})


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_keyword_is_a_type_error_in_one_line(make: Any) -> None:
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'") as raised:  # TorchRL's words
        make(CARTPOLE, model="brightness", frameskip=2)
    assert isinstance(raised.value, UnknownArgumentError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_autoreset_mode_is_taken_in_every_spelling(mode: AutoresetMode) -> None:
    for spelling in (mode, mode.value, mode.name):
        envs = vector(workers=1, autoreset_mode=spelling)
        tells_its_mode(envs, mode)
        envs.close()


def tells_its_mode(envs: Any, mode: AutoresetMode) -> None:
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is envs.unwrapped.autoreset_mode is mode


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reward", ["vlm", "task"])
def test_actions_for_other_many_environments_are_refused_and_nothing_is_done(workers: int, reward: str) -> None:
    envs = vector(workers=workers, reward=reward)
    envs.reset(seed=0)
    for wrong in (np.zeros(2, int), np.zeros(4, int), [], None, 1):
        with pytest.raises(ValueError, match=r"actions must be a batch of 3, one per environment; got"):
            envs.step(wrong)
    fresh = vector(workers=1, reward=reward)
    fresh.reset(seed=0)
    for own, other in zip(envs.step(np.zeros(3, int))[:4], fresh.step(np.zeros(3, int))[:4], strict=True):
        np.testing.assert_array_equal(own, other)
    envs.close()
    fresh.close()


def test_who_resets_nothing_is_told_so_and_can_go_on() -> None:
    envs = vector(workers=1, autoreset_mode="Disabled", max_episode_steps=1)
    envs.reset(seed=0)
    ended = envs.step(np.zeros(3, int))[3]
    with pytest.raises(ResetNeededError, match=r"environments \[0, 1, 2\] have ended, and the autoreset"):
        envs.step(np.zeros(3, int))
    envs.reset(options={"reset_mask": ended})
    envs.step(np.zeros(3, int))
    envs.close()


@pytest.mark.parametrize(
    "changes", [{"autoreset_mode": "SameStap"}, {"autoreset_mode": 3}, {"num_envs": 0}, {"workers": "2"}]
)
def test_wrong_arguments_of_make_vec_are_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(VLMRMError) as raised:
        vector(**changes)
    assert isinstance(raised.value, ValueError)
    assert str(next(iter(changes.values()))) in str(raised.value)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_infos_have_the_same_keys_and_types_always(mode: AutoresetMode, workers: int) -> None:
    envs = vector(workers=workers, autoreset_mode=mode.name, max_episode_steps=3)
    tells_its_mode(envs, mode)
    _, first = envs.reset(seed=0)
    for step in range(1, 9):
        _, _, _, ended, infos = envs.step(np.zeros(3, int))
        for name, kind in INFOS.items():
            for told in (first, infos, *([infos["final_info"]] if "final_info" in infos else [])):
                assert told[name].dtype == kind
                assert told[name].shape == (3,)
                assert told[f"_{name}"].all()
        assert first.keys() == infos.keys() - {"final_info", "_final_info", "final_obs", "_final_obs"}
        if mode is AutoresetMode.SAME_STEP:
            assert ("final_info" in infos) == ended.all() == (step % 3 == 0)
            assert (infos["task_reward"] == (0.0 if ended.all() else 1.0)).all()
        if mode is AutoresetMode.DISABLED and ended.all():
            _, infos = envs.reset(options={"reset_mask": np.array([True, False, True])})
            assert infos["_success"].tolist() == [True, False, True]
            envs.reset(options={"reset_mask": np.array([False, True, False])})
    envs.close()


def test_success_after_a_reset_is_that_of_the_first_state() -> None:
    env = gym.make(CARTPOLE, model="brightness")
    assert env.reset(seed=0)[1] == {"task_reward": 0.0, "success": True}
    assert not gym.make(CAR, model="brightness").reset(seed=0)[1]["success"]
    task = gym_vlmrm.load_task("cartpole").model_copy(update={"id": "Test/Info-v0", "success": "info.task_reward > -1"})
    gym_vlmrm.register_task(task)
    env = gym.make("Test/Info-v0", model="brightness")
    assert not env.reset(seed=0)[1]["success"]  # it judges a step, and there was none
    assert env.step(0)[4]["success"]
    del gym.registry["Test/Info-v0"]


@pytest.mark.parametrize("workers", [1, 2])
def test_attributes_of_the_environments(workers: int) -> None:
    envs = vector(workers=workers)
    envs.reset(seed=0)
    assert envs.call("render")[2].shape == (32, 32, 3)
    assert envs.get_attr("gravity") == (9.8,) * 3
    envs.set_attr("gravity", 1.0)
    envs.set_attr("length", [0.1, 0.2, 0.3])
    assert (envs.get_attr("gravity"), envs.get_attr("length")) == ((1.0,) * 3, (0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"2\W+values"):
        envs.set_attr("length", [0.1, 0.2])
    state = gym.make(CARTPOLE, model="brightness").observation_space
    assert envs.unwrapped.single_observation_space == state == envs.get_attr("observation_space")[1]
    assert envs.unwrapped.single_action_space == gym.spaces.Discrete(2)
    assert envs.unwrapped.observation_space.shape == (3, 4)
    assert envs.spec.id == envs.unwrapped.spec.id == CARTPOLE
    envs.close()


WRAPPED: dict[str, Any] = {
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "TransformReward": lambda envs: wrappers.TransformReward(envs, lambda rewards: rewards * 2),
    "ClipReward": lambda envs: wrappers.ClipReward(envs, 0.0, 0.1),
    "FlattenObservation": wrappers.FlattenObservation,
    "DtypeObservation": lambda envs: wrappers.DtypeObservation(envs, np.float64),
    "DictInfoToList": wrappers.DictInfoToList,
}


@pytest.mark.parametrize("name", WRAPPED)
def test_gymnasiums_vector_wrappers(name: str) -> None:
    plain = vector(max_episode_steps=3, workers=1)
    envs = WRAPPED[name](vector(max_episode_steps=3, workers=1))
    plain.reset(seed=0)
    observations, _ = envs.reset(seed=0)
    rewards = []
    for _ in range(4):
        observations, reward, _, ended, infos = envs.step(np.zeros(3, int))
        rewards.append((reward, plain.step(np.zeros(3, int))[1]))
        if name == "RecordEpisodeStatistics" and ended.all():
            np.testing.assert_allclose(infos["episode"]["r"], sum(pair[1] for pair in rewards), rtol=1e-5)
    assert observations.shape == (3, 4)
    if name == "TransformReward":
        np.testing.assert_allclose(rewards[0][0], 2 * rewards[0][1])
    if name == "DictInfoToList":
        assert infos[0].keys() == INFOS.keys()
    assert envs.unwrapped.single_observation_space.shape == (4,)
    envs.close()
    plain.close()


def test_a_window_shows_all_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VLMRMError, match="'rgb_array' or 'human', got 'ansi'"):
        vector(render_mode="ansi")
    if importlib.util.find_spec("cv2") is None:
        with pytest.raises(RenderingError, match="opencv"):
            vector(render_mode="human")
        return
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    envs = vector(render_mode="human", workers=1)
    assert isinstance(envs, wrappers.HumanRendering)
    assert envs.render_mode == "human"
    envs.reset(seed=0)
    envs.step(np.zeros(3, int))
    envs.close()


def test_videos_of_a_vector_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moviepy")
    envs = wrappers.RecordVideo(
        vector(max_episode_steps=3, workers=1), str(tmp_path / "films"), episode_trigger=lambda number: number == 0
    )
    envs.reset(seed=0)
    for _ in range(5):
        envs.step(np.zeros(3, int))
    envs.close()
    assert list((tmp_path / "films").glob("*.mp4"))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("task", [CARTPOLE, KNEELING, CAR])
def test_a_copy_goes_on_where_the_original_is(task: str, how: Any) -> None:
    env = gym.make(task, model="brightness", render_size=32, max_episode_steps=6)
    env.action_space.seed(2)
    env.reset(seed=1)
    for _ in range(3):
        env.step(env.action_space.sample())
    other = how(env)
    np.testing.assert_array_equal(env.render(), other.render())
    for _ in range(3):
        action = env.action_space.sample()
        np.testing.assert_array_equal(action, other.action_space.sample())
        left, right = env.step(action), other.step(action)
        np.testing.assert_array_equal(left[0], right[0])
        assert left[1:4] == right[1:4]
    assert left[3]  # the time limit too
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])
    assert gym.make(other.spec).spec == env.spec


class Stranger(gym.Env[Any, Any]):
    """Keeps a state that nobody outside can tell."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.ones(1, np.float32), 0.0, False, False, {}

    def render(self) -> Any:
        return np.full((32, 32, 3), 100, np.uint8)


def test_a_copy_that_lost_its_state_refuses_to_go_on() -> None:
    task = gym_vlmrm.load_task("cartpole")
    judge = {"goal": "a", "model": "brightness"}
    gym.register("Tests/Closed-v0", "test_at_home:Stranger")
    data = {"id": "Test/Stranger-v0", "env": {"id": "Tests/Closed-v0"}, "reward": judge}
    gym_vlmrm.register_task(type(task).model_validate(data))
    env = gym.make("Test/Stranger-v0")
    env.reset(seed=0)
    for how in (copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))):
        other = how(env)
        for use in (lambda other=other: other.step(0), other.render):
            with pytest.raises(ResetNeededError, match=r"cannot be copied.*reset") as raised:
                use()
            assert "\n" not in str(raised.value)
        other.reset(seed=0)
        other.step(0)
    env.step(0)
    del gym.registry["Test/Stranger-v0"]


def test_a_vector_environment_over_processes_is_not_copied() -> None:
    envs = vector()
    for how in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            how(envs)
    envs.close()


def test_a_vector_environment_in_one_process_is_copied_whole() -> None:
    envs = vector(workers=1)
    envs.reset(seed=0)
    envs.step(np.zeros(3, int))
    other = copy.deepcopy(envs)
    for left, right in zip(envs.step(np.ones(3, int))[:4], other.step(np.ones(3, int))[:4], strict=True):
        np.testing.assert_array_equal(left, right)
    envs.close()
    other.close()


def say(texts: tuple[str, str]) -> tuple[bool, ...]:
    from gym_vlmrm.reward.notices import first_to_say

    return tuple(map(first_to_say, texts))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_of_many_workers_one_gives_a_notice(method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        said = pool.map(say, [(method, f"{method} {number}") for number in range(12)], chunksize=1)
        assert sum(first for first, _ in said) > 0
        assert all(own for _, own in said)
        texts = (f"{method} both", f"{method} each")
        assert say(texts) == (True, True)
        assert pool.map(say, [texts] * 2, chunksize=1) == [(False, False)] * 2


LEFT_OPEN = """
import builtins, sys
import gymnasium as gym, gym_vlmrm
if __name__ == "__main__":
    options = {"model": "brightness", "render_size": 32}
    envs = [
        gym.make("VLMRM/Humanoid-Kneeling-v0", **options),
        gym.make("VLMRM/CartPole-Balance-v0", share_model=True, **options),
        gym.make_vec("VLMRM/CartPole-Balance-v0", num_envs=2, workers=2, **options),
    ]
    for env in envs:
        env.reset(seed=0)
        env.step(env.action_space.sample())
    builtins.left = envs  # freed when modules are empty already
    del env, envs
    print("end")
"""


def test_environments_that_nobody_closed_end_without_a_word(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LEFT_OPEN)
    surroundings = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True, env=surroundings
    )
    assert (ended.stdout, ended.stderr) == ("end\n", "")
