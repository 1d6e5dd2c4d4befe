"""What each key of `reward:` does to the simplest learner: Q-learning with a table on MountainCar, seconds per run.

``python benchmarks/keys.py`` trains all keys by all seeds and prints the table; ``--only fade`` takes one key,
``--table`` trains nothing. What came of it is kept in ``benchmarks/keys.json``. Rewards are the package's own, of
the embedded model's signals: its pictures of 400 positions are embedded once, as the car's position is all that they
show. An action is kept for eight steps, an episode has 25 of them.

Success is the rule of the task, from the state: the share of the last half of 64 greedy episodes, which nothing ends,
behind the flag.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.arrays import Floats
from gym_vlmrm.files import write_text
from gym_vlmrm.learning.comparison import mean_over_runs
from gym_vlmrm.reward.memory import VectorStep, ended_by_judge, memory_of
from gym_vlmrm.reward.protocol import signals_of
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.worlds.world import make_world

RESULTS = Path(__file__).parent / "keys.json"
SEEDS = range(3)
WORLDS, KEPT, LIMIT = 16, 8, 25
"""Worlds that learn together, steps for which an action is kept, actions of an episode."""
ROUNDS, TRIALS = 2500, 25
"""Actions that each world takes in all, and greedy trials on the way."""
GAMMA, RATE, LEAST = 0.95, 0.2, 0.05
"""Discount per action, learning rate, and the share of random actions in the last half of a training."""
FLAG, HALF = 0.45, 0.5
PLACES = np.linspace(-1.2, 0.6, 400)
BINS = (36, 28)
"""Of position and velocity."""
CAR = "a car at the peak of the mountain, next to the yellow flag"
VALLEY = "a car at the bottom of the valley"


PLAIN: dict[str, Any] = {"goal": CAR}
AVOIDING: dict[str, Any] = {"goal": CAR, "avoid": VALLEY}
OTHER = [{"goal": "a car in the mountain"}]
SCALED: dict[str, Any] = {"center": 0.3, "scale": 1.4}
BOTH = [{"goal": CAR, **SCALED}, {"avoid": VALLEY, "center": 0.3}]
ENDS = {"above": 0.9, "hold": 1, "ends": True}
POTENTIAL = {"kind": "potential", "gamma": GAMMA}
FADE = {"to": 0.0, "over": 250_000}
CASES: dict[str, dict[str, Any]] = {
    "without": PLAIN,
    "parts: a second sentence": {"goal": CAR, "parts": OTHER},
    "avoid": AVOIDING,
    "combine: product": {"combine": "product", "parts": BOTH},
    "combine: min": {"combine": "min", "parts": BOTH},
    "fade: what to avoid": {"goal": CAR, "parts": [{"avoid": VALLEY, "fade": FADE}]},
    "center: 1": {"goal": CAR, "center": 1.0},
    "scale: 10": {"goal": CAR, "scale": 10.0},
    "window: mean of 4": {"goal": CAR, "window": {"frames": 4}},
    "window: change of 2": {"goal": CAR, "baseline": VALLEY, "window": {"frames": 2, "join": "change"}},
    "shape: difference": {"goal": CAR, "shape": "difference"},
    "task: 0.01": {"goal": CAR, "task": 0.01},
    "task: 0.01 alone": {"goal": CAR, "weight": 0.0, "task": 0.01},
    "task: 0.01, shape: potential": {"goal": CAR, "scale": 3.0, "task": 0.01, "shape": POTENTIAL},
    "success_seen: ends": {"goal": CAR, "success_seen": ENDS},
    "success_seen: ends, center: 1": {"goal": CAR, "center": 1.0, "success_seen": {**ENDS, "above": -0.1}},
    "avoid; scale: 10": {**AVOIDING, "scale": 10.0},
    "avoid; window: mean of 4": {**AVOIDING, "window": {"frames": 4}},
    "avoid; shape: difference": {**AVOIDING, "shape": "difference"},
    "avoid; task: 0.01": {**AVOIDING, "task": 0.01},
    "avoid; success_seen: ends": {**AVOIDING, "success_seen": {**ENDS, "above": 0.5}},
    "avoid; success_seen: ends, center: 1": {**AVOIDING, "center": 1.0, "success_seen": {**ENDS, "above": -0.5}},
}


def pictures() -> NDArray[np.uint8]:
    """Return what the judge sees at `PLACES`."""
    task = load_task("mountain-car")
    world = make_world(task, render_size=load_reward_model(task).frame_size)
    world.reset(seed=0)
    seen = []
    for place in PLACES:
        world.unwrapped.place(np.array([place]))  # type: ignore[attr-defined]
        seen.append(np.array(world.render()))
    world.close()
    return np.array(seen)


def moved(places: Floats, speeds: Floats, thrust: Floats) -> tuple[Floats, Floats]:
    """Return positions and velocities (N,) one step later, by Gymnasium's equations; a car at the flag stays there."""
    there = places >= FLAG
    speeds = np.clip(speeds + 0.0015 * thrust - 0.0025 * np.cos(3 * places), -0.07, 0.07)
    after = np.clip(places + speeds, -1.2, 0.6)
    speeds = np.where((after <= -1.2) & (speeds < 0), 0.0, speeds)
    after = np.where(there, places, after)
    return after, np.where(after >= FLAG, 0.0, speeds)


