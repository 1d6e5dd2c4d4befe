"""Write ``docs/worlds.md`` from the task files and ``docs/worlds.json``: ``python docs/make_worlds.py [PAGE]``.

``--measure [TASK ...]`` rates held-out frames of the worlds first, ``--audit [TASK ...]`` asks `vlmrm audit` for its
verdict, ``--run TASK ...`` trains agents by the tasks' recipes, plays them and films one episode of each; all keep what
came out in ``docs/worlds.json``.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.rules import rule_text
from gym_vlmrm.task.spec import TaskSpec

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "worlds.json", ROOT / "docs" / "worlds.md"
RUNS, FILMS = ROOT / "runs" / "worlds", ROOT / "docs" / "environments"
PICTURES = 40
"""Pictures of a film, spread over an episode."""
HELD_OUT, SEED = 200, 777_000
"""Frames of each world, found by an exploration of their own."""
HUNTED = 256
"""States that the hunt for the highest reward of each task looks at."""
EPISODES = 20
HEAD = """\
# Tasks of Gymnasium's own worlds

Written by `python docs/make_worlds.py` from the task files and `docs/worlds.json`. Ten of Gymnasium's worlds,
judged by two embedded models (`embedded-gymnasium` and `embedded-mujoco`), which a task that names no model gets by its
world. `make embedded-gymnasium` and `make embedded-mujoco` taught them what the tasks' own `captions:` say; they know
nothing else. Their weights take a byte each (`tests/test_packed.py` says what that changes). When `embedded-mujoco` was
taught, `ant-tall` and `pusher-goal` were still among its tasks. The pendulum and the cart with one pole are thin lines
on white and on black in Gymnasium; here a meadow stands behind them (`scene.backdrop`). The cart with two poles is
drawn as in Gymnasium. More poses of the humanoid stand among the worlds.

* audit: the verdict of `vlmrm audit TASK` (`python docs/make_worlds.py --audit`), before any training; where random
  play and exploring show too little of the goal, with an agent's frames, or none.
* AUC: how often a frame in success is worth more than one that is not, of {frames} frames of the world that another
  exploration found (`python docs/make_worlds.py --measure`); EPIC: the distance of reward and success over the same
  frames, 0 to 1. "-": fewer than five in success, too few to tell.
* exploit search: the highest reward of a state that is no success, and of one that is, among those frames and {hunted}
  states of a hunt: stints of random play from them compete for the reward, and the best rated go on. Where the wrong
  state pays more, an agent may end there: {fooled}.
* trained: share of {episodes} episodes in success by the rule, that is in at least half of their steps, with the 95%
  interval; random: the same of random play. One seed, the recipe `default`, the checkpoint with the best reward
  (`python docs/make_worlds.py --run TASK`); minutes are wall-clock time of that training on a core that others shared.
* Nothing in a cell: not trained yet. Agents so far: {agents} of {tasks}. What failed stands here as it is.

