"""Rewards made of parts: one environment, a vector of them and late rewards pay the same, and what the words say."""

import itertools
from typing import Any

import numpy as np
import pytest
from angles import CAMERAS, SIZE, AngleWorld, Colours, Expected, Reds, expected
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.vec_env import PoolSteps
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.pools.pool import make_pool
from gym_vlmrm.wrappers import VectorVLMReward, VLMReward
from gym_vlmrm.wrappers.separate import SeparateEnvs

NUM_ENVS, STEPS = 3, 14
NUMBERS = st.sampled_from([0.25, 0.5, 1.0, 2.0])
FADES = st.none() | st.fixed_dictionaries({"to": st.sampled_from([0.0, 0.5]), "over": st.sampled_from([9, 30])})
SHAPES = st.sampled_from([None, None, "difference", {"kind": "potential", "gamma": 0.9}])
WINDOWS = st.none() | st.fixed_dictionaries(
    {"frames": st.integers(2, 4), "stride": st.integers(1, 2), "join": st.sampled_from(["mean", "change"])}
)


@st.composite
def parts(draw: st.DrawFn) -> dict[str, Any]:
    """A part, right or not."""
    return {
        draw(st.sampled_from(["goal", "goal", "avoid"])): "a sentence",
        "baseline": "another",
        "model": draw(st.sampled_from(["reds", "colours"])),
        "cameras": draw(st.lists(st.sampled_from(CAMERAS), min_size=1, max_size=3, unique=True)),
        "views": draw(st.sampled_from(["mean", "max", "min", "turn"])),
        "window": draw(WINDOWS),
        "shape": draw(SHAPES),
        "center": draw(st.sampled_from([0.0, 0.1])),
        "scale": draw(NUMBERS),
        "weight": draw(NUMBERS),
        "fade": draw(FADES),
    }


@st.composite
def rewards(draw: st.DrawFn) -> RewardSpec:
    """A reward of one to three parts."""
    combine = draw(st.sampled_from(["sum", "sum", "product", "min"]))
    several = draw(st.lists(parts(), min_size=1, max_size=3))
    for part in several:
        if combine != "sum":
            part["shape"] = None
        if combine == "min":
            part["weight"], part["fade"] = 1.0, None
        if len(part["cameras"]) < 2:
            part["views"] = "mean"
    written = {
        "parts": several, "combine": combine, "task": draw(st.sampled_from([0.0, 0.5])),
        "every": draw(st.integers(1, 3)), "shape": draw(SHAPES), "center": draw(st.sampled_from([0.0, 0.1])),
        "scale": draw(NUMBERS),
        "weight": draw(NUMBERS), "fade": draw(FADES),
        "success_seen": draw(st.none() | st.builds(dict, above=st.floats(0, 0.5), hold=st.integers(1, 3))),
    }  # fmt: skip
    try:
        return RewardSpec.model_validate(written)
    except ValidationError:
        assume(False)
        raise


def models_of(spec: RewardSpec) -> list[Any]:
    reds, colours = Reds(), Colours()
    return [reds if part.model == "reds" else colours for part in spec.all_parts]


def pool_of(spec: RewardSpec, mode: AutoresetMode, num_envs: int = NUM_ENVS) -> Any:
    def make(index: int) -> Any:
        return lambda: FrameObservation(AngleWorld(index), SIZE, spec.every, spec.shots)

    return SyncVectorEnv([make(index) for index in range(num_envs)], autoreset_mode=mode)


def truths(spec: RewardSpec) -> list[Expected]:
    return [expected(spec, models_of(spec), index, STEPS, spec.every, NUM_ENVS) for index in range(NUM_ENVS)]


