"""Progress, on stderr: a bar on a terminal, else a plain line now and then, for the logs of batch jobs."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .console import harmless, stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from gym_vlmrm.learning.callbacks import Progress

__all__ = ["Show", "bar", "duration", "episode_bar", "number", "phase_bar", "training_bar"]


LINE_EVERY = 30.0
"""Seconds between plain lines."""


class Show(Protocol):
    """What moves a bar."""

    def __call__(self, done: float, total: float, title: str | None = None, **values: str) -> None:
        """Show how much of it all is done, perhaps under another title, and the values of the bar's fields."""
        ...


class _Dashes(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "-"


@contextmanager
def bar(
    title: str, fields: str = "", *, shown: bool, clock: Literal["elapsed", "remaining"] | None = None
) -> Iterator[Show | None]:
    """Show a bar with a title, a count and a clock or some values; yields what moves it, or ``None`` if not `shown`.

    Where stderr is no terminal the same is a line of text every `LINE_EVERY` seconds.

    Args:
        title: stands before the bar.
        fields: a format of named values, such as ``loss {loss}``; a dash stands for those that are not known yet.
        shown: whether there is a bar at all.
        clock: time since the start, or time left at the present speed.
    """
    if not shown:
        yield None
        return
    if not stderr.is_terminal:
        yield _lines(title, fields, clock)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # Names of models and files stand in titles: brackets in them are no markup.
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)]
    columns.append(MofNCompleteColumn())
    if fields:
        columns.append(TextColumn("{task.fields[words]}", markup=False))
    if clock is not None:
        columns.append(TimeElapsedColumn() if clock == "elapsed" else TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        line = progress.add_task(harmless(title, stderr.file), total=None, words=fields.format_map(_Dashes()))

        def show(done: float, total: float, title: str | None = None, **values: str) -> None:
            changes: dict[str, Any] = {"words": fields.format_map(_Dashes(values))}
            if title is not None:
                changes["description"] = harmless(title, stderr.file)
            # The last rollout may end behind the last step that was asked for.
            progress.update(line, completed=max(0, min(done, total)), total=total, **changes)

        yield show


def _lines(title: str, fields: str, clock: str | None) -> Show:
    began = last = phase_began = time.monotonic()
    first = named = title

    def show(done: float, total: float, title: str | None = None, **values: str) -> None:
        nonlocal last, named, phase_began
        now = time.monotonic()
        if title is not None and title != named:
            named, phase_began = title, now
        if now - last < LINE_EVERY:
            return
        last = now
        done = max(0, min(done, total))
        words = [f"{harmless(named, stderr.file)}: {done:,} of {total:,}" + (f" ({done / total:.0%})" if total else "")]
        if fields:
            words.append(fields.format_map(_Dashes(values)).replace("  ", ", "))
        if clock == "elapsed":
            words.append(f"{duration(now - began)} so far")
            if named != first and done:
                words.append(f"{duration((now - phase_began) * (total - done) / done)} left of this")
        elif clock == "remaining":
            words.append(f"{duration((now - began) * (total - done) / done if done else None)} left")
        stderr.print(", ".join(words), markup=False)

    return show


def number(value: float | None, form: str) -> str:
    """Format a number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """Format seconds as a clock shows them; never less than none."""
    if seconds is None or not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def training_bar(shown: bool) -> Iterator["Callable[[Progress], None] | None"]:
    """Show steps, reward, success, speed and time left; yields what a trainer calls."""
    fields = "reward {reward}  success {success}  {speed} steps/s  {left} left"
    with bar("training", fields, shown=shown) as show:

        def report(progress: "Progress") -> None:
            assert show is not None
            show(
                progress.step,
                progress.steps,
                reward=number(progress.metrics.get("rollout/vlm_reward"), ".3f"),
                success=number(progress.metrics.get("rollout/success"), ".0%"),
                speed=f"{progress.steps_per_second:.0f}",
                left=duration(progress.seconds_left),
            )

        yield None if show is None else report


@contextmanager
def episode_bar(shown: bool) -> "Iterator[Callable[[int, int], None] | None]":
    """Show finished episodes; yields what an evaluation calls with the finished and all episodes."""
    with bar("episodes", shown=shown, clock="remaining") as show:
        yield show


@contextmanager
def phase_bar(shown: bool) -> "Iterator[Callable[[str, int, int], None] | None]":
    """Show which of several things is done now; yields what is called with its name, the done and the whole."""
    with bar("starting", shown=shown, clock="elapsed") as show:
        yield None if show is None else lambda what, done, total: show(done, total, what)
