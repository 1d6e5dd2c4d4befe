"""What a stranger's environment answers: what numpy would take is taken, the rest is one line that names it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import strangers

from gym_vlmrm.reward.clip import towers  # isort: skip  # noqa: F401  (loads triton apart from Mesa)
import gym_vlmrm
from gym_vlmrm.errors import TrainingError, VLMRMError, WorldError
from gym_vlmrm.learning import evaluate, resume, train
from gym_vlmrm.learning.adapter import Adapter
from gym_vlmrm.learning.check import check_task
from gym_vlmrm.learning.checkpoint_spaces import space_from_json, space_to_json
from gym_vlmrm.learning.inspection import inspect_recipe, inspect_world
from gym_vlmrm.learning.policy import load_policy
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.answers import misfit, yes_or_no
from gym_vlmrm.worlds.world import make_world, make_worlds

NAME = "'strangers:Odd-v0'"


def task(**kwargs: Any) -> TaskSpec:
    env = {"id": "strangers:Odd-v0", "kwargs": kwargs}
    return TaskSpec.model_validate({"id": "Test/Odd-v0", "env": env, "reward": {"goal": "a", "model": "brightness"}})


def recipe(algorithm: str = "PPO", **written: Any) -> Recipe:
    hyperparameters = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, **written}
    return Recipe(algorithm=algorithm, steps=32, num_envs=2, hyperparameters=hyperparameters)


def one_line(raised: pytest.ExceptionInfo[VLMRMError], name: str = NAME) -> None:
    assert "\n" not in str(raised.value)
    assert name.strip("'").removeprefix("strangers:") in str(raised.value)


MISFITS = [
    ("Box", "None", "it is None and not float32 of shape"),
    ("Box", "word", "it is 'hello' and not float32"),
    ("Box", "shape", r"it is float32 of shape \(3,\) and not float32 of shape \(2,\)"),
    ("Box", "ragged", r"it is \[\[0.1\], \[0.1, 0.2\]\] and not float32"),
    ("Box", "complex", "it is complex128 of shape"),
    ("Box", "masked", "with masked numbers"),
    ("Box", "key", "it is {.* and not float32"),
    ("Dict", "None", "it is None and not a dict"),
    ("Dict", "key", "it lacks 'b'"),
    ("Dict", "part", r"\['a'\] is float32 of shape \(2, 1\)"),
    ("Dict", "fraction", r"\['b'\] is float64 of shape \(\) and not int64"),
    ("Tuple", "short", r"it is \(1,\) and not a tuple of 2"),
    ("Tuple", "None", "not a tuple of 2"),
]


@pytest.mark.parametrize(("space", "odd", "words"), MISFITS)
def test_an_observation_that_stops_fitting_is_one_line(space: str, odd: str, words: str) -> None:
    world = make_world(task(space=space, observation=odd), render_size=16)
    world.reset(seed=0)
    for _ in range(3):
        world.step(0)
    with pytest.raises(WorldError, match=f"{NAME} gives an observation that does not fit .*{words}") as raised:
        world.step(0)
    one_line(raised)
    with pytest.raises(WorldError, match=words):
        make_world(task(space=space, observation=odd, at=0), render_size=16).reset(seed=0)


@pytest.mark.parametrize(
    ("space", "odd", "workers"),
    [("Box", "shape", 1), ("Dict", "key", 1), pytest.param("Dict", "key", 2, marks=pytest.mark.slow)],
)
def test_pools_and_training_say_so_too(tmp_path: Path, space: str, odd: str, workers: int) -> None:
    odd_task = task(space=space, observation=odd)
    envs = make_worlds(odd_task, 2, render_size=16, workers=workers)
    try:
        envs.reset(seed=0)
        for _ in range(3):
            envs.step(np.zeros(2, int))
        with pytest.raises(WorldError, match=f"{NAME} gives an observation that does not fit") as raised:
            envs.step(np.zeros(2, int))
        one_line(raised)
    finally:
        envs.close()
    with pytest.raises(WorldError, match=f"{NAME} gives an observation that does not fit"):
        train(odd_task, recipe(), output=tmp_path / "run", workers=workers)


@pytest.mark.parametrize(("space", "odd"), [("Box", "list"), ("Box", "floats"), ("Dict", "more keys")])
def test_what_numpy_takes_trains_and_evaluates(tmp_path: Path, space: str, odd: str) -> None:
    run = train(task(space=space, observation=odd), recipe(), output=tmp_path / "run", workers=1).run
    evaluate(run, episodes=1, workers=1, video=False)


def test_bounds_and_spaces_that_nobody_reads_are_not_looked_into() -> None:
    assert misfit(strangers.SPACES["Box"], np.array([7, np.nan], np.float32)) is None
    assert misfit(gym.spaces.Sequence(gym.spaces.Discrete(2)), (1, 1)) is None
    assert misfit(gym.spaces.Text(3), "longer") is None
    assert misfit(gym.spaces.Text(3), 3) == "it is 3 and not a text"


@pytest.mark.parametrize("ended", ["arrays", "lists", "numpy", "numbers"])
def test_ends_become_truths(tmp_path: Path, ended: str) -> None:
    world = make_world(task(ended=ended), render_size=16)
    world.reset(seed=0)
    ends = [world.step(0)[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]
    assert {type(end) for pair in ends for end in pair} == {bool}
    masked = make_worlds(task(ended=ended, masks="numbers"), 2, render_size=16, verdicts=True, workers=1)
    masked.reset(seed=0)
    masks = [masked.step(np.zeros(2, int))[4]["action_mask"] for _ in range(4)]
    np.testing.assert_array_equal(masks, [[[True, False]] * 2] * 3 + [[[True, True]] * 2])
    masked.close()


@pytest.mark.parametrize("ended", ["words", "two", "None", "count"])
def test_ends_that_are_no_truths_are_one_line(tmp_path: Path, ended: str) -> None:
    words = f"environment {NAME} says (terminated|truncated) = .*which is not one True or False"
    world = make_world(task(ended=ended), render_size=16)
    world.reset(seed=0)
    with pytest.raises(WorldError, match=words) as raised:
        world.step(0)
    one_line(raised)
    with pytest.raises(WorldError, match=words):
        train(task(ended=ended), recipe(), output=tmp_path / "run", workers=1)
    path = tmp_path / "mine.yaml"
    path.write_text(
        "id: Test/O-v0\nreward: {goal: a, model: brightness}\n"
        f"env: {{id: 'strangers:Odd-v0', kwargs: {{ended: '{ended}'}}}}\n"
    )
    (problem,) = check_task(str(path)).problems
    assert "says t" in problem


def test_masked_numbers_are_no_truth_and_no_reward() -> None:
    assert yes_or_no(np.ma.masked_array([1], [True])) is None
    env = make_world(task(), render_size=16)
    env.unwrapped.reward = np.ma.masked_array([0.5], [True])  # type: ignore[attr-defined]
    env.reset(seed=0)
    with pytest.raises(WorldError, match="not one number"):
        env.step(0)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ("array", "is ndarray and not a method"),
        ("raises", r"failed when it was asked for action_masks\(\): RuntimeError: no masks"),
        ("partial", r"failed when it was asked for action_masks\(\): RuntimeError: no masks"),
        ("dict", "is {'a': 1, 'b': 2}; 2 values"),
        ("None", "is None; 2 values"),
        ("long", "has 3 values; 2 values"),
        ("words", r"is \['True', 'False'\]; 2 values"),
        ("logits", r"is \[0.0, -inf\]; 2 values"),
    ],
)
@pytest.mark.parametrize("algorithm", ["PPO", "MaskablePPO"])
def test_masks_that_are_none_are_one_line(tmp_path: Path, masks: str, words: str, algorithm: str) -> None:
    with pytest.raises(VLMRMError, match=words) as raised:
        inspect_world(task(masks=masks), draw=True)
    one_line(raised)
    with pytest.raises(VLMRMError, match=words) as raised:
        train(task(masks=masks), recipe(algorithm), output=tmp_path / "run", workers=1)
    one_line(raised)


def test_a_property_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers.Odd, "action_masks", property(lambda self: strangers._refuse()), raising=False)
    with pytest.raises(WorldError, match="failed when it was asked for action_masks: RuntimeError") as raised:
        inspect_world(task(), draw=True)
    one_line(raised)


@pytest.mark.parametrize("space", ["no Tuple", "no Dict", "no Box", "nothing deep", "some nothing"])
def test_an_observation_of_nothing_is_one_line(tmp_path: Path, space: str) -> None:
    with pytest.raises(
        TrainingError,
        match=rf"observation(\[.*\])? of {NAME} is .*empty.*; (a policy must read something|policies read numbers)",
    ) as raised:
        inspect_recipe(recipe(), inspect_world(task(space=space), draw=True))
    one_line(raised)
    with pytest.raises(TrainingError, match=r"must read something|read numbers"):
        train(task(space=space), recipe(), output=tmp_path / "run", workers=1)


@pytest.mark.parametrize("space", ["odd keys", "numbered", "mixed keys"])
def test_any_keys_train_evaluate_and_go_on(tmp_path: Path, space: str) -> None:
    odd_task = task(space=space)
    scaled = recipe().model_copy(update={"normalize_observation": True})
    run = train(odd_task, scaled, output=tmp_path / "run", workers=1).run
    evaluate(run, episodes=1, workers=1, video=False)
    assert resume(run.path, steps=48, workers=1).step >= 48
    own = strangers.SPACES[space]
    assert space_from_json(space_to_json(own)) == own
    policy = load_policy(run)
    assert policy.observation_space == own
    policy.predict(own.sample())
    with pytest.raises(TrainingError, match="no observation"):
        policy.predict({1: 2, "x": 3})


def test_keys_that_a_policy_can_read_stay() -> None:
    plain = gym.spaces.Dict({key: gym.spaces.Discrete(2) for key in ("a b", "a-b", "ä", "a")})
    adapter = Adapter(plain, gym.spaces.Discrete(2))
    assert set(adapter.observation_space) == set(plain)  # type: ignore[call-overload]
    clash = gym.spaces.Dict({key: gym.spaces.Discrete(2) for key in ("a.b", "'a%2Eb'")})
    assert len(set(Adapter(clash, gym.spaces.Discrete(2)).observation_space)) == 2  # type: ignore[call-overload]
    with pytest.raises(TrainingError, match=r"observation of 'X' has a key \(1, 2\) of tuple"):
        Adapter(strangers.SPACES["keys of tuples"], gym.spaces.Discrete(2), "X")


@pytest.mark.parametrize(
    ("space", "odd", "where"),
    [("MultiBinary", "fives", ""), ("Tuple", "deep fives", r"\[1\]"), ("Tuple", "deep seven", r"\[0\]")],
)
def test_choices_outside_their_space_are_one_line(tmp_path: Path, space: str, odd: str, where: str) -> None:
    with pytest.raises(TrainingError, match=f"{NAME} gives an observation{where} outside its space") as raised:
        train(task(space=space, observation=odd), recipe(), output=tmp_path / "run", workers=1)
    one_line(raised)


def test_a_registered_task_says_the_same() -> None:
    odd_task = task(observation="word")
    gym_vlmrm.register_task(odd_task)
    try:
        env = gym.make(odd_task.id, disable_env_checker=True)
        env.reset(seed=0)
        for _ in range(3):
            env.step(0)
        with pytest.raises(WorldError, match="does not fit its observation space"):
            env.step(0)
    finally:
        del gym.registry[odd_task.id]
