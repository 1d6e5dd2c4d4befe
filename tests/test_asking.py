"""Asking the judge less: what is asked is paid as the judge says, and a network answers for the rest."""

import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from traces import traces
from trainings import DQN, PPO, cartpole, load_changed, rows

from gym_vlmrm import load_task
from gym_vlmrm.entry_points import make_env, make_vec_env
from gym_vlmrm.errors import TaskError, TrainingError
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.asking import answers as answers_module
from gym_vlmrm.learning.asking.answers import Answers, Quotas
from gym_vlmrm.learning.asking.asked_rewards import flat_states
from gym_vlmrm.learning.asking.checks import LEAST
from gym_vlmrm.learning.asking.watch import FRAMES, ErrorWatch
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.run_page import report_run
from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import ContinuationSpec, Recipe, TaskSpec
from gym_vlmrm.worlds import kept as kept_module
from gym_vlmrm.worlds.kept import draw_kept, forget_kept
from gym_vlmrm.worlds.world import make_worlds

SMALL_WARM_UP = 16


def asking(share: float = 0.5, task: TaskSpec | None = None, **ask: Any) -> TaskSpec:
    task = task or cartpole()
    reward = {**task.reward.model_dump(exclude_unset=True), "ask": {"share": share, **ask}}
    return task_from_dict({**task.model_dump(exclude_unset=True), "reward": reward})


# ---- the section


def test_the_short_form_is_the_long_one() -> None:
    short = load_changed({"goal": "x", "ask": 0.05})
    assert short.reward.ask == AskSpec(share=0.05) == load_changed({"goal": "x", "ask": {"share": 0.05}}).reward.ask
    assert short.reward.plain
    assert short.reward.model_dump(mode="json", exclude_none=True)["ask"] == {"share": 0.05}


@pytest.mark.parametrize("ask", [0, -0.1, 1.5, True, "much", float("nan"), {"share": 0.1, "portion": 1}, {}, [0.1]])
def test_what_is_no_share_is_refused_in_one_line(ask: Any) -> None:
    with pytest.raises(TaskError) as found:
        load_changed({"goal": "x", "ask": ask})
    assert "\n" not in str(found.value)
    assert "ask" in str(found.value)


@pytest.mark.parametrize("more", [{"avoid": "y"}, {"task": 0.5}, {"window": {"frames": 2}}, {"scale": 2.0}])
def test_parts_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"one sentence and one picture only; leave 'ask' out"):
        load_changed({"goal": "x", "ask": 0.1, **more})


# ---- drawn later


@pytest.mark.parametrize(("name", "workers"), [("cartpole", 1), ("cartpole", 2), ("mountain-car", 1), ("kneeling", 1)])
def test_a_state_that_is_drawn_later_looks_as_it_did(name: str, workers: int) -> None:
    """Over ends of episodes too, and drawing changes nothing of what comes after."""
    task = override(load_task(name), max_episode_steps=5)
    options: Any = {"render_size": 32, "every": 2, "workers": workers, "autoreset_mode": "SameStep"}
    at_once, later = (make_worlds(task, 3, later=late, **options) for late in (False, True))
    try:
        at_once.reset(seed=3), later.reset(seed=3)
        at_once.action_space.seed(0)
        seen: list[list[Any]] = [[], [], []]
        for step in range(13):
            action = at_once.action_space.sample()
            one, other = at_once.step(action), later.step(action)
            np.testing.assert_array_equal(one[0]["state"], other[0]["state"])
            assert not other[0]["frame"].any()
            if step % 5 in (0, 2, 4):  # the fourth is the last of an episode
                for row in range(3):
                    ended = step % 5 == 4
                    seen[row].append(one[4]["final_obs"][row]["frame"] if ended else one[0]["frame"][row])
            if step == 8:
                pool: Any = later
                places = [list(range(len(seen[0]))), [0, 2], [1]]
                for row, drawn in enumerate(pool.apply(draw_kept, [0, 1, 2], places)):
                    np.testing.assert_array_equal(drawn, np.stack([seen[row][place] for place in places[row]]))
                    assert drawn.any()
                pool.apply(forget_kept, [0, 1, 2], [None] * 3)
                seen = [[], [], []]
        (drawn,) = pool.apply(draw_kept, [1], [[0]])
        np.testing.assert_array_equal(drawn[0], seen[1][0])
    finally:
        at_once.close(), later.close()


class Untold(gym.Env[Any, Any]):
    """A world that tells no state."""

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, False, {}

    def render(self) -> Any:
        return np.full((64, 64, 3), 99, np.uint8)


