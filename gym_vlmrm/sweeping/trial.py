"""One training of a sweep: begun, or gone on with where its run folder is, or told from it where it is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gym_vlmrm.learning.callbacks import Progress
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import read_metrics
from gym_vlmrm.learning.trainer import resume, train
from gym_vlmrm.sweeping.plan import Trial

__all__ = ["REWARD", "StopEarly", "make_trial", "rewards_so_far"]

REWARD = "eval/vlm_reward"
"""Column of ``metrics.csv``: VLM reward per step of a checkpoint's policy."""


class StopEarly(Exception):
    """The sweep wants no more of this training; its run folder is whole and may be gone on with."""


def rewards_so_far(run: Path) -> list[tuple[int, float]]:
    """Return the steps and rewards that a run folder tells of, in order; none where nothing was judged yet."""
    columns = read_metrics(run / "metrics.csv")
    rows = zip(columns.get("step", []), columns.get(REWARD, []), strict=False)
    return [(int(step), reward) for step, reward in rows if step is not None and reward is not None]


def make_trial(
    trial: Trial,
    folder: Path,
    report: Callable[[int, float], None],
    on_notice: Callable[[str], None] = lambda _: None,
    *,
    done: bool = False,
) -> None:
    """Train, and report each reward of a checkpoint once, those of earlier sessions first.

    Args:
        trial: what to train.
        folder: of the sweep; the run folder is in it.
        report: told of steps and reward; may raise `StopEarly`.
        on_notice: as in `gym_vlmrm.learning.train`.
        done: whether it is over, so that there is only to report.

    Raises:
        StopEarly: `report` did. Others as `gym_vlmrm.learning.train` does.
    """
    path, told, stopped = folder / trial.name, 0, False

    def tell() -> None:
        """Report what the table says, and not what is shown: only that is there after a death, too."""
        nonlocal told
        for step, reward in rewards_so_far(path):
            if step > told:
                told = step
                report(step, reward)

    def watch(progress: Progress) -> None:
        nonlocal stopped
        try:
            if REWARD in progress.metrics:
                tell()
        except StopEarly:
            stopped = True
            raise KeyboardInterrupt from None  # leaves a run folder that is whole, and says that it was interrupted

    tell()
    settings: dict[str, Any] = {"workers": 1, "on_progress": watch, "on_notice": on_notice}
    try:
        if done or ((path / "run.json").exists() and RunFolder.open(path).record.status == "finished"):
            return
        if (path / "run.json").exists():
            resume(path, **settings)
        else:
            train(trial.task, trial.recipe, recipe_name=trial.recipe_name, seed=trial.seed, output=path, **settings)
    except KeyboardInterrupt:
        if stopped:
            raise StopEarly from None
        raise
    tell()
