"""Episodes that go on in training: who decides, from which state, and that nothing but the judge has a word in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from angles import Reds
from gymnasium.vector import AutoresetMode
from trainings import PPO, cartpole, cartpole_of_parts, rows

from gym_vlmrm import load_task
from gym_vlmrm.errors import TaskError, TrainingError, WorldError
from gym_vlmrm.learning import train, trials
from gym_vlmrm.learning.continuation import FIRST, Continuation
from gym_vlmrm.learning.inspection import WorldFacts, inspect_recipe, inspect_world
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.vec_env import LateRewardVecEnv
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import ContinuationSpec, Recipe, RewardSpec
from gym_vlmrm.worlds.continuing import Continuing
from gym_vlmrm.worlds.world import make_world, make_worlds

MOUNTAIN = override(load_task("mountain-car"), model="brightness", max_episode_steps=20)
ALWAYS = ContinuationSpec(probability=1, level=0.5, frames=2)
"""Every episode that ends well goes on."""


def _decide(continuation: Continuation, *ends: float) -> list[bool]:
    """Decide of episodes whose best moment was their end."""
    return list(continuation(np.array(ends), np.array(ends)))


def test_no_episode_goes_on_before_the_untrained_policy_is_known() -> None:
    continuation = Continuation(ALWAYS, 2, seed=0)
    for _ in range(FIRST - 1):
        assert not any(_decide(continuation, 0.1, 0.3))
    assert _decide(continuation, 0.1, 0.9) == [False, True]


def test_the_level_lies_between_the_untrained_ends_and_the_best_moments_of_late() -> None:
    continuation = Continuation(ContinuationSpec(probability=1, level=0.75), 4, seed=0)
    for _ in range(FIRST):
        assert _decide(continuation, 0.2, 0.2, 0.2, 0.2) == [False] * 4
    assert continuation.level == np.inf  # nothing is better than anything yet
    for _ in range(100):  # all fall, from a better moment each: what lies on the floor shall not go on lying there
        assert not continuation(np.full(4, 0.25), np.full(4, 0.6)).any()
    assert continuation.level == pytest.approx(0.2 + 0.75 * 0.4)
    for _ in range(100):  # a policy that always holds does not raise the bar above itself
        assert _decide(continuation, 0.6, 0.6, 0.6, 0.6) == [True] * 4


def test_an_episode_that_ends_well_goes_on_with_the_given_probability() -> None:
    continuation = Continuation(ContinuationSpec(probability=0.7, level=0.5), 1, seed=3)
    for end in [0.0] * FIRST + [1.0] * 20:
        _decide(continuation, end)
    assert np.mean([_decide(continuation, 1.0) for _ in range(2000)]) == pytest.approx(0.7, abs=0.04)
    assert not any(_decide(continuation, 0.0)[0] for _ in range(15))


def test_rewards_that_are_no_numbers_let_nothing_go_on_and_spoil_nothing() -> None:
    continuation = Continuation(ALWAYS, 1, seed=0)
    for end in (0.0, np.nan, 0.0, np.inf, 0.0, 0.0, 1.0, 1.0):
        _decide(continuation, end)
    assert np.isfinite(continuation.level)
    assert _decide(continuation, np.nan) == _decide(continuation, np.inf) == [False]


def test_decisions_after_a_stored_state_are_the_same() -> None:
    random = np.random.default_rng(0)
    one, other = Continuation(ContinuationSpec(), 3, seed=1), Continuation(ContinuationSpec(), 3, seed=2)
    for _ in range(30):
        _decide(one, *random.random(3))
    other.put_state(one.state())
    decided = []
    for _ in range(50):
        ends = random.random(3)
        decided.append(_decide(one, *ends))
        assert decided[-1] == _decide(other, *ends)
    assert 0 < np.mean(decided) < 1


# --- how an episode goes


class Brightest:
    name, frame_size = "brightest", 2

    def __call__(self, frames: Any) -> Any:
        return frames.reshape(len(frames), -1).max(axis=1).astype(np.float32)


def _frames(*values: int) -> Any:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_an_end_is_the_mean_of_the_last_scored_frames_of_its_own_episode() -> None:
    no, first_over = np.zeros(2, np.bool_), np.array([True, False])
    with LateRewards(Brightest(), 2, every=2, remembered=2) as late:
        assert np.isnan(late.moments().end).all()
        for step, dones in enumerate([no, no, no, no, first_over, no], 1):  # scored: steps 1, 3, 5; then 1 and none
            late.submit(_frames(10 * step, 9 - step), dones)
            if step == 2:
                assert late.moments().end.tolist() == [10, 8]
                late.collect()
            if step == 5:  # frames of steps 3 and 5; those of the first are known since `collect`
                assert late.moments().end.tolist() == [40, 5]
                assert late.moments().best.tolist() == [40, 7]
        assert late.moments().end.tolist() == [60, 5]  # another episode of the first
        assert late.moments().best.tolist() == [60, 7]
        assert late.collect().rewards[-1].tolist() == [60, 4]


def test_asking_how_episodes_go_changes_no_reward() -> None:
    random = np.random.default_rng(0)
    steps = [random.integers(0, 255, (3, 2, 2, 3), dtype=np.uint8) for _ in range(12)]
    dones = [random.random(3) < 0.3 for _ in steps]
    with LateRewards(Brightest(), 3, 2, batch_frames=4) as plain, LateRewards(Brightest(), 3, 2, remembered=3) as seen:
        for frames, over in zip(steps, dones, strict=True):
            plain.submit(frames, over)
            seen.submit(frames, over)
            seen.moments()
        assert plain.collect().rewards.tolist() == seen.collect().rewards.tolist()


WINDOWED = {"goal": "x", "model": "reds", "window": {"frames": 3}, "task": 0.5}
SHAPED = {"goal": "x", "model": "reds", "task": 1.0, "shape": {"kind": "potential", "gamma": 0.9}}


@pytest.mark.parametrize("written", [WINDOWED, SHAPED], ids=["window", "potential"])
def test_to_a_reward_of_parts_an_episode_that_goes_on_is_the_same_one(written: dict[str, Any]) -> None:
    """Its window holds what came before its time was over, and its potential is that of its end."""
    model = PartsReward(RewardSpec.model_validate(written), [Reds()])
    yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)
    paid = {}
    for name in ("whole", "goes on", "begins anew"):
        with LateRewards(model, 1, remembered=2) as late:
            late.begin(_frames(200))
            for step in range(1, 7):
                over = yes if step == 3 and name != "whole" else no
                late.submit(_frames(30 * step), over, terminated=no, task_rewards=np.ones(1))
                moments = late.moments()
                if over.any() and name == "begins anew":
                    late.begin(_frames(200), over)
            paid[name] = late.collect().rewards[:, 0].tolist()
    assert paid["goes on"] == paid["whole"]
    assert paid["begins anew"][3:] != paid["whole"][3:]
    assert moments.end[0] == pytest.approx(model.alone(late._memory.values)[0], abs=0.1)


def test_a_training_on_a_reward_of_parts_goes_on(tmp_path: Path) -> None:
    recipe = PPO.model_copy(update={"continuation": ALWAYS, "steps": 640})
    train(cartpole_of_parts(), recipe, seed=0, output=tmp_path / "run", workers=1)
    shares = [
        float(row["rollout/continued"]) for row in rows(RunFolder.open(tmp_path / "run")) if row["rollout/continued"]
    ]
    assert 0 < max(shares) <= 1


# --- worlds


def test_a_world_that_goes_on_makes_the_steps_of_one_without_a_time_limit() -> None:
    short = override(load_task("kneeling"), max_episode_steps=3)
    world = make_world(short, render_size=32, limited=True, frames=True, wrap=Continuing)
    endless = make_world(override(short, max_episode_steps=100), render_size=32, limited=True, frames=True)
    try:
        world.reset(seed=5)
        endless.reset(seed=5)
        world.action_space.seed(0)
        for step in range(1, 8):
            action = world.action_space.sample()
            observation, _, _, truncated, _ = world.step(action)
            expected = endless.step(action)[0]
            assert np.array_equal(observation["state"], expected["state"])
            assert np.array_equal(observation["frame"], expected["frame"])
            assert truncated == (step % 3 == 0)
            if truncated:
                world.reset()  # as vector environments do by themselves
                world.set_wrapper_attr("goes_on", True)
    finally:
        world.close()
        endless.close()


def test_nothing_goes_on_but_what_ran_out_of_time() -> None:
    world = make_world(MOUNTAIN, render_size=32, limited=True, frames=True, wrap=Continuing)
    try:
        world.reset(seed=0)
        with pytest.raises(WorldError, match="none can go on"):
            world.set_wrapper_attr("goes_on", True)
        world.set_wrapper_attr("goes_on", False)
    finally:
        world.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_each_environment_of_a_pool_gets_its_own_answer(workers: int) -> None:
    pool = make_worlds(
        MOUNTAIN,
        3,
        render_size=32,
        verdicts=True,
        wrap=Continuing,
        workers=workers,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    decided: list[Any] = []

    def middle(ends: Any, best: Any) -> Any:
        decided.append(ends)
        return np.array([False, True, False])

    try:
        with LateRewards(Brightest(), 3) as late:
            env = LateRewardVecEnv(pool, late, continuation=middle)  # type: ignore[arg-type]
            env.seed(0)
            env.reset()
            actions = np.ones((3, 1), np.float32)
            for _ in range(20):
                before = env.step(actions)
            states, _, dones, infos = before
            ends = np.stack([info["terminal_observation"] for info in infos])
            assert dones.all()
            assert len(decided) == 1
            assert [np.array_equal(state, end) for state, end in zip(states, ends, strict=True)] == [False, True, False]
            after = env.step(actions)[0]
            assert after[1, 0] > ends[1, 0] + 0.5 * ends[1, 1]  # it rolls on as fast as it did
    finally:
        pool.close()


# --- training


def test_training_lets_episodes_go_on_and_says_how_many(tmp_path: Path) -> None:
    recipe = PPO.model_copy(update={"continuation": ALWAYS, "steps": 1024})
    run = train(MOUNTAIN, recipe, output=tmp_path / "run", workers=1).run
    shares = [float(row["rollout/continued"]) for row in rows(run) if row["rollout/continued"]]
    assert 0 < max(shares) <= 1
    plain = train(MOUNTAIN, recipe.model_copy(update={"continuation": None}), output=tmp_path / "plain", workers=1).run
    assert "rollout/continued" not in rows(plain)[0]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The lengths of the episodes of each trial, as they are played."""
    lengths, original = [], trials.play

    def play(*args: Any, **options: Any) -> Any:
        episodes = original(*args, **options)
        lengths.append([len(episode) for episode in episodes])
        return episodes

    monkeypatch.setattr(trials, "play", play)
    return lengths