def test_a_world_without_a_state_is_refused(tmp_path: Path) -> None:
    gym.register("Untold-v0", Untold, max_episode_steps=5)
    try:
        task = TaskSpec(
            id="Any/Untold-v0", env={"id": "Untold-v0"}, reward={"goal": "x", "model": "brightness", "ask": 0.5}
        )  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match=r"the state of 'Untold-v0' cannot be stored, so its frames cannot"):
            train(task, PPO, output=tmp_path / "run", workers=1)
        assert not (tmp_path / "run").exists()
    finally:
        del gym.registry["Untold-v0"]


# ---- which states are asked


@given(share=st.floats(0.001, 1.0), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_shares_are_kept_over_rollouts(share: float, sizes: list[int]) -> None:
    quotas, asked = Quotas(share), 0
    for size in sizes:
        counts = quotas.of(size)
        assert min(counts) >= 0
        assert not size or counts[2] >= 1
        asked += sum(counts)
    assert asked <= share * sum(sizes) + sum(size > 0 for size in sizes)  # the most promising one each


@given(share=st.floats(0.01, 1.0), size=st.integers(1, 3000), rollouts=st.integers(1, 30))
def test_rollouts_that_are_long_enough_keep_the_share(share: float, size: int, rollouts: int) -> None:
    assume(share * size >= LEAST)
    quotas = Quotas(share)
    counts = np.array([quotas.of(size) for _ in range(rollouts)])
    assert counts.sum() == pytest.approx(share * size * rollouts, abs=1)
    assert abs(counts[:, 0].sum() - counts[:, 1].sum()) <= 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9),
    share=st.sampled_from([0.05, 0.2, 0.7, 1.0]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    lost=st.sets(st.integers(0, 59), max_size=20),
)
def test_the_asked_are_paid_as_the_judge_says_and_none_is_paid_more_unasked(
    seed: int, share: float, sizes: list[int], lost: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers_module, "WARM_UP", SMALL_WARM_UP)
        patch.setattr(answers_module, "UPDATES_PER_FRAME", 0.1)
        _check_what_is_paid(seed, share, sizes, lost)


def _check_what_is_paid(seed: int, share: float, sizes: list[int], lost: set[int]) -> None:
    random = np.random.default_rng(seed)
    answers = Answers(AskSpec(share=share), 3, seed)
    total = 0
    for size in sizes:
        states = random.normal(size=(size, 3)).astype(np.float32)
        truth = (states @ np.array([1.0, -2.0, 0.5])).astype(np.float32)
        askable = np.array([place not in lost for place in range(size)])
        drawn: list[int] = []

        def judge(places: Any, truth: Any = truth, drawn: list[int] = drawn) -> Any:
            drawn += places.tolist()
            return truth[places]

        rewards, places = answers(states, askable, judge)
        total += len(places)
        assert sorted(drawn) == sorted(places.tolist())
        assert len(set(drawn)) == len(drawn)
        assert askable[places].all()
        np.testing.assert_array_equal(rewards[places], truth[places])
        assert np.isfinite(rewards).all()
        if askable.any():
            assert len(places)
            assert rewards.max() == truth[places].max()  # the best of all is one that was asked
        if share == 1.0:
            np.testing.assert_array_equal(rewards[askable], truth[askable])
    assert answers.asked == total == len(answers.ensemble)


def test_the_network_learns_and_its_error_is_that_of_its_answers() -> None:
    """The estimate from a few frames asked at random agrees with the error over all frames, which nobody else knows."""
    random = np.random.default_rng(1)
    answers = Answers(AskSpec(share=0.1), 4, seed=1)

    def truth(states: Any) -> Any:
        return (np.sin(2 * states[:, 0]) + states[:, 1] * states[:, 2]).astype(np.float32)

    wrong, at_random = [], []
    add = answers.watch.add
    answers.watch.add = lambda guess, told: (at_random.extend((guess - told) ** 2), add(guess, told))[1]  # type: ignore
    for rollout in range(25):
        states = random.uniform(-2, 2, (500, 4)).astype(np.float32)
        everything: list[Any] = []
        predict = answers.ensemble.predict

        def noted(given: Any, predict: Any = predict, everything: list[Any] = everything) -> Any:
            told = predict(given)
            if len(given) == 500:
                everything.append(told.mean(0))
            return told

        answers.ensemble.predict = noted  # type: ignore[method-assign]
        answers(states, np.ones(500, bool), lambda places, states=states: truth(states[places]))
        answers.ensemble.predict = predict  # type: ignore[method-assign]
        if rollout:
            wrong.append(np.mean((everything[-1] - truth(states)) ** 2))
    spread = np.std(truth(random.uniform(-2, 2, (20_000, 4)).astype(np.float32)))
    assert np.sqrt(np.mean(wrong[-4:])) / spread < 0.35
    assert answers.watch.error == pytest.approx(np.sqrt(np.mean(wrong[-4:])) / spread, rel=0.5)
    doubt = np.std(at_random) / np.sqrt(len(at_random))
    assert abs(np.mean(at_random) - np.mean(wrong)) < 4 * doubt  # unbiased
    assert doubt < np.mean(wrong)


