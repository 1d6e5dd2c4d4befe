"""`vlmrm calibrate`: were the audit's verdicts right?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import note, print_json, print_table, say
from ..options import Json, Quiet
from ..progress import number

if TYPE_CHECKING:
    from gym_vlmrm.auditing.calibration import Calibration, Outcome

__all__ = ["calibrate"]

COLUMNS = (
    "task", "model", "verdict", "AUC", "seed", "steps", "episodes in success", "random", "steps in success", "random",
    "reward", "learned", "agrees",
)  # fmt: skip

Folders = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FOLDER...", help="Audits, evaluated runs, or folders of such; ./audits and ./runs if none."
    ),
]


def calibrate(folders: Folders = None, json: Json = False, quiet: Quiet = False) -> None:
    """Compare the verdicts of audits with what training on the same rewards did.

    A verdict agrees when a teachable reward was learned (at least half of the evaluated episodes in success), or any
    other was not.
    """
    from gym_vlmrm.auditing.calibration import calibrate as compare

    result = compare(folders or [Path("audits"), Path("runs")])
    if json:
        print_json(result.model_dump(mode="json"))
    elif not quiet:
        _print(result)
    for line in result.left_out:
        note(f"left out: {line}")


def _print(result: "Calibration") -> None:
    print_table(COLUMNS, [_row(outcome) for outcome in result.outcomes], whole=3)
    say("")
    rows = [(verdict, *(str(count) for count in fates.values())) for verdict, fates in result.counts.items()]
    print_table(("verdict", "learned", "not learned"), rows)
    say(f"\nthe verdict agrees with training in {result.agreeing} of {len(result.outcomes)} runs")


def _row(outcome: "Outcome") -> tuple[str, ...]:
    auc, rate = outcome.auc, outcome.success_rate
    return (
        outcome.task,
        outcome.model,
        outcome.verdict,
        f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]",
        str(outcome.seed),
        f"{outcome.steps:,}",
        f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]",
        f"{outcome.random_success_rate:.0%}",
        f"{outcome.success_share:.1%}",
        f"{outcome.random_success_share:.1%}",
        f"{number(outcome.reward_start, '.3f')} -> {number(outcome.reward_end, '.3f')}",
        "yes" if outcome.learned else "no",
        "yes" if outcome.agrees else "no",
    )
