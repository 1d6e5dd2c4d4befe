"""Draw reward landscapes of CartPole and MountainCar for alpha 0 to 1, textured or not.

``python docs/make_landscapes.py`` writes ``docs/landscapes/``: the figure 2 of the paper, for the embedded model.
"""

import sys
from pathlib import Path

import gym_vlmrm
from gym_vlmrm.auditing.results import AuditReport
from gym_vlmrm.files import write_text
from gym_vlmrm.reports.charts import landscape_chart, on_white
from gym_vlmrm.task.catalog import override

PAGES = Path(__file__).with_name("landscapes")
TASKS = {"cartpole": "CartPole", "mountain-car": "MountainCar"}
LOOKS = {"textured": "textured", "original": "as Gymnasium draws it"}
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
HEAD = """\
# Reward landscapes

Written by `python docs/make_landscapes.py`: the mean reward along one coordinate of the state, each line scaled to
0..1, for strengths of goal-baseline regularisation (alpha) from 0 to 1. Green: what the rule calls success.

The paper draws the same for ViT-bigG-14 (its figure 2). This is **no reproduction of that**: the embedded model was
trained on these very scenes, on few frames as Gymnasium draws them. EPIC is the distance to the rule of success (0
best), AUC the chance that a frame of the goal scores above another; brackets are 95% bootstrap intervals over frames.
"""


def numbers(report: AuditReport) -> str:
    """Return a table with a line for each alpha."""
    lines = ["| alpha | EPIC | AUC | rank correlation with nearness |", "|---|---|---|---|"]
    for finding in report.findings:
        found = finding.numbers
        cells = [
            "-" if value is None else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
            for value in (found.epic, found.auc, found.spearman_distance)
        ]
        lines.append(f"| {finding.candidate.alpha:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def make_landscapes(pages: Path = PAGES) -> Path:
    """Write the pictures and the page; returns the page's path."""
    pages.mkdir(parents=True, exist_ok=True)
    text = HEAD
    for name, title in TASKS.items():
        for look, words in LOOKS.items():
            task = override(gym_vlmrm.load_task(name), scene={"look": look})
            report = gym_vlmrm.audit(task, alpha=list(ALPHAS), evaluations=0, workers=1).report
            (drawn,) = report.landscapes
            picture = f"{name}-{look}.svg"
            write_text(pages / picture, on_white(landscape_chart(drawn)))
            said = f"“{task.reward.goals[0]}”, baseline “{task.reward.baselines[0]}”"
            text += (
                f"\n## {title}, {words}\n\n{said}\n\n![reward against {drawn.axis}]({picture})\n\n{numbers(report)}\n"
            )
    write_text(pages / "README.md", text)
    return pages / "README.md"


if __name__ == "__main__":
    print(make_landscapes(Path(sys.argv[1])) if len(sys.argv) > 1 else make_landscapes())