def check(rewards: Any, values: Any, seen: Any, spec: RewardSpec) -> None:
    """Compare rewards (T, N), values (T, N, P) and verdicts (T, N) with what the words say."""
    told = truths(spec)
    for index, truth in enumerate(told):
        count = min(len(rewards), len(truth.rewards))
        np.testing.assert_allclose(rewards[:count, index], truth.rewards[:count], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(values[:count, index], truth.parts[:count], rtol=2e-5, atol=2e-6)
        if spec.success_seen is not None:
            assert seen[:count, index].tolist() == truth.seen[:count]


def late(spec: RewardSpec, batch: int = 7) -> tuple[Any, Any, Any]:
    """Rewards (T, N), values (T, N, P) and verdicts (T, N) of late scoring."""
    model = PartsReward(spec, models_of(spec))
    steps = PoolSteps(pool_of(spec, AutoresetMode.SAME_STEP))
    collected = []
    with LateRewards(model, NUM_ENVS, spec.every, batch) as queue:
        steps.reset(0)
        queue.begin(steps.frames)
        for step in range(STEPS):
            steps.step(np.zeros(NUM_ENVS, np.int64))
            steps.hand_over(queue)
            if step % 5 == 4:
                collected.append(queue.collect())
                state = queue.state()
                queue.put_state(state)
        collected.append(queue.collect())
    values = [np.stack(list(part.parts.values()), axis=-1) for part in collected]
    verdicts = [part.seen for part in collected if part.seen is not None]
    seen = np.concatenate(verdicts) if verdicts else None
    return np.concatenate([part.rewards for part in collected]), np.concatenate(values), seen


@settings(max_examples=50, deadline=None)
@given(rewards())
def test_late_rewards_pay_what_the_words_say(spec: RewardSpec) -> None:
    rewards, values, seen = late(spec)
    check(rewards, values, seen, spec)
    again, *_ = late(spec, batch=64)
    np.testing.assert_array_equal(rewards, again)


@settings(max_examples=30, deadline=None)
@given(rewards())
def test_one_environment_pays_what_the_words_say(spec: RewardSpec) -> None:
    late_rewards, late_values, late_seen = late(spec)
    model = PartsReward(spec, models_of(spec))
    for index in range(NUM_ENVS):
        env = VLMReward(AngleWorld(index), model, spec.every)
        env.reset(seed=0)
        for step in range(STEPS):
            env.training_steps = NUM_ENVS * step
            _, reward, terminated, truncated, info = env.step(0)
            assert reward == late_rewards[step, index]
            assert list(info["reward_parts"].values()) == late_values[step, index].tolist()
            assert (None if late_seen is None else late_seen[step, index]) == info.get("success_seen")
            if terminated or truncated:
                env.training_steps = NUM_ENVS * (step + 1)
                env.reset()


def unfaded(spec: RewardSpec) -> RewardSpec:
    """The same, for environments that fall out of step: weights fade by all steps that are made."""
    steady = [part.model_copy(update={"fade": None}) for part in spec.parts]
    return spec.model_copy(update={"fade": None, "parts": steady})


@settings(max_examples=20, deadline=None)
@given(rewards(), st.randoms(use_true_random=False))
def test_environments_that_are_stepped_separately_pay_what_the_words_say(spec: RewardSpec, random: Any) -> None:
    spec = unfaded(spec)
    late_rewards, late_values, late_seen = late(spec)
    numbers = itertools.count()
    pool = make_pool(
        lambda: FrameObservation(AngleWorld(next(numbers)), SIZE, spec.every, spec.shots),
        NUM_ENVS, workers=1, autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    envs = SeparateEnvs(VectorVLMReward(pool, PartsReward(spec, models_of(spec)), spec.every))
    envs.reset(range(NUM_ENVS), [{}] * NUM_ENVS)
    made = np.zeros(NUM_ENVS, int)
    for _ in range(2 * STEPS):
        rows = random.sample(range(NUM_ENVS), random.randint(1, NUM_ENVS))
        rows = [row for row in rows if made[row] < STEPS]
        if not rows:
            continue
        over = []
        for row, (_, reward, terminated, truncated, info) in zip(rows, envs.step(rows, [0] * len(rows)), strict=True):
            assert reward == late_rewards[made[row], row]
            assert list(info["reward_parts"].values()) == late_values[made[row], row].tolist()
            assert (None if late_seen is None else late_seen[made[row], row]) == info.get("success_seen")
            made[row] += 1
            over += [row] if terminated or truncated else []
        if over:
            ((_, info), *_) = envs.reset(over, [{}] * len(over))
            assert list(info["reward_parts"]) == [part.name for part in spec.all_parts]
    envs.close()


@pytest.mark.parametrize("mode", AutoresetMode)
@settings(max_examples=20, deadline=None)
@given(rewards())
def test_vectors_pay_what_the_words_say(mode: AutoresetMode, spec: RewardSpec) -> None:
    spec = spec if mode is AutoresetMode.SAME_STEP else unfaded(spec)
    late_rewards, late_values, late_seen = late(spec)
    envs = VectorVLMReward(pool_of(spec, mode), PartsReward(spec, models_of(spec)), spec.every)
    _, infos = envs.reset(seed=0)
    names = [part.name for part in spec.all_parts]
    assert set(infos["reward_parts"]) == {*names, *(f"_{name}" for name in names)}
    made, begun = np.zeros(NUM_ENVS, int), np.zeros(NUM_ENVS, bool)
    for step in range(STEPS):
        envs.training_steps = NUM_ENVS * step
        _, rewards, terminations, truncations, infos = envs.step(np.zeros(NUM_ENVS, int))
        done = terminations | truncations
        for index in range(NUM_ENVS):
            if begun[index]:
                assert mode is AutoresetMode.NEXT_STEP
                assert rewards[index] == 0
                continue
            final = mode is AutoresetMode.SAME_STEP and done[index]
            of_step = infos["final_info"] if final else infos
            said = of_step["reward_parts"]
            if late_seen is not None:
                assert of_step["success_seen"][index] == late_seen[made[index], index]
            assert rewards[index] == late_rewards[made[index], index]
            assert [said[name][index] for name in names] == late_values[made[index], index].tolist()
            made[index] += 1
        begun = done if mode is AutoresetMode.NEXT_STEP else np.zeros(NUM_ENVS, bool)
        if mode is AutoresetMode.DISABLED and done.any():
            envs.reset(options={"reset_mask": done})
