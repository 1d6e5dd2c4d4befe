"""Potential shaping changes no optimal policy: value iteration on small worlds, with rewards that the memory paid."""

import os
from typing import Any

import numpy as np
import pytest
from angles import Reds

from gym_vlmrm.errors import TaskError
from gym_vlmrm.reward.memory import VectorStep
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import RewardSpec

GAMMA, STATES, ACTIONS = 0.9, 7, 3


class World:
    """Deterministic: state and action lead to one state, which pays, and may be terminal; looks are numbers."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.leads_to = rng.integers(0, STATES, (STATES, ACTIONS))
        self.pays = np.round(rng.normal(size=(STATES, ACTIONS)), 1)
        self.terminal = np.arange(STATES) >= STATES - 2
        self.looks = rng.integers(0, 255, STATES)

    def frame(self, state: int) -> Any:
        return np.full((1, 4, 4, 3), self.looks[state], np.uint8)

    def rewards(self, spec: RewardSpec) -> Any:
        """Reward (S, A) of every transition, as the memory pays it."""
        model = PartsReward(spec, [Reds() for _ in spec.all_parts])
        paid = np.zeros((STATES, ACTIONS))
        for state in range(STATES):
            for action in range(ACTIONS):
                after, memory = int(self.leads_to[state, action]), model.memory(1)
                begun = model.signals(self.frame(state)) if memory.begins else None
                memory.begin(np.array([0]), begun)
                told, own = model.signals(self.frame(after)), np.array([self.pays[state, action]])
                yes, end = np.array([True]), np.array([self.terminal[after]])
                paid[state, action] = memory.step(VectorStep(yes, told, yes, end, own))[0]
        return paid

    def optimal(self, rewards: Any) -> Any:
        """Values Q (S, A) of the best policy."""
        q = np.zeros((STATES, ACTIONS))
        for _ in range(400):
            best = np.where(self.terminal, 0.0, q.max(axis=1))
            q = rewards + GAMMA * best[self.leads_to]
        return q


def reward(**keys: Any) -> RewardSpec:
    return RewardSpec.model_validate({"goal": "x", "model": "reds", **keys})


POTENTIAL = {"kind": "potential", "gamma": GAMMA}
SHAPED = {
    "the whole": reward(task=1.0, shape=POTENTIAL),
    "the whole, scaled": reward(task=1.0, shape=POTENTIAL, center=0.3, scale=4.0, weight=0.5),
    "a part": reward(task=1.0, goal=None, parts=[{"goal": "x", "shape": POTENTIAL, "weight": 3.0}]),
    "a part to avoid": reward(task=1.0, goal=None, parts=[{"avoid": "x", "shape": POTENTIAL}]),
    "a product": reward(task=1.0, shape=POTENTIAL, combine="product", parts=[{"avoid": "x", "weight": 2.0}]),
}


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("seed", range(6))
def test_potentials_leave_the_optimal_policy_as_it_is(name: str, seed: int) -> None:
    world = World(seed)
    plain, shaped = world.optimal(world.pays), world.optimal(world.rewards(SHAPED[name]))
    alive = ~world.terminal
    gaps = plain - plain.max(axis=1, keepdims=True)
    np.testing.assert_allclose((shaped - shaped.max(axis=1, keepdims=True))[alive], gaps[alive], atol=1e-5)
    assert np.abs(shaped - plain)[alive].max() > 0.01


FADE = {"to": 0.0, "over": 5}
WHOLE = {"kind": "potential", "gamma": 1.0}
FADING = {
    "of a part": reward(task=1.0, goal=None, parts=[{"goal": "x", "shape": WHOLE, "fade": FADE}]),
    "of the whole": reward(task=1.0, fade=FADE, goal=None, parts=[{"goal": "x", "shape": WHOLE}]),
    "of both": reward(task=1.0, fade=FADE, goal=None, parts=[{"goal": "x", "shape": WHOLE, "fade": FADE}], center=0.2),
    "of the whole, shaped": reward(task=1.0, fade=FADE, shape=WHOLE),
    "of a weight that rises": reward(
        task=1.0, weight=1.0, fade={"to": 3.0, "over": 5}, goal=None, parts=[{"avoid": "x", "shape": WHOLE}]
    ),
}


@pytest.mark.parametrize("name", FADING)
def test_potentials_telescope_while_weights_fade(name: str) -> None:
    spec = FADING[name]
    model = PartsReward(spec, [Reds()])
    frames = [np.full((1, 4, 4, 3), red, np.uint8) for red in (128, 230, 25, 230, 25, 230)]
    memory, yes = model.memory(1), np.array([True])
    memory.begin(np.array([0]), model.signals(frames[0]))
    begun = -memory.values[0, 0] if spec.all_parts[0].avoid else memory.values[0, 0]
    paid = 0.0
    for made, frame in enumerate(frames[1:]):
        end = np.array([made == len(frames) - 2])
        center = spec.center * (1 - made / 5)  # the rest of the whole is paid as it was
        paid += memory.step(VectorStep(yes, model.signals(frame), yes, end, np.zeros(1), made))[0] + center
    assert paid == pytest.approx(-begun, abs=1e-6)


def test_a_difference_does_not() -> None:
    moved = 0
    for seed in range(20):
        world = World(seed)
        plain = world.optimal(world.pays)[~world.terminal]
        other = world.optimal(world.rewards(reward(task=1.0, shape="difference", scale=20.0)))[~world.terminal]
        moved += bool((plain.argmax(axis=1) != other.argmax(axis=1)).any())
    assert moved > 5


def test_nor_does_a_potential_with_another_gamma() -> None:
    other = reward(task=1.0, scale=20.0, shape={"kind": "potential", "gamma": 0.5})
    world = World(0)
    plain, shaped = world.optimal(world.pays), world.optimal(world.rewards(other))
    assert not np.allclose(
        plain - plain.max(axis=1, keepdims=True), shaped - shaped.max(axis=1, keepdims=True), atol=1e-3
    )


@pytest.mark.parametrize("seed", range(3))
def test_on_a_zero_base_every_policy_is_optimal(seed: int) -> None:
    """Why it is refused: what a memory would pay without a base makes no action better than another."""
    world = World(seed)
    world.pays[:] = 0.0
    shaped = world.optimal(world.rewards(SHAPED["the whole"]))[~world.terminal]
    np.testing.assert_allclose(shaped, np.repeat(shaped[:, :1], ACTIONS, axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "keys",
    [
        {"shape": "potential"},
        {"shape": "potential", "parts": [{"goal": "y"}]},
        {"goal": None, "parts": [{"goal": "x", "shape": "potential"}, {"goal": "y", "shape": "potential"}]},
        {"goal": None, "parts": [{"goal": "x", "shape": "potential"}, {"goal": "y", "weight": 0.0}]},
        {"goal": None, "parts": [{"goal": "x", "shape": "potential"}, {"goal": "y", "shape": "difference"}]},
        {"goal": None, "parts": [{"goal": "x", "shape": "potential"}, {"goal": "y", "fade": FADE}]},
        {"goal": None, "parts": [{"goal": "x", "shape": "potential"}, {"goal": "y", "weight": 0.0, "fade": FADE}]},
    ],
)
def test_so_it_is_refused(keys: dict[str, Any]) -> None:
    data = {"id": "Test/Zero-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "x", **keys}}
    with pytest.raises(TaskError, match="makes every policy optimal"):
        task_from_dict(data)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"weight": 0.0}, r"reward\.weight: every reward is 0"),
        ({"weight": 0.0, "parts": [{"goal": "y", "shape": "potential"}]}, r"reward\.weight: every reward is 0"),
        ({"fade": FADE}, r"reward\.fade\.to: in the end every reward is 0"),
        ({"goal": None, "parts": [{"goal": "y", "fade": FADE}]}, r"reward\.parts\.0\.fade: in the end the weight of"),
    ],
)
def test_a_reward_that_ends_as_nothing_is_refused_with_its_own_words(keys: dict[str, Any], message: str) -> None:
    data = {"id": "Test/Zero-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "x", **keys}}
    with pytest.raises(TaskError, match=message):
        task_from_dict(data)
    task_from_dict({**data, "reward": {**data["reward"], "task": 1.0}})


def test_a_weight_that_rises_from_nothing_is_a_base() -> None:
    rising = {"goal": "y", "weight": 0.0, "fade": {"to": 1.0, "over": 5}}
    reward(goal=None, parts=[{"goal": "x", "shape": "potential"}, rising])
    reward(weight=0.0, fade={"to": 1.0, "over": 5})


COUNTED = {
    "potential": reward(task=1.0, scale=5.0, shape=POTENTIAL),
    "potential, gamma 0.8 for 0.9": reward(task=1.0, scale=5.0, shape={"kind": "potential", "gamma": 0.8}),
    "difference": reward(task=1.0, scale=5.0, shape="difference"),
    "sum": reward(task=1.0, scale=5.0),
    "sum, a fifth of it": reward(task=1.0, scale=1.0),
    "sum, a fiftieth": reward(task=1.0, scale=0.1),
}


@pytest.mark.skipif("GYM_VLMRM_COUNT" not in os.environ, reason="counts on request: GYM_VLMRM_COUNT=1")
@pytest.mark.parametrize("name", COUNTED)
def test_count_of_worlds_whose_optimum_moves(name: str) -> None:
    moved = 0
    for seed in range(100):
        world = World(seed)
        alive = ~world.terminal
        plain, other = world.optimal(world.pays)[alive], world.optimal(world.rewards(COUNTED[name]))[alive]
        moved += bool((plain.max(axis=1) - plain[np.arange(len(plain)), other.argmax(axis=1)] > 1e-3).any())
    print(f"{name}: {moved} of 100")
    assert moved == 0 or name != "potential"
