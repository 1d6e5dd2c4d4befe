"""What ``reward.ask`` saves and costs: success, frames judged and time, asking seldom and asking always.

``python benchmarks/asking.py train FOLDER cartpole kneeling splits --seeds 0,1,2`` trains each task both ways and
writes what came out into ``FOLDER/results.jsonl``; begun again it goes on where it was (``--minutes`` ends it before).
``table FOLDER`` prints it. ``cost FOLDER kneeling`` measures steps/s where every judged frame costs what an untrained
ViT-B-32 takes, which is accounted and not run beside.
"""

import argparse
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.playing import play
from gym_vlmrm.learning.recipes import choose_recipe
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.learning.trials import Trials
from gym_vlmrm.learning.vec_env import pool_spaces
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.world import make_worlds

SHARE = 0.05
WARM_UP = 130
"""Vector steps that are left out where costs are measured: the first two rollouts of a humanoid."""
EPISODES = 50
"""Of each finished run, played by its best checkpoint and judged by the state."""
BIGG, PAPER = 0.97e12, 10_000_000
"""FLOP of one picture in ViT-bigG-14, and steps of a humanoid in the paper, which judged every one of them."""


def variant(name: str, way: str) -> tuple[TaskSpec, Recipe]:
    """Return a task and its recipe: ``always`` as the recipe says, ``ask`` with a network, over every step."""
    task = load_task(name)
    _, recipe = choose_recipe(task)
    if way == "always":
        return task, recipe
    data = task.model_dump(exclude_unset=True)
    reward = {**data["reward"], "ask": float(way.partition("-")[2] or SHARE)}
    every = recipe.reward_every if way.startswith("held") else None
    return task_from_dict({**data, "reward": reward}), recipe.model_copy(update={"reward_every": every})


class Counted:
    """Counts the frames that a judge sees in training and in trials."""

    def __init__(self) -> None:
        self.frames = self.of_trials = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count as long as this lasts."""
        plain_score, plain_play, lock = ScoringTeam._score, Trials.play, threading.Lock()

        def score(team: Any, frames: Any, turns: Any = None) -> Any:
            with lock:
                self.frames += len(frames)
            return plain_score(team, frames, turns)

        def trial(trials: Any, on_step: Any) -> Any:
            before = self.frames
            try:
                return plain_play(trials, on_step)
            finally:
                self.of_trials += self.frames - before

        ScoringTeam._score, Trials.play = score, trial  # type: ignore[method-assign]
        try:
            yield
        finally:
            ScoringTeam._score, Trials.play = plain_score, plain_play  # type: ignore[method-assign]


def cpu_seconds() -> float:
    """Processor time of this process and of its workers that have ended [s]."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def one(folder: Path, name: str, way: str, seed: int, steps: int | None, deadline: float) -> bool:
    """Train one run as far as time allows; returns whether it is finished."""
    path, tally = folder / f"{name}-{way}-{seed}", folder / f"{name}-{way}-{seed}.json"
    spent = json.loads(tally.read_text()) if tally.exists() else {"frames": 0, "of_trials": 0, "cpu": 0.0}
    counted, began = Counted(), cpu_seconds()

    def look(_: Any) -> None:
        if time.monotonic() > deadline:
            os.kill(os.getpid(), signal.SIGTERM)

    with counted.counting():
        if (path / "run.json").exists():
            result = resume(path, workers=1, on_progress=look)
        else:
            task, recipe = variant(name, way)
            if steps is not None:
                recipe = recipe.model_copy(update={"steps": steps})
            result = train(task, recipe, seed=seed, output=path, workers=1, on_progress=look)
    spent["frames"] += counted.frames
    spent["of_trials"] += counted.of_trials
    spent["cpu"] += cpu_seconds() - began
    tally.write_text(json.dumps(spent))
    if result.interrupted:
        return False
    row = {"task": name, "way": way, "seed": seed, "steps": result.step, "minutes": result.seconds / 60, **spent}
    row |= judged(RunFolder.open(path))
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    return True


def judged(run: RunFolder) -> dict[str, Any]:
    """Play the best checkpoint greedily, and let the state judge; almost nothing is drawn."""
    task = override(run.task, model="brightness")
    pool = make_worlds(task, 10, render_size=16, every=10**6, verdicts=True, workers=1, autoreset_mode="SameStep")
    try:
        agent = load_agent(run.checkpoint("best").path)
        agent.enter(*pool_spaces(pool), task.env.id)
        episodes = play(pool, agent, load_reward_model(task), EPISODES, seed=20_000, every=10**6)
    finally:
        pool.close()
    shares = [float(np.mean(episode.successes)) for episode in episodes]  # type: ignore[arg-type]
    metrics = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    place = metrics[0].index("ask/error") if "ask/error" in metrics[0] else None
    errors = [float(row[place]) for row in metrics[1:] if row[place]] if place is not None else []
    return {
        "successes": sum(share >= 0.5 for share in shares),
        "share": float(np.mean(shares)),
        "error": errors[-1] if errors else None,
    }