def test_equal_beginnings_give_equal_answers_and_a_stored_state_goes_on_alike() -> None:
    random = np.random.default_rng(2)
    batches = [random.normal(size=(120, 3)).astype(np.float32) for _ in range(6)]

    def told(answers: Answers, batch: Any) -> Any:
        return answers(batch, np.ones(len(batch), bool), lambda places: batch[places].sum(1))

    first, second, third = (Answers(AskSpec(share=0.2), 3, seed=4) for _ in range(3))
    for number, batch in enumerate(batches):
        if number == 4:
            third.put_state(first.state())
        one, other = told(first, batch), told(second, batch)
        np.testing.assert_array_equal(one[0], other[0])
        if number >= 4:
            np.testing.assert_array_equal(one[0], told(third, batch)[0])
    assert not np.array_equal(told(Answers(AskSpec(share=0.2), 3, seed=5), batches[0])[1], one[1])


def test_the_watch_waits_and_forgives() -> None:
    watch = ErrorWatch(limit=0.9)
    random = np.random.default_rng(0)
    watch.add(np.zeros(FRAMES - 1), random.normal(size=FRAMES - 1))
    assert watch.error is None
    watch.add(np.zeros(FRAMES), random.normal(size=FRAMES))
    assert watch.error == pytest.approx(1.0, abs=0.25)
    watch.add(np.zeros(FRAMES), 3 * random.normal(size=FRAMES))
    assert watch.lasts
    again = ErrorWatch(limit=0.9)
    again.put_state(watch.state())
    assert again.error == watch.error
    assert not again.lasts  # somebody goes on, so patience begins anew
    told = random.normal(size=FRAMES)
    watch.add(told + 0.1, told)
    assert not watch.lasts
    constant = ErrorWatch(limit=0.9)
    constant.add(np.zeros(200), np.ones(200))
    assert constant.error is None  # a judge without spread


def test_states_become_numbers() -> None:
    space = spaces.Dict({
        "box": spaces.Box(-1, 1, (2, 2), np.float32), "choice": spaces.Discrete(3), "bits": spaces.MultiBinary(2),
        "choices": spaces.MultiDiscrete([2, 2]),
    })  # fmt: skip
    states = {
        "box": np.arange(8, dtype=np.float32).reshape(2, 2, 2), "choice": np.array([2, 0]),
        "bits": np.array([[1, 0], [0, 1]], np.int8), "choices": np.array([[0, 1], [1, 1]]),
    }  # fmt: skip
    flat = flat_states(space, states)
    assert flat.shape == (2, spaces.flatdim(space))
    assert flat.dtype == np.float32
    np.testing.assert_array_equal(flat[0], np.concatenate([[1, 0], [0, 1, 2, 3], [0, 0, 1], [1, 0, 0, 1]]))


# ---- training


@pytest.fixture
def small_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "WARM_UP", SMALL_WARM_UP)


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_asking_always_is_what_no_asking_is(tmp_path: Path, recipe: Recipe) -> None:
    """A share of 1 draws every frame later than at once, and trains the same agent to the last bit."""
    recipe = recipe.model_copy(update={"hyperparameters": {**recipe.hyperparameters, **_rarer(recipe)}})
    plain = train(cartpole(), recipe, seed=1, output=tmp_path / "plain", workers=1).run
    asked = train(asking(1.0), recipe, seed=1, output=tmp_path / "asked", workers=1).run
    last = [run.checkpoint("last").path / "policy.safetensors" for run in (plain, asked)]
    assert last[0].read_bytes() == last[1].read_bytes()
    for before, after in zip(rows(plain), rows(asked), strict=True):
        assert before.items() <= after.items()
    assert all(float(row["ask/share"]) == 1.0 for row in rows(asked) if row["ask/share"])


def _rarer(recipe: Recipe) -> dict[str, int]:
    return {"train_freq": 8} if recipe.algorithm == "DQN" else {}


