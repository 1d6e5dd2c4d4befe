"""Charts as inline SVG that takes its text colour from the page, so that one file suits dark and light."""

import io
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.results import Landscape

__all__ = [
    "Band",
    "band_chart",
    "curve_chart",
    "episode_chart",
    "gaps",
    "histogram_chart",
    "landscape_chart",
    "scatter_chart",
    "size_chart",
]
COLOURS = ("#3d8bd4", "#e3803b", "#3fa66b", "#b565c9", "#c9a227", "#d4526e", "#7f8c99", "#2aa5a5")
"""Of middling lightness: they show on white and on near-black."""
_INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
WIDTH, HEIGHT = 4.6, 2.9
"""Size of a chart [inch]; small, so that its text can be read on a phone."""
_GOAL = "#3fa66b"
THOUSANDS_FROM = 10_000
"""An axis of steps that is longer counts in thousands."""
MAX_NAME = 44
"""Longer names of models are shown by their end."""


def _figure(height: float = HEIGHT, width: float = WIDTH) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    return figure, axes


def _label(axes: Any, x: str, y: str, legend: bool) -> None:
    axes.set_xlabel(x, color=_INK, fontsize=9.5)
    axes.set_ylabel(y, color=_INK, fontsize=9.5)
    if legend:
        handles, names = axes.get_legend_handles_labels()
        names = [name if len(name) <= MAX_NAME else "…" + name[1 - MAX_NAME :] for name in names]
        columns = 3 if max(map(len, names)) < 14 else 1
        axes.legend(
            handles,
            names,
            fontsize=8.5,
            labelcolor=_INK,
            frameon=False,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=columns,
        )


def _svg(figure: Any, title: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', "", text, count=1)
    # Ids must differ between charts of one page.
    tag = f"c{zlib.crc32(text.encode()):x}"
    text = re.sub(r'id="', f'id="{tag}-', text)
    text = re.sub(r'(href="#|url\(#)', lambda match: f"{match[1]}{tag}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def gaps(values: Sequence[float | None]) -> list[float]:
    """Return numbers as curves take them: NaN where there is none."""
    return [math.nan if value is None else value for value in values]


def _scaled(values: Sequence[float]) -> Floats:
    array = np.asarray(values, float)
    span = array.max() - array.min()
    return np.asarray((array - array.min()) / span if span > 1e-12 else np.full(len(array), 0.5))


def landscape_chart(landscape: Landscape) -> str:
    """Draw the reward along the landscape's axis, one line per alpha, each scaled to 0..1; the goal is shaded."""
    figure, axes = _figure()
    x = np.array(landscape.x)
    inside = np.array(landscape.success) >= 0.5
    edges = np.concatenate([[x[0]], (x[1:] + x[:-1]) / 2, [x[-1]]])
    for index in map(int, np.flatnonzero(inside)):
        axes.axvspan(edges[index], edges[index + 1], color=_GOAL, alpha=0.18, linewidth=0)
    for index, line in enumerate(landscape.lines):
        label = f"alpha {line.candidate.alpha:g}" if len(landscape.lines) > 1 else None
        axes.plot(x, _scaled(line.rewards), color=COLOURS[index % len(COLOURS)], linewidth=1.6, label=label)
    _label(axes, f"{landscape.axis} (goal: green)", "reward, each line scaled", len(landscape.lines) > 1)
    return _svg(figure, f"Reward against {landscape.axis}")


def histogram_chart(goal: Floats, other: Floats) -> str:
    """Draw how often goal frames and other frames get which reward."""
    figure, axes = _figure()
    low, high = min(goal.min(), other.min()), max(goal.max(), other.max())
    bins = np.linspace(low, high if high > low else low + 1e-6, 41)
    for values, colour, name in ((other, COLOURS[6], "other"), (goal, _GOAL, "goal")):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, bins, weights=weights, color=colour, alpha=0.65, label=f"{name} ({len(values)})")
    _label(axes, "reward", "share of frames", True)
    return _svg(figure, "Rewards of goal frames and of others")


def size_chart(points: Sequence[tuple[str, int, float, float, float]]) -> str:
    """Draw EPIC distance against model size; each point is (model, parameters, value, low, high)."""
    figure, axes = _figure()
    for index, (model, parameters, value, low, high) in enumerate(sorted(points, key=lambda point: point[1])):
        colour = COLOURS[index % len(COLOURS)]
        error = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar([parameters / 1e6], [value], yerr=error, fmt="o", color=colour, label=model, capsize=3)
    axes.set_xscale("log")
    axes.tick_params(which="both", colors=_INK)
    _label(axes, "image tower [million weights]", "EPIC distance (lower is better)", True)
    return _svg(figure, "EPIC distance against model size")


def curve_chart(
    title: str,
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    x: str = "steps",
    level: tuple[str, float] | None = None,
) -> str:
    """Draw curves, each (name, x, y), and a level (name, y) to compare with; NaN leaves a gap."""
    figure, axes = _figure(2.4)
    for index, (name, xs, ys) in enumerate(curves):
        shown = [(a, b) for a, b in zip(xs, ys, strict=True) if not math.isnan(b)]
        marker = "o" if len(shown) < 3 else None
        axes.plot(
            *zip(*shown, strict=True),
            color=COLOURS[index % len(COLOURS)],
            linewidth=1.6,
            label=name,
            marker=marker,
            ms=4,
        )
    if level is not None:
        axes.axhline(level[1], color=COLOURS[6], linewidth=1.4, linestyle="--", label=level[0])
    _label(axes, _in_thousands(axes, x), title, len(curves) > 1 or level is not None)
    return _svg(figure, title)


def _in_thousands(axes: Any, x: str) -> str:
    """Count the horizontal axis in thousands where it is long; returns what to write below it."""
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    if axes.get_xlim()[1] < THOUSANDS_FROM:
        return x
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,g}")
    return f"{x} [thousands]"


