"""`vlmrm eval`: how good is a trained agent?"""

import shlex
from typing import TYPE_CHECKING

from ..console import note, print_json, print_table, say
from ..options import (
    Checkpoint,
    Device,
    Episodes,
    Horizon,
    Json,
    OptionalRun,
    Quiet,
    Seed,
    Workers,
    named_or_newest,
    which_checkpoint,
)
from ..paying import MaxQueries, PricePerQuery
from ..progress import episode_bar, number

if TYPE_CHECKING:
    from gym_vlmrm.learning.evaluation import Evaluation, Scores

__all__ = ["eval"]


def eval(
    run: OptionalRun = None,
    episodes: Episodes = 100,
    checkpoint: Checkpoint = "best",
    horizon: Horizon = None,
    device: Device = None,
    max_queries: MaxQueries = None,
    price_per_query: PricePerQuery = None,
    workers: Workers = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play a run's policy: success by the paper's rule, rewards against a random policy, and a film.

    Writes eval/evaluation.json, eval/best_frames.png (the frames that earned most), video.mp4 and video.gif into the
    run folder.
    """
    which = which_checkpoint(checkpoint)
    from gym_vlmrm.learning.evaluation import evaluate
    from gym_vlmrm.learning.run_folder import RunFolder

    path = named_or_newest(run)
    with episode_bar(shown=not quiet) as on_progress:
        result = evaluate(
            path, checkpoint=which, episodes=episodes, seed=seed, horizon=horizon, device=device, workers=workers,
            on_progress=on_progress,
        )  # fmt: skip
    run_folder = RunFolder.open_to_write(path)
    written = str(run_folder.path)
    if json:
        print_json({"run": written, **result.model_dump(mode="json")})
    elif not quiet:
        _print_table(written, result)
        from gym_vlmrm.teaching.card import hardly_taught

        for line in hardly_taught(run_folder.task):
            note(line)
        if result.reward_check is not None and not result.reward_check.reward_rose:
            more = f"vlmrm train --resume {shlex.quote(written)} --steps {2 * run_folder.record.recipe.steps}"
            say(f"next: more steps ({more}), or another recipe (docs/teaching.md says which)")


def _print_table(run: str, result: "Evaluation") -> None:
    title = f"{result.task}, step {result.checkpoint:,}, {result.policy.episodes} episodes each, model {result.model}"
    columns = {"trained": result.policy, "random": result.random}
    if result.longer is not None:
        own, all_of = f"{result.policy.episode_length:.0f} steps", f"{result.longer.horizon} steps"
        columns = {
            f"trained, {own}": result.policy, f"trained, {all_of}": result.longer.policy,
            f"random, {own}": result.random, f"random, {all_of}": result.longer.random,
        }  # fmt: skip
    read_rows = [(label, [read(scores) for scores in columns.values()]) for label, read in _ROWS]
    print_table(("", *columns), [(label, *cells) for label, cells in read_rows if cells[0] != "-"], title=title)
    if result.reward_check is not None:
        say(("warning: " if result.reward_check.flag else "") + result.reward_check.message)
    if result.video:
        say(f"film: {', '.join(f'{run}/{name}' for name in result.video)}")
    say(f"frames that earned most: {run}/eval/best_frames.png")


def _success_rate(scores: "Scores") -> str:
    if scores.success_rate is None:
        return "-"
    return f"{scores.success_rate:.0%} [{scores.success_rate_low:.0%}, {scores.success_rate_high:.0%}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _seen(scores: "Scores", name: str) -> str:
    return "-" if scores.seen is None else _share(getattr(scores.seen, name))


_ROWS = (
    ("episodes in success (at least half of the steps)", _success_rate),
    ("share of steps in success", lambda scores: _share(scores.success_share)),
    ("hold: the same over the last half", lambda scores: _share(scores.hold)),
    ("success as the judge sees it, share of steps", lambda scores: _seen(scores, "success_share")),
    ("it sees success where the rule has none", lambda scores: _seen(scores, "false_positive")),
    ("it sees none where the rule has success", lambda scores: _seen(scores, "false_negative")),
    ("episodes that it ended", lambda scores: _seen(scores, "ended")),
    ("of those, in success by the rule", lambda scores: _seen(scores, "ended_in_success")),
    ("episodes held (90% of the last half)", lambda scores: _share(scores.held_rate)),
    ("VLM reward per step", lambda scores: f"{scores.vlm_reward:.4f}"),
    ("task reward per step", lambda scores: number(scores.task_reward, ".4f")),
    ("steps per episode", lambda scores: f"{scores.episode_length:.1f}"),
)
