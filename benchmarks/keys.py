"""What each key of `reward:` does to learning: one task, three seeds, with the key and without it.

``python benchmarks/keys.py`` trains what is missing, a run at a time, and prints the table; ``--only fade`` takes one
key, ``--seed 1`` one seed, ``--minutes 8`` begins no run after that, ``--table`` trains nothing. Runs lie below
``runs/keys``, where one that was interrupted begins anew; what came of them is kept in ``benchmarks/keys.json``. Runs
without a key are shared by the keys of a task.

Success is the rule of the task, judged from the state, never by the reward: the share of the steps in the last half of
20 greedy episodes, in worlds whose reward ends no episode. Minutes are processor time of the whole training, trials of
checkpoints included, so that they survive a machine that does other things as well.
"""

import argparse
import contextlib
import json
import math
import shutil
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from gym_vlmrm import load_task
from gym_vlmrm.files import make_folder, write_json, write_text
from gym_vlmrm.learning import train
from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.learning.comparison import mean_of_runs
from gym_vlmrm.learning.evaluation import summarize
from gym_vlmrm.learning.playing import play
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.learning.vec_env import pool_spaces
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import make_worlds

HERE = Path(__file__).parent
RESULTS, RUNS, RESULT = HERE / "keys.json", Path("runs/keys"), "result.json"
SEEDS = (0, 1, 2)
EPISODES, EPISODE_SEED = 20, 40_000
HALF = 0.5
NEVER = 10**9


@dataclass(frozen=True)
class Base:
    """A task, and what its recipe is here."""

    task: str
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A key: what it adds to a base."""

    base: str
    reward: dict[str, Any]
    scene: dict[str, Any] = field(default_factory=dict)


CARTPOLE = {"steps": 8000, "reward_every": 8, "checkpoint_every": 1600}
KNEELING = {"steps": 65_536, "reward_every": 8, "checkpoint_every": 8192}
POLE = "pole vertically upright on top of the cart"
MIDDLE = "cart in the middle"

BASES = {"cartpole": Base("cartpole", CARTPOLE), "kneeling": Base("kneeling", KNEELING)}
CASES = {
    "avoid": Case("cartpole", {"avoid": "pole hanging down below the cart"}),
    "shape: difference": Case("cartpole", {"shape": "difference"}),
    "shape: potential": Case("cartpole", {"parts": [{"goal": POLE, "scale": 5.0, "shape": "potential"}]}),
    "window: mean": Case("cartpole", {"window": {"frames": 2}}),
    "window: change": Case("cartpole", {"parts": [{"goal": POLE, "window": {"frames": 2, "join": "change"}}]}),
    "task": Case("cartpole", {"task": 1.0}),
    "success_seen: ends": Case("cartpole", {"success_seen": {"above": 0.8, "hold": 8, "ends": True}}),
    "combine: min": Case("cartpole", {
        "goal": None, "combine": "min",
        "parts": [{"goal": POLE, "center": 0.2, "scale": 1.4}, {"goal": MIDDLE, "center": 0.3, "scale": 4.0}],
    }),
    "center, scale": Case("cartpole", {"center": 0.2, "scale": 1.4}),
    "parts": Case("cartpole", {"parts": [{"goal": MIDDLE}]}),
    "fade": Case("cartpole", {"parts": [{"goal": MIDDLE, "fade": {"to": 0, "over": 5000}}]}),
    "cameras": Case("kneeling", {"cameras": ["main", "quarter"]}, {"cameras": {"quarter": {"azimuth": 135.0}}}),
}  # fmt: skip


def task_of(base: Base, case: Case | None) -> TaskSpec:
    """Return the base's task with its own short recipe, and with the key if there is one."""
    data = load_task(base.task).model_dump(exclude_unset=True)
    added = case or Case("", {})
    reward = {**data["reward"], **added.reward}
    scene = {**data.get("scene", {}), **added.scene}
    recipe = {**data["training"]["default"], **base.recipe}
    whole = {**data, "reward": reward, "training": {"default": recipe}}
    return task_from_dict({**whole, "scene": scene} if scene else whole)


def runs_of(keys: list[str], seeds: list[int]) -> dict[str, tuple[str, Case | None, int]]:
    """Return the runs that are needed, seed by seed: name to base, key and seed."""
    wanted: dict[str, tuple[str, Case | None, int]] = {}
    for seed in seeds:
        for key in keys:
            case = CASES[key]
            wanted[f"without, {case.base}, {seed}"] = (case.base, None, seed)
            wanted[f"{key}, {seed}"] = (case.base, case, seed)
    return wanted


class Clock:
    """Processor time at each number of steps."""

    def __init__(self) -> None:
        self.steps, self.seconds = [0], [time.process_time()]

    def __call__(self, progress: Progress) -> None:
        """Note where a training is."""
        self.steps.append(progress.step)
        self.seconds.append(time.process_time())

    def minutes(self, step: int) -> float:
        """Minutes that it took to get to `step`."""
        return float(np.interp(step, self.steps, np.array(self.seconds) - self.seconds[0])) / 60


