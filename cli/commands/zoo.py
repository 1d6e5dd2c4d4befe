"""`vlmrm zoo`: trained policies that come with the package."""

from typing import TYPE_CHECKING

from ..console import print_json, print_table, say
from ..options import Json, Quiet

if TYPE_CHECKING:
    from gym_vlmrm.learning.scores import Scores

__all__ = ["zoo"]


def zoo(json: Json = False, quiet: Quiet = False) -> None:
    """List the trained policies that come with the package: zoo:NAME stands wherever a run does.

    Success and hold are those of its evaluation: episodes by the paper's rule at the task's own limit, and the share
    of steps in success over the last half of episodes, those of the longer horizon where there was one.
    """
    from gym_vlmrm.learning.run_folder import RunFolder
    from gym_vlmrm.learning.scores import read_evaluation
    from gym_vlmrm.learning.zoo import PREFIX, zoo_names

    found, rows = [], []
    for name in zoo_names():
        run = RunFolder.open(PREFIX + name)
        record, evaluation = run.record, read_evaluation(run)
        judge = None if record.judge is None else record.judge.model_dump(mode="json")
        policy = None if evaluation is None else evaluation.policy
        longer = None if evaluation is None or evaluation.longer is None else evaluation.longer
        long = None if longer is None else longer.policy
        step = run.checkpoint("best").step
        found.append(
            {
                "name": run.name, "task": record.task, "recipe": record.recipe_name,
                "algorithm": record.recipe.algorithm, "seed": record.seed, "step": step, "judge": judge,
                "policy": None if policy is None else policy.model_dump(mode="json"),
                "longer": None if longer is None else longer.model_dump(mode="json"),
            }
        )  # fmt: skip
        digest = "-" if judge is None else (judge["weights_digest"] or "-")[:12]
        rows.append(
            (
                run.name, record.task, f"{record.recipe.algorithm} ({record.recipe_name})", str(record.seed),
                f"{step:,}", _success(policy), _hold(long or policy), _steps(long or policy), digest,
            )
        )  # fmt: skip
    if json:
        print_json({"policies": found})
    elif not quiet:
        columns = ("name", "task", "recipe", "seed", "step", "success", "hold", "of steps", "judged by weights")
        print_table(columns, rows, whole=1, spare=("judged by weights", "seed", "step", "recipe"))
        count = f"{len(rows)} polic{'y' if len(rows) == 1 else 'ies'}"
        say(f"{count}; `vlmrm watch {rows[0][0] if rows else 'zoo:NAME'}` shows one, `vlmrm eval` judges it anew")


def _success(scores: "Scores | None") -> str:
    return "-" if scores is None or scores.success_rate is None else f"{scores.success_rate:.0%} of {scores.episodes}"


def _hold(scores: "Scores | None") -> str:
    return "-" if scores is None or scores.hold is None else f"{scores.hold:.1%}"


def _steps(scores: "Scores | None") -> str:
    return "-" if scores is None else f"{scores.episode_length:.0f}"