def cells(places: Floats, speeds: Floats) -> NDArray[np.intp]:
    """Return the rows (N,) of the table that stand for states."""
    along = np.clip(((places + 1.2) / 1.8 * BINS[0]).astype(int), 0, BINS[0] - 1)
    fast = np.clip(((speeds + 0.07) / 0.14 * BINS[1]).astype(int), 0, BINS[1] - 1)
    return np.asarray(along * BINS[1] + fast)


def trial(table: Floats, rng: np.random.Generator) -> float:
    """Return the success of a greedy policy."""
    places, speeds, shares = rng.uniform(-0.6, -0.4, 64), np.zeros(64), []
    for _ in range(LIMIT):
        thrust = table[cells(places, speeds)].argmax(axis=1) - 1.0
        for _ in range(KEPT):
            places, speeds = moved(places, speeds, thrust)
            shares.append((places >= FLAG).mean())
    return float(np.mean(shares[len(shares) // 2 :]))


def learned(reward: dict[str, Any], seen: NDArray[np.uint8], seed: int) -> Iterator[tuple[int, float]]:
    """Learn, and yield steps made and success at each trial."""
    task = task_from_dict({**load_task("mountain-car").model_dump(exclude_unset=True), "reward": reward})
    model = load_reward_model(task)
    told, memory = signals_of(model, seen), memory_of(model, WORLDS)
    rng, table = np.random.default_rng(seed), np.zeros((BINS[0] * BINS[1], 3))
    everybody = np.ones(WORLDS, np.bool_)
    places, speeds, age = np.zeros(WORLDS), np.zeros(WORLDS), np.zeros(WORLDS, int)
    over, made = everybody, 0

    def look() -> NDArray[np.intp]:
        return np.asarray(np.abs(places[:, None] - PLACES).argmin(axis=1))

    for number in range(1, ROUNDS + 1):
        if over.any():
            places[over], speeds[over], age[over] = rng.uniform(-0.6, -0.4, over.sum()), 0.0, 0
            memory.begin(over, told[look()[over]] if memory.begins else None, float(made))
        before = cells(places, speeds)
        random = rng.random(WORLDS) < max(LEAST, 1 - 2 * number / ROUNDS)
        actions = np.where(random, rng.integers(0, 3, WORLDS), table[before].argmax(axis=1))
        own = np.zeros(WORLDS)
        for _ in range(KEPT):
            places, speeds = moved(places, speeds, actions - 1.0)
            own += (100.0 * (places >= FLAG) - 0.1 * np.abs(actions - 1.0)) / KEPT
        step = VectorStep(everybody, told[look()], everybody, np.zeros(WORLDS, np.bool_), own, float(made))
        paid = memory.step(step)
        ended = ended_by_judge(memory, everybody)
        made, age = made + WORLDS * KEPT, age + 1
        worth = paid + GAMMA * np.where(ended, 0.0, table[cells(places, speeds)].max(axis=1))
        for row in range(WORLDS):
            table[before[row], actions[row]] += RATE * (worth[row] - table[before[row], actions[row]])
        over = ended | (age >= LIMIT)
        if number % (ROUNDS // TRIALS) == 0:
            yield made, trial(table, np.random.default_rng(1000))


def measured(reward: dict[str, Any], seen: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Return what came of each seed."""
    found = []
    for seed in SEEDS:
        began = time.process_time()
        curve = list(learned(reward, seen, seed))
        half = next((made for made, success in curve if success >= HALF), None)
        found.append({
            "steps": curve[-1][0], "steps_to_half": half, "success": round(curve[-1][1], 4),
            "seconds": round(time.process_time() - began, 2),
        })  # fmt: skip
    return found


def table_of(found: dict[str, Any]) -> str:
    """Return the results as a table in Markdown."""
    rows = ["| reward | 50% after so many steps | success at the end |", "|---|---|---|"]
    for name, runs in found.items():
        halves = [run["steps_to_half"] for run in runs if run["steps_to_half"] is not None]
        middle = f"{np.median(halves):,.0f}" if len(halves) > len(runs) // 2 else "-"
        mean = mean_over_runs([run["success"] for run in runs], share=True)
        reached = f"{middle} ({len(halves)} of {len(runs)})"
        rows.append(f"| {name} | {reached} | {mean.mean:.2f} [{mean.low or 0:.2f}, {mean.high or 0:.2f}] |")
    return "\n".join(rows)


def main() -> None:
    """Train, keep and print."""
    parser = argparse.ArgumentParser(description="each key of a reward, with and without, by the simplest learner")
    parser.add_argument("--only", action="append", choices=CASES, metavar="KEY", help="one key; may be given again")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if not options.table:
        seen = pictures()
        rewards = {name: CASES[name] for name in options.only or CASES}
        for name, reward in rewards.items():
            found[name] = measured(reward, seen)
            found = {known: found[known] for known in CASES if known in found}
            write_text(RESULTS, json.dumps(found, indent=1) + "\n")
    print(table_of(found))


if __name__ == "__main__":
    main()