def test_whoever_is_asked_sooner_has_shorter_episodes_in_training_alone(tmp_path: Path, tried: list[list[int]]) -> None:
    """Trials stay as long as the task's own limit makes them."""
    sooner = ContinuationSpec(probability=1, level=0.5, frames=2, every=5)
    run = train(
        MOUNTAIN, PPO.model_copy(update={"continuation": sooner, "steps": 1024}), output=tmp_path / "run", workers=1
    ).run
    assert {float(row["rollout/episode_length"]) for row in rows(run) if row["rollout/episode_length"]} == {5.0}
    assert {length for lengths in tried for length in lengths} == {80}


def test_a_checkpoint_is_tried_for_longer_than_an_episode(tmp_path: Path, tried: list[list[int]]) -> None:
    """In fewer episodes, so that it costs the same."""
    train(
        MOUNTAIN,
        PPO.model_copy(update={"continuation": ALWAYS, "num_envs": 32, "steps": 1024}),
        output=tmp_path / "run",
        workers=1,
    )
    assert tried[0] == [80] * 8


def test_success_has_no_word_in_it(tmp_path: Path) -> None:
    """Another rule of success, same judge: the same policy to the bit."""
    recipe = PPO.model_copy(update={"continuation": ALWAYS, "steps": 512})
    weights = []
    for name, rule in (("one", "car_position > 0"), ("other", "car_position < -0.6")):
        task = MOUNTAIN.model_copy(update={"success": rule})
        run = train(task, recipe, output=tmp_path / name, workers=1).run
        weights.append((run.checkpoint("last").path / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_option_is_written_as_true_or_with_its_numbers() -> None:
    parts = {"algorithm": "PPO", "steps": 10}
    assert Recipe.model_validate({**parts, "continuation": True}).continuation == ContinuationSpec()
    assert Recipe.model_validate({**parts, "continuation": False}).continuation is None
    assert Recipe.model_validate({**parts, "continuation": {"frames": 3}}).continuation == ContinuationSpec(frames=3)


@pytest.mark.parametrize(
    "written", [{"probability": 0}, {"probability": 1.5}, {"level": 1.0}, {"frames": 0}, {"every": 0}, {"p": 1}, 3]
)
def test_numbers_that_make_no_sense_are_refused(written: Any) -> None:
    recipes = {"default": {"algorithm": "PPO", "steps": 10, "continuation": written}}
    with pytest.raises(TaskError, match="continuation"):
        task_from_dict(
            {"id": "Mine/A-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "a pole"}, "training": recipes}
        )


def test_action_masks_are_refused() -> None:
    facts = inspect_world(cartpole(), draw=False)
    masked = WorldFacts(facts.env_id, facts.observation_space, facts.action_space, 20, masked=True)
    with pytest.raises(TrainingError, match="action masks"):
        inspect_recipe(PPO.model_copy(update={"continuation": ALWAYS}), masked)


def test_worlds_whose_state_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    task = task_from_dict(
        {"id": "Mine/A-v0", "env": {"id": "toys:Toy-v0"}, "reward": {"goal": "x", "model": "brightness"}}
    )
    with pytest.raises(TrainingError, match="the state of 'toys:Toy-v0' cannot be stored, so no episode can go on"):
        train(task, PPO.model_copy(update={"continuation": ALWAYS}), output=tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists()