def table(folder: Path) -> None:
    """Print what the runs of each task and way came to."""
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    print("| task | way | seeds | steps | episodes in success | share of steps in success, per seed | frames judged in "
          "training | in trials | CPU minutes | error |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, way in dict.fromkeys((row["task"], row["way"]) for row in rows):
        found = sorted((r for r in rows if (r["task"], r["way"]) == (name, way)), key=lambda r: r["seed"])
        total = EPISODES * len(found)
        wins = sum(r["successes"] for r in found)
        low, high = binomtest(wins, total).proportion_ci(method="wilson")

        def mean(key: str, found: list[Any] = found) -> float:
            return float(np.mean([r[key] for r in found]))

        shares = ", ".join(f"{r['share']:.2f}" for r in found)
        errors = ", ".join(f"{r['error']:.2f}" for r in found if r["error"] is not None)
        print(
            f"| {name} | {way} | {', '.join(str(r['seed']) for r in found)} | {found[0]['steps']:,} | "
            f"{wins / total:.0%} [{low:.0%}, {high:.0%}] | {shares} | {mean('frames') - mean('of_trials'):,.0f} | "
            f"{mean('of_trials'):,.0f} | {mean('cpu') / 60:.1f} | {errors or '-'} |"
        )
    asked = PAPER * SHARE
    print(f"\nViT-bigG-14 over the paper's {PAPER:,} steps: {PAPER * BIGG / 1e18:.1f} EFLOP asking always, "
          f"{asked * BIGG / 1e18:.3f} with a share of {SHARE:g} ({SHARE:.1%})")  # fmt: skip


def seconds_per_frame(batch: int = 16, times: int = 3) -> float:
    """CPU time that an untrained ViT-B-32 in bf16 takes for a picture, on one thread: the least of some batches [s]."""
    import open_clip
    import torch

    torch.set_num_threads(1)
    tower = open_clip.create_model("ViT-B-32").visual.eval().bfloat16()
    pictures = torch.zeros(batch, 3, 224, 224, dtype=torch.bfloat16)
    taken = []
    with torch.no_grad():
        for _ in range(times):
            began = time.process_time()
            tower(pictures)
            taken.append((time.process_time() - began) / batch)
    return min(taken)


def cost(folder: Path, name: str, steps: int, vit: float) -> None:
    """Train a few rollouts each way without trials, and print CPU time per step after the first rollout.

    To it is added what the judged frames would take in a model that needs `vit` seconds for each.
    """
    for way in ("always", "ask"):
        task, recipe = variant(name, way)
        recipe = recipe.model_copy(update={"steps": steps, "checkpoint_every": 10**9})
        counted = Counted()
        marks: list[tuple[int, float, int]] = []

        def look(
            progress: Any,
            counted: Counted = counted,
            marks: list[tuple[int, float, int]] = marks,
            recipe: Recipe = recipe,
        ) -> None:
            changed = not marks or counted.frames != marks[-1][2]  # asked frames come once a rollout
            if progress.step > WARM_UP * recipe.num_envs and changed:
                marks.append((progress.step, cpu_seconds(), counted.frames))

        with counted.counting():
            Trials.play = _no_trial  # type: ignore[method-assign]
            train(
                task, recipe, seed=0, output=folder / f"cost-{name}-{way}-{time.time_ns()}", workers=1, on_progress=look
            )
        (first, began, before), (last, ended, after) = marks[0], marks[-1]
        own, share = (ended - began) / (last - first), (after - before) / (last - first)
        print(
            f"{name} {way}: {1000 * own:.2f} ms of CPU per step beside {share:.3f} judged frames per step, "
            f"{1 / own:.0f} steps/s; with {1000 * vit:.0f} ms per frame {1 / (own + share * vit):.0f} steps/s",
            flush=True,
        )


def _no_trial(trials: Any, _: Any) -> Any:
    from gym_vlmrm.learning.records import Best

    return Best(step=trials._setup.model.num_timesteps, vlm_reward=0.0, task_reward=None, success=None, episodes=1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "table", "cost"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--ways", default="always,ask")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "table":
        table(given.folder)
    elif given.what == "cost":
        vit = seconds_per_frame()
        for name in given.tasks:
            cost(given.folder, name, given.steps or 5120, vit)
    else:
        deadline = time.monotonic() + 60 * given.minutes
        results = given.folder / "results.jsonl"
        done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        for seed in map(int, given.seeds.split(",")):
            for name in given.tasks:
                for way in given.ways.split(","):
                    known = any((row["task"], row["way"], row["seed"]) == (name, way, seed) for row in done)
                    if not known and not one(given.folder, name, way, seed, given.steps, deadline):
                        return


if __name__ == "__main__":
    main()
