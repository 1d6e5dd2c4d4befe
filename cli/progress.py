"""Progress bars, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .console import stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from gym_vlmrm.learning.callbacks import Progress

__all__ = ["duration", "episode_bar", "number", "training_bar"]


def number(value: float | None, form: str) -> str:
    """Format a number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """Format seconds as a clock shows them."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def training_bar(shown: bool) -> Iterator["Callable[[Progress], None] | None"]:
    """Show steps, reward, success, speed and time left; yields what a trainer calls."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("training"), BarColumn(bar_width=20), MofNCompleteColumn(),
        TextColumn("reward {task.fields[reward]}  success {task.fields[success]}"),
        TextColumn("{task.fields[speed]} steps/s  {task.fields[left]} left"),
    )  # fmt: skip
    with Bar(*columns, console=stderr, transient=True) as bar:
        line = bar.add_task("training", total=None, reward="-", success="-", speed="-", left="-:--")

        def show(progress: "Progress") -> None:
            bar.update(
                line,
                completed=min(progress.step, progress.steps),
                total=progress.steps,
                reward=number(progress.metrics.get("rollout/vlm_reward"), ".3f"),
                success=number(progress.metrics.get("rollout/success"), ".0%"),
                speed=f"{progress.steps_per_second:.0f}",
                left=duration(progress.seconds_left),
            )

        yield show


@contextmanager
def episode_bar(shown: bool) -> "Iterator[Callable[[int, int], None] | None]":
    """Show finished episodes; yields what an evaluation calls with the finished and all episodes."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("episodes"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        line = bar.add_task("episodes", total=None)
        yield lambda finished, total: bar.update(line, completed=finished, total=total)