def episode_chart(curves: Sequence[tuple[str, Sequence[float]]], successes: Sequence[bool] | None) -> str:
    """Draw the reward of each step of an episode, each curve (name, y); the first one's steps in success are shaded."""
    figure, axes = _figure(2.2, 1.35 * WIDTH)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.array(successes or [], np.bool_), [False]]).astype(int)))
    for begin, end in edges.reshape(-1, 2).tolist():
        axes.axvspan(begin + 0.5, end + 0.5, color=_GOAL, alpha=0.2, linewidth=0)
    for index, (name, values) in reversed(list(enumerate(curves))):
        axes.plot(np.arange(1, len(values) + 1), values, color=COLOURS[index], linewidth=1.6, label=name)
    below = "step of the film" + (f" (green: {curves[0][0]} in success)" if len(edges) else "")
    _label(axes, below, "VLM reward", True)
    return _svg(figure, "VLM reward over the filmed episodes")


class Band(NamedTuple):
    """A curve with the interval around it; NaN where there is none."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def band_chart(title: str, bands: Sequence[Band], x: str = "steps") -> str:
    """Draw curves, each with its interval; one much wider than all curves are apart is cut off."""
    figure, axes = _figure()
    for index, band in enumerate(bands):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(
            band.x, band.y, color=colour, linewidth=1.6, label=band.name, marker="o" if len(band.x) < 3 else None, ms=4
        )
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
    every = np.concatenate([band.y for band in bands])
    room = max(float(np.ptp(every)), 1e-3)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, every.min() - room), min(top, every.max() + room))
    axes.set_xlim(left=0)
    _label(axes, _in_thousands(axes, x), title, True)
    return _svg(figure, title)


def scatter_chart(title: str, groups: Sequence[tuple[str, Sequence[float], Sequence[float]]], x: str, y: str) -> str:
    """Draw points, each group (name, x, y)."""
    figure, axes = _figure()
    for index, (name, xs, ys) in enumerate(groups):
        axes.scatter(xs, ys, s=16, color=COLOURS[index % len(COLOURS)], alpha=0.7, label=name, linewidth=0)
    _label(axes, x, y, len(groups) > 1)
    return _svg(figure, title)
