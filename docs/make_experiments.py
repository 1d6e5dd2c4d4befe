"""The paper's other figures in our small world: size of the judge, textures and camera, for kneeling.

``python docs/make_experiments.py scale`` and ``looks`` train, play and audit what is not there yet, below
``runs/experiments``; ``scale`` needs the models of ``python -m embedded_model sizes``. Each writes
``docs/experiments.md`` and its data; without an argument only the page is written.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from make_results import train

import gym_vlmrm
from gym_vlmrm.auditing.results import AuditReport
from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import read_model, write_json, write_text
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.poses.poses import GOAL_POSES

ROOT = Path(__file__).resolve().parents[1]
PAGE, DATA = ROOT / "docs" / "experiments.md", ROOT / "docs" / "experiments.json"
RUNS, MODELS = Path("runs/experiments"), Path("build/sizes/models")
EPISODES = 50
GYMNASIUMS_CAMERA = {"name": "track"}
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "original-track": ("Gymnasium's textures, Gymnasium's camera", {"look": "original", "camera": GYMNASIUMS_CAMERA}),
    "original": ("Gymnasium's textures, the authors' camera", {"look": "original"}),
    "track": ("textured, Gymnasium's camera", {"camera": GYMNASIUMS_CAMERA}),
    "ours": ("textured, the authors' camera", {}),
}
ABOUT = """\
# The paper's other figures, in our small world

Written by `python docs/make_experiments.py`; the numbers stand in [experiments.json](experiments.json). This is a small
model of the paper's claims and **no reproduction**: its judges are CLIP models that saw the whole internet, ours were
taught frames of these very scenes. Agents are of one seed, by the task's default recipe (PPO, 200,000 steps, two cores
of {machine}); success is judged from the state over {episodes} episodes, with Wilson's 95% interval.
"""
SCALE = """\
## Scale

The paper: of RN50, ViT-L-14, ViT-H-14 and ViT-bigG-14 only the largest teaches kneeling: 0%,
0%, 0%, 100%. Here: one recipe, {frames} frames, five widths of the same residual network, without the rounds of hard
negatives that made the embedded model, and so weaker than it. AUC and EPIC are of the eight humanoid tasks, on {states}
fresh states: posed bodies, the median and the worst task.

`python -m embedded_model sizes && python docs/make_experiments.py scale`

"""
LOOK = """\
## Textures and camera

The paper: a kneeling agent succeeds in 36% of episodes with Gymnasium's textures and camera, in 91%
with textures, in 100% with textures and another camera. Here: the embedded model, nine tenths of whose frames
had textures, and all of whose cameras stood about where the authors' stands. Textures matter as in the paper, the
camera less: the model knows Gymnasium's bare body better from the side than from the front. AUC and EPIC are
`vlmrm audit`'s, with 95% intervals over frames.

`python docs/make_experiments.py looks`

"""
LANDSCAPES = """
## Reward landscapes

CartPole and MountainCar for alpha 0 to 1: [landscapes](landscapes/README.md).
"""


def agent(task: TaskSpec, folder: Path) -> dict[str, Any]:
    """Train, or go on, and play; what is there is not made again."""
    run = train(folder, task, "default", 0, None)
    found = read_evaluation(run)
    if found is None or found.policy.episodes != EPISODES:
        found = gym_vlmrm.evaluate(run.path, episodes=EPISODES)
    return {
        "steps": run.record.step,
        "minutes": run.record.seconds / 60,
        "processor": run.record.machine.get("processor", "an unknown processor"),
        "policy": found.policy.model_dump(mode="json"),
        "random": found.random.model_dump(mode="json"),
    }


def scale() -> list[dict[str, Any]]:
    """Return the figures of each size of judge, and those of the agent that it taught."""
    rows: list[dict[str, Any]] = json.loads((MODELS / "figures.json").read_text())
    for row in rows:
        task = override(gym_vlmrm.load_task("kneeling"), model=f"local-dir:{MODELS / row['model']}")
        row["agent"] = agent(task, RUNS / f"scale-{row['model']}")
    recipe = json.loads((MODELS.parent / "recipe.json").read_text())
    return [{**row, "frames": sum(recipe["counts"].values())} for row in rows]


def looks() -> list[dict[str, Any]]:
    """Return the figures of each look, and those of the agent that learned in it."""
    rows = []
    for name, (words, scene) in LOOKS.items():
        task = override(gym_vlmrm.load_task("kneeling"), scene=scene)
        numbers = _audit(task, RUNS / f"audit-{name}").findings[0].numbers
        figures = {key: getattr(numbers, key).model_dump(mode="json") for key in ("auc", "epic")}
        rows.append({"look": words, **figures, "agent": agent(task, RUNS / f"look-{name}")})
    return rows


def _audit(task: TaskSpec, folder: Path) -> AuditReport:
    report = folder / "report.json"
    return read_model(report, AuditReport) if report.is_file() else gym_vlmrm.audit(task, output=folder).report


def page(data: dict[str, Any]) -> str:
    """Return the page; raises RunError where no experiment has been made."""
    if not data:
        raise RunError("no experiment has been made yet; name one: scale or looks")
    agents = [row["agent"] for rows in data.values() for row in rows]
    text = ABOUT.format(episodes=EPISODES, machine=" and ".join(sorted({one["processor"] for one in agents})))
    if "scale" in data:
        rows = data["scale"]
        text += "\n" + SCALE.format(frames=f"{rows[0]['frames']:,}", states=f"{rows[0]['states']:,}")
        text += _table(
            ["image tower", "AUC, median (worst)", "EPIC, median (worst)", "kneeling, episodes in success", "steps"],
            [[f"{row['megabytes']:.2f} MB", *_medians(row["tasks"]), *_success(row["agent"])] for row in rows],
        )
    if "looks" in data:
        text += "\n" + LOOK
        text += _table(
            ["look", "AUC", "EPIC", "kneeling, episodes in success", "steps"],
            [
                [row["look"], _interval(row["auc"]), _interval(row["epic"]), *_success(row["agent"])]
                for row in data["looks"]
            ],
        )
    return text + LANDSCAPES


def _medians(tasks: list[dict[str, Any]]) -> list[str]:
    chosen = [row for row in tasks if row["task"] in GOAL_POSES]
    auc, epic = ([row[key] for row in chosen] for key in ("auc_posed", "epic"))
    return [f"{median(auc):.3f} ({min(auc):.3f})", f"{median(epic):.3f} ({max(epic):.3f})"]


def _success(found: dict[str, Any]) -> list[str]:
    policy = found["policy"]
    low, high = policy["success_rate_low"], policy["success_rate_high"]
    return [f"{policy['success_rate']:.0%} [{low:.0%}, {high:.0%}]", f"{policy['success_share']:.1%}"]


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Make an experiment, or the page alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", nargs="?", choices=("scale", "looks"))
    experiment = parser.parse_args().experiment
    data: dict[str, Any] = json.loads(DATA.read_text()) if DATA.is_file() else {}
    try:
        if experiment is not None:
            data[experiment] = {"scale": scale, "looks": looks}[experiment]()
            write_json(DATA, data)
        write_text(PAGE, page(data))
    except (VLMRMError, OSError) as error:
        sys.exit(f"error: {error}")
    print(PAGE)


if __name__ == "__main__":
    main()