def test_few_frames_are_drawn_and_the_metrics_say_how_many(
    tmp_path: Path, small_warm_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = kept_module._draw

    def counted(env: Any, places: Any) -> Any:
        drawn.extend(places)
        return draw(env, places)

    monkeypatch.setattr(kept_module, "_draw", counted)
    recipe = PPO.model_copy(update={"steps": 2048, "reward_every": 1, "checkpoint_every": 2048})
    run = train(asking(0.3), recipe, seed=1, output=tmp_path / "run", workers=1).run
    told = [row for row in rows(run) if row["ask/frames"]]
    assert int(float(told[-1]["ask/frames"])) == len(drawn)
    assert len(drawn) == pytest.approx(0.3 * 2048, abs=SMALL_WARM_UP)
    assert float(told[-1]["ask/share"]) == pytest.approx(0.3, abs=0.04)
    assert 0 < float(told[-1]["ask/error"]) < 0.9
    page = report_run(run).read_text(encoding="utf-8")
    assert "asked" in page
    assert "error" in page


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        (cartpole(), PPO),
        (cartpole(), PPO.model_copy(update={"continuation": ContinuationSpec(level=0.5, frames=2)})),
        (cartpole(), DQN.model_copy(update={"hyperparameters": {**DQN.hyperparameters, "train_freq": 8}})),
    ],
    ids=["PPO", "continued", "DQN"],
)
def test_a_stopped_run_goes_on_to_the_bit(
    tmp_path: Path, small_warm_up: None, monkeypatch: pytest.MonkeyPatch, task: TaskSpec, recipe: Recipe
) -> None:
    monkeypatch.setattr("gym_vlmrm.learning.callbacks.PROGRESS_PERIOD", 0)
    whole = train(asking(0.3, task), recipe, seed=2, output=tmp_path / "whole", workers=1).run
    for at in (60, 150):

        def stop(progress: Any, at: int = at) -> None:
            if progress.step >= at:
                os.kill(os.getpid(), signal.SIGTERM)

        path = tmp_path / f"stopped-{at}"
        assert train(asking(0.3, task), recipe, seed=2, output=path, workers=1, on_progress=stop).interrupted
        run = resume(path, workers=1).run
        expected = traces(whole.path)
        assert expected.items() <= traces(run.path).items()  # beside the checkpoint of the stop


def test_a_network_that_stays_wrong_ends_the_training_and_the_run_can_be_gone_on_with(
    tmp_path: Path, small_warm_up: None
) -> None:
    recipe = PPO.model_copy(update={"steps": 4096, "checkpoint_every": 4096, "reward_every": 1})
    said: list[str] = []
    task = asking(0.8, stop_above=1e-6)
    with pytest.raises(TrainingError, match=r"reward.ask: the network's error on frames asked at random is .* above"):
        train(task, recipe, seed=1, output=tmp_path / "run", workers=1, on_notice=said.append)
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "failed"
    assert "go on from step" in said[-1]
    stopped = run.checkpoint("last").step
    with pytest.raises(TrainingError, match=r"reward.ask"):
        resume(run.path, workers=1)
    assert RunFolder.open(run.path).checkpoint("last").step > stopped


def test_what_cannot_be_combined_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    frequent = DQN.model_copy(update={"hyperparameters": {**DQN.hyperparameters, "train_freq": 1}})
    with pytest.raises(TrainingError, match=r"DQN wants rewards every .* at least 1.25 are needed"):
        train(asking(0.05), frequent, output=tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists()


def test_a_worker_that_dies_takes_what_it_kept_along(
    tmp_path: Path, small_warm_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states of the lost rollout can be drawn no more; the network answers for them, and the run goes on."""
    monkeypatch.setattr("gym_vlmrm.learning.callbacks.PROGRESS_PERIOD", 0)
    recipe = PPO.model_copy(update={"steps": 256, "checkpoint_every": 256})
    said: list[str] = []
    killed: list[int] = []

    def kill(progress: Any) -> None:
        if progress.step >= 150 and not killed:
            import multiprocessing

            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid or 0)
            worker.kill()

    run = train(
        asking(0.3), recipe, seed=1, output=tmp_path / "run", workers=2, on_progress=kill, on_notice=said.append
    ).run
    assert killed
    assert any("started anew" in line for line in said)
    assert run.record.status == "finished"
    assert run.record.step == 256


def test_environments_pay_the_judges_own_reward_at_every_step() -> None:
    """Single ones and vectors know nothing of `ask`: their rewards are those of the task without it."""
    made = [make_env(task.model_dump(mode="json")) for task in (cartpole(), asking(0.05))]
    vectors = [make_vec_env(task.model_dump(mode="json"), num_envs=2, workers=1) for task in (cartpole(), asking(0.05))]
    for envs in (made, vectors):
        for env in envs:
            env.reset(seed=1)
        for step in range(4):
            action: Any = step % 2 if envs is made else np.full(2, step % 2)
            one, other = (env.step(action)[1] for env in envs)
            np.testing.assert_array_equal(one, other)
            assert np.all(one > 0)
        for env in envs:
            env.close()