Worlds that need packages of their own, Fetch and Meta-World, are in `examples/extras/`
([teaching.md](teaching.md#worlds-of-other-packages)). Acrobot, LunarLander, BipedalWalker and dm_control have no tasks.

Four more tasks are in `examples/worlds/`, because these models rate them wrongly: the arm that touches its target, the
ant that stands tall, the cheetah that rears up, and the gripper at the red goal, whose caption and rule do not mind how
high above it it is.
"""


POSES = """
The embedded model of the ten tasks ([embedded-model.md](embedded-model.md)) judges these: it has words for more poses.
AUC, EPIC and the exploit search are `vlmrm audit`'s here, by its own states. What the same recipe did not learn with
seed 0 lies in `examples/tasks/` only, where `vlmrm train FILE` and `vlmrm eval RUN --episodes {episodes}` try it;
episodes in success, and share of steps: {failed}. Of the 29 pairs of legs and arms that the model never saw together
six have task files; the other pairs, a T-pose and bowing were not tried.
"""
FAILED = {
    "squatting": (0, 0.017),
    "all-fours": (0, 0.0),
    "kneeling-arms-raised": (0, 0.001),
    "kneeling-arms-wide": (0, 0.324),
    "splits-arms-wide": (0, 0.0),
}
"""Poses that the recipe did not learn: episodes in success, share of steps."""


def tasks_here() -> dict[str, TaskSpec]:
    """Return the tasks of this page by name: those with captions, and the poses that are none of the paper's tasks."""
    tasks = builtin_tasks()
    return {name: task for name, task in tasks.items() if name not in PAPER_TASKS and not task.reward.sees_films}


def read_results() -> dict[str, dict[str, Any]]:
    """Return what is known of each task."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def keep(name: str, found: dict[str, Any]) -> None:
    """Add what was found out of a task."""
    results = read_results()
    results[name] = {**results.get(name, {}), **found}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n", encoding="utf-8")


def measure(names: Iterable[str]) -> None:
    """Rate held-out frames, and hunt for the highest reward from there on."""
    from gym_vlmrm import load_reward_model
    from gym_vlmrm.learning.statistics import auc, epic_distance
    from gym_vlmrm.teaching.hunt import SEEN_PER_KEPT, hunt
    from gym_vlmrm.teaching.lessons import World
    from gym_vlmrm.worlds.explore import Explorer

    tasks = tasks_here()
    drawn: dict[str, Any] = {}
    for name in names:
        task = tasks[name]
        if not task.captions:
            keep(name, audited(task))
            print(name, read_results()[name], flush=True)
            continue
        world = repr((task.env.model_dump(), task.scene.model_dump()))
        if world not in drawn:
            explorer = Explorer(task, task.captions, 96, SEED)
            drawn[world] = explorer, explorer.explore(HELD_OUT)
        rule, (explorer, sights) = task.success_rule, drawn[world]
        assert rule is not None
        judge = load_reward_model(task)
        labels = np.array([rule.holds(sight.quantities) for sight in sights])
        rewards = judge(np.stack([sight.frame for sight in sights])).astype(np.float64)
        enough = 5 <= labels.sum() <= len(labels) - 5

        def rate(frames: Any, task: Any = task, judge: Any = judge) -> Any:
            return np.repeat(judge(frames)[:, None], len(task.captions), axis=1)

        (prey,) = hunt(
            World([task], list(task.captions)), explorer, rate, HUNTED // SEEN_PER_KEPT, SEED,
            place=RUNS, steps=1, workers=1, on_done=lambda seen, budget: None,
        )  # fmt: skip
        right = np.concatenate([labels, [rule.holds(sight.quantities) for sight in prey.sights]])
        worth = np.concatenate([rewards, prey.ratings])
        found = {
            "frames": len(labels),
            "in_success": int(labels.sum()),
            "auc": round(float(auc(rewards, labels)), 3) if enough else None,
            "epic": round(float(epic_distance(rewards, labels)), 3) if enough else None,
            "best_right": round(float(worth[right].max()), 3) if right.any() else None,
            "best_wrong": round(float(worth[~right].max()), 3),
        }
        keep(name, found)
        print(name, found, flush=True)
    for explorer, _ in drawn.values():
        explorer.close()


def ask_audit(names: Iterable[str]) -> None:
    """Ask the audit for its verdict, before any training; where it has too few frames of the goal, with an agent."""
    import gym_vlmrm
    from gym_vlmrm.auditing.frames import TooFewFramesError

    for name in names:
        folder, run = RUNS / f"audit-{name}", RUNS / name
        try:
            report = gym_vlmrm.audit(tasks_here()[name], output=folder, workers=1).report
        except TooFewFramesError as error:
            if not (run / "run.json").is_file():
                keep(name, {"verdict": f"not audited: too few frames of the goal ({error.count})"})
                continue
            report = gym_vlmrm.audit(tasks_here()[name], output=folder, policy=run, workers=1).report
        keep(name, {"verdict": report.models[0].verdict.label})
        print(name, report.models[0].verdict.label, flush=True)


def audited(task: TaskSpec) -> dict[str, Any]:
    """Rate a pose by the states of an audit, which can put the body where it wants."""
    import gym_vlmrm

    report = gym_vlmrm.audit(task, output=RUNS / f"audit-{task.id.rpartition('/')[2]}", workers=1).report
    numbers, exploit = report.findings[0].numbers, report.models[0].exploit
    assert exploit is not None
    found = {
        key: None if value is None else round(value.value, 3)
        for key, value in (("auc", numbers.auc), ("epic", numbers.epic))
    }
    best = None if exploit.best_success is None else round(exploit.best_success, 3)
    return {**found, "best_right": best, "best_wrong": round(exploit.best_other, 3)}


def run(names: Iterable[str]) -> None:
    """Train an agent of each task, or go on where a training stopped, and play it."""
    from gym_vlmrm.learning import choose_recipe, evaluate, resume, train
    from gym_vlmrm.learning.run_folder import RunFolder

    for name in names:
        folder, task = RUNS / name, tasks_here()[name]
        if not folder.is_dir():
            train(task, choose_recipe(task)[1], output=folder, workers=1)
        elif RunFolder.open(folder).record.status != "finished":
            resume(folder, workers=1)
        record = RunFolder.open(folder).record
        if record.status != "finished":
            sys.exit(f"{name} stopped after {record.step:,} steps; the same command goes on")
        played = evaluate(folder, episodes=EPISODES, workers=1, video=False)
        policy = played.policy
        found = {
            "trained": policy.successful_episodes,
            "interval": [round(policy.success_rate_low, 3), round(policy.success_rate_high, 3)],
            "random": played.random.successful_episodes,
            "reward": [round(scores.vlm_reward, 3) for scores in (policy, played.random)],
            "episodes": policy.episodes,
            "steps": record.step,
            "minutes": round(record.seconds / 60, 1),
        }
        keep(name, found)
        film(task, folder, FILMS / f"{name}.gif")
        print(name, found, flush=True)


def film(task: TaskSpec, run: Path, path: Path) -> None:
    """Save one episode of a run's best policy as a small GIF."""
    import gymnasium as gym

    import gym_vlmrm
    from gym_vlmrm.learning.video import gif_bytes

    policy, env = gym_vlmrm.load_policy(run), gym.make(task.id, reward="task", render_size=128)
    observation, _ = env.reset(seed=SEED)
    frames, over = [env.render()], False
    while not over:
        observation, _, terminated, truncated, _ = env.step(policy.predict(observation)[0])
        frames.append(env.render())
        over = terminated or truncated
    env.close()
    path.write_bytes(gif_bytes(frames[:: -(-len(frames) // PICTURES)], side=128))


def render() -> str:
    """Return the page."""
    results, lines = read_results(), []
    tasks = tasks_here()
    worlds = dict.fromkeys(task.env.id for task in sorted(tasks.values(), key=lambda task: task.env.id))
    for world in worlds:
        lines += ["", f"## {world}", ""]
        if world == "Humanoid-v5":
            failed = ", ".join(f"{name} ({good}; {steps:.1%})" for name, (good, steps) in FAILED.items())
            lines += [POSES.strip().format(episodes=EPISODES, failed=failed), ""]
        lines += [
            "| task | goal | success | audit | AUC | EPIC | best wrong, best right | trained | random | minutes |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for name, task in tasks.items():
            if task.env.id == world:
                lines.append(_row(name, task, results.get(name, {})))
    agents = sum("trained" in results.get(name, {}) for name in tasks)
    rows = {name: results.get(name, {}) for name in tasks}
    rated = {name: row for name, row in rows.items() if row.get("best_right") is not None}
    fooled = [name for name, row in rated.items() if row["best_wrong"] > row["best_right"]]
    head = HEAD.format(
        frames=HELD_OUT, episodes=EPISODES, hunted=HUNTED, agents=agents, tasks=len(tasks), fooled=", ".join(fooled)
    )  # fmt: skip
    return head + "\n".join(lines) + "\n"


def _row(name: str, task: TaskSpec, found: dict[str, Any]) -> str:
    figures = [_figure(found, key) for key in ("auc", "epic")]
    figures.append(", ".join(filter(None, (_figure(found, key) for key in ("best_wrong", "best_right")))))
    played = ["", "", ""]
    if "trained" in found:
        low, high = found["interval"]
        trained, random = (f"{found[key] / found['episodes']:.0%}" for key in ("trained", "random"))
        played = [f"{trained} [{low:.0%}, {high:.0%}]", random, f"{found['minutes']:.1f}"]
    rule = f"`{rule_text(task.success)}`"
    cells = [f"`{name}`", " / ".join(task.reward.goals), rule, found.get("verdict", ""), *figures, *played]
    return f"| {' | '.join(cells)} |"


def _figure(found: dict[str, Any], key: str) -> str:
    return "" if key not in found else "-" if found[key] is None else f"{found[key]:.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--measure", nargs="*", metavar="TASK")
    parser.add_argument("--audit", nargs="*", metavar="TASK")
    parser.add_argument("--run", nargs="+", metavar="TASK", default=[])
    asked = parser.parse_args()
    if asked.measure is not None:
        measure(asked.measure or tasks_here())
    if asked.audit is not None:
        ask_audit(asked.audit or tasks_here())
    run(asked.run)
    asked.page.write_text(render(), encoding="utf-8")
