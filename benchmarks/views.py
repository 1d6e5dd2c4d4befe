"""What further views, sentences to avoid and an "and" do to how well the embedded model tells goals: no training.

``python benchmarks/views.py kneeling arms-crossed`` draws the audit set of each task once, from three cameras, and
prints the numbers of several rewards on the very same states.
"""

import sys
from typing import Any

import numpy as np

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.auditing.frames import build_audit_set
from gym_vlmrm.auditing.numbers import measure
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import TaskSpec

CAMERAS = {"side": {"azimuth": 90.0}, "quarter": {"azimuth": 135.0}}
SIDES = ["main", "side", "quarter"]


AVOID = "a humanoid robot lying on its back"


def rewards_of(goal: str, scales: tuple[dict[str, float], dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Return what is compared, by name; `scales` bring goal and avoided sentence to values from 0 to 1."""
    parts = [{"goal": goal, **scales[0]}, {"avoid": AVOID, **scales[1]}]
    return {
        "one sentence, main": {"goal": goal},
        "side alone": {"goal": goal, "cameras": "side"},
        "quarter alone": {"goal": goal, "cameras": "quarter"},
        "views: mean": {"goal": goal, "cameras": SIDES},
        "views: min": {"goal": goal, "cameras": SIDES, "views": "min"},
        "views: max": {"goal": goal, "cameras": SIDES, "views": "max"},
        "avoid": {"goal": goal, "avoid": AVOID},
        "product": {"combine": "product", "parts": parts},
        "min": {"combine": "min", "parts": parts},
    }


def changed(task: TaskSpec, reward: dict[str, Any]) -> TaskSpec:
    """Return the task with further cameras and another reward."""
    data = task.model_dump(exclude_unset=True)
    scene = {**data.get("scene", {}), "cameras": CAMERAS}
    return task_from_dict({**data, "scene": scene, "reward": {"model": "embedded", **reward}})


def span(task: TaskSpec, frames: Any) -> dict[str, float]:
    """Return the centre and scale that bring a plain reward's values of frames to 0 to 1."""
    values = load_reward_model(task)(frames)
    low, high = float(values.min()), float(values.max())
    return {"center": low, "scale": 1 / (high - low)}


def main(names: list[str]) -> None:
    """Print a table of each task."""
    for name in names:
        task = load_task(name)
        goal = task.reward.goals[0]
        # Every picture is needed by somebody, so that one set serves all.
        everything = changed(task, {"goal": goal, "cameras": SIDES})
        size = load_reward_model(everything).frame_size
        with StagePool(everything, size, 1) as pool:
            frames = build_audit_set(everything, pool, seed=0)
        views = frames.seen.views
        assert views is not None
        print(f"| {name}, {len(frames)} states | AUC | AUC of near misses | others above the worst goal |")
        print("|---|---|---|---|")
        known = {slot: index for index, slot in enumerate(everything.reward.shots.slots)}
        front = np.ascontiguousarray(views[:, known[("main",)]])
        scales = (span(changed(task, {"goal": goal}), front), span(changed(task, {"goal": AVOID}), front))
        for words, reward in rewards_of(goal, scales).items():
            model: Any = load_reward_model(changed(task, reward))
            if hasattr(model, "signals"):
                seen = views[:, [known[slot] for slot in model.shots.slots]]
                values = model.alone(model.parts_alone(model.signals(seen if seen.shape[1] > 1 else seen[:, 0])))
            else:
                values = np.asarray(model(front), np.float64)
            numbers = measure(frames, values, resamples=100)
            near = "-" if numbers.auc_near_miss is None else f"{numbers.auc_near_miss:.3f}"
            auc = numbers.auc
            print(f"| {words} | {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}] | {near} | "
                  f"{numbers.above_worst_goal.value:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:] or ["kneeling", "arms-crossed", "hands-on-hips", "splits"])