class Nothing:
    """A reward model for worlds in which only the state counts."""

    name, frame_size = "nothing", 8

    def __call__(self, frames: Any) -> Any:
        """Return a number of each frame."""
        return np.arange(len(frames), dtype=np.float32)


def successes(run: RunFolder, task: TaskSpec) -> dict[int, list[float]]:
    """Return of each checkpoint what each of the episodes was worth: the share of its last half in success."""
    found: dict[int, list[float]] = {}
    pool = make_worlds(
        task, EPISODES, render_size=Nothing.frame_size, every=NEVER, verdicts=True, workers=1,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    with contextlib.closing(pool), one_torch_thread():
        for checkpoint in run.checkpoints():
            agent = load_agent(checkpoint.path)
            agent.enter(*pool_spaces(pool), task.env.id)
            episodes = play(pool, agent, Nothing(), EPISODES, seed=EPISODE_SEED, every=NEVER)
            found[checkpoint.step] = [summarize([episode]).hold or 0.0 for episode in episodes]
    return found


def made(folder: Path, base: Base, case: Case | None, seed: int) -> dict[str, Any]:
    """Train a run and return what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    clock, task = Clock(), task_of(base, case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        recipe = task.training["default"]
        run = train(task, recipe, recipe_name="default", seed=seed, output=folder, workers=1, on_progress=clock).run
        clock(Progress(run.record.step, recipe.steps, 0.0, {}))
        scores = successes(run, load_task(base.task))
    reached = next((step for step, shares in scores.items() if np.mean(shares) >= HALF), None)
    end = max(scores)
    return {
        "steps": end,
        "minutes": round(clock.minutes(end), 2),
        "steps_to_half": reached,
        "minutes_to_half": None if reached is None else round(clock.minutes(reached), 2),
        "success": round(float(np.mean(scores[end])), 4),
        "curve": {str(step): round(float(np.mean(shares)), 3) for step, shares in scores.items()},
    }


def known() -> dict[str, Any]:
    """Return what came of all runs so far, and keep it."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in runs_of(list(CASES), list(SEEDS)):
        if (place := folder_of(name) / RESULT).exists():
            found[name] = json.loads(place.read_text(encoding="utf-8"))
    write_text(RESULTS, json.dumps(found, indent=1, sort_keys=True) + "\n")
    return found


def folder_of(name: str) -> Path:
    """Return the run folder of a run's name."""
    return RUNS / name.replace(": ", "-").replace(", ", "-").replace(" ", "-")


def table(found: dict[str, Any]) -> str:
    """Return all that is known as a table in Markdown."""
    rows = ["| key | task | | steps to 50% | minutes to 50% | success at the end |", "|---|---|---|---|---|---|"]
    for key, case in CASES.items():
        for words, name in (("without", f"without, {case.base}"), ("with", key)):
            runs = [found[f"{name}, {seed}"] for seed in SEEDS if f"{name}, {seed}" in found]
            if runs:
                what = (f"`{key}`", case.base) if words == "without" else ("", "")
                rows.append("| " + " | ".join([*what, words, *cells(runs)]) + " |")
    return "\n".join(rows)


def cells(runs: list[dict[str, Any]]) -> list[str]:
    """Return steps and minutes to half of each seed, and the mean success with its interval."""
    steps = ", ".join("-" if run["steps_to_half"] is None else f"{run['steps_to_half']:,}" for run in runs)
    minutes = ", ".join("-" if run["minutes_to_half"] is None else f"{run['minutes_to_half']:.1f}" for run in runs)
    mean = mean_of_runs([run["success"] for run in runs])
    interval = ""
    if mean.low is not None and mean.high is not None:
        interval = f" [{max(mean.low, 0.0):.2f}, {min(mean.high, 1.0):.2f}]"
    return [steps, minutes, f"{mean.mean:.2f}{interval}"]


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description="each key of a reward, with and without")
    parser.add_argument("--only", action="append", choices=CASES, metavar="KEY", help="one key; may be given again")
    parser.add_argument("--seed", action="append", type=int, choices=SEEDS, help="one seed; may be given again")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after so many")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    if not options.table:
        make_folder(RUNS)
        wanted, there = runs_of(options.only or list(CASES), options.seed or list(SEEDS)), known()
        began = time.perf_counter()
        for name in [name for name in wanted if name not in there]:
            if time.perf_counter() - began > 60 * options.minutes:
                break
            base, case, seed = wanted[name]
            found = made(folder_of(name), BASES[base], case, seed)
            write_json(folder_of(name) / RESULT, found)
            print(name, found, flush=True)
    print(table(known()))


if __name__ == "__main__":
    main()
