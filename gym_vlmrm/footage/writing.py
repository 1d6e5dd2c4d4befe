"""Scores of recorded frames as files: a table, a picture of curves, the film with its reward."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import check_place, replacing, write_text
from gym_vlmrm.footage import films
from gym_vlmrm.footage.clips import PICTURES, Clip
from gym_vlmrm.footage.scores import ClipScores, FootageScores
from gym_vlmrm.learning.video import write_mp4
from gym_vlmrm.lettering import INK, LINE, PAPER, SOFT, cut, font
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.canvas import fit_square

__all__ = ["CURVES", "FILMS", "TABLES", "check_names", "write_curve", "write_film", "write_table"]

TABLES, CURVES, FILMS = (".csv", ".parquet"), (".png", ".svg", ".pdf"), (".mp4",)
"""Ends of the names of what is written."""
COLUMNS = ("clip", "frame", "time", "reward")
SIDE = 512
"""Side of a filmed frame [px]."""
_STRIP, _HEAD = 112, 44
STILL_FPS = 4.0
"""Pictures per second of a film made of single pictures."""
MAX_LINES = 12
"""Most curves of a picture that are named."""


def check_names(table: Path | None, curve: Path | None, film: Path | None, sources: Sequence[Path] = ()) -> None:
    """Check that files can be written by their names, before anything is scored.

    Args:
        table: the table to write, if any.
        curve: the picture of curves.
        film: the film.
        sources: what is scored; nothing is written over it or into its folders of pictures.

    Raises:
        RunError: a wrong ending, a place that cannot be written, or one among the sources.
    """
    taken = {path.resolve() for path in sources}
    for path, ends, what in ((table, TABLES, "a table"), (curve, CURVES, "curves"), (film, FILMS, "a film")):
        if path is None:
            continue
        if path.suffix.lower() not in ends:
            raise RunError(f"'{path}' is no name for {what}; end it with {' or '.join(ends)}")
        check_place(path)
        if path.resolve() in taken:
            raise RunError(f"'{path}' is itself to be scored; write {what} under another name")
        if path.resolve().parent in taken and path.suffix.lower() in (*PICTURES, *films.FILMS):
            raise RunError(f"'{path}' would lie among what is scored; write {what} to another folder")
    if table is not None and table.suffix.lower() == ".parquet":
        _parquet()


def _parquet() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RunError("writing Parquet needs the package pyarrow; install it, or name a .csv file") from None
    return pyarrow


def write_table(scores: FootageScores, path: Path) -> None:
    """Write a row for each frame, its clip, name, time [s] and reward, as CSV or Parquet; raises RunError."""
    rows = [
        (clip.name, frame, time, reward)
        for clip in scores.clips
        for frame, time, reward in zip(clip.frames, clip.times, clip.rewards, strict=True)
    ]
    if path.suffix.lower() == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((*row[:2], "" if row[2] is None else f"{row[2]:.6g}", f"{row[3]:.9g}") for row in rows)
        write_text(path, text.getvalue())
        return
    arrow = _parquet()
    kinds = (arrow.string(), arrow.string(), arrow.float64(), arrow.float32())
    columns = zip(*rows, strict=True)
    arrays = [arrow.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
    with replacing(path) as part:
        arrow.parquet.write_table(arrow.table(arrays, names=list(COLUMNS)), part)


def write_curve(scores: FootageScores, path: Path) -> None:
    """Draw the reward of each clip against time, or against the number of the frame; raises RunError."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    timed = all(clip.times[0] is not None for clip in scores.clips)
    for index, clip in enumerate(scores.clips):
        x = [float(time or 0) for time in clip.times] if timed else list(range(len(clip.rewards)))
        label = shorten(Path(clip.name).name, 40) if index < MAX_LINES else None
        axes.plot(x, clip.rewards, marker="o" if len(x) < 60 else None, ms=3, linewidth=1.4, label=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_xlabel("time [s]" if timed else "frame")
    if not timed:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("VLM reward")
    axes.set_title(shorten(_sentence(scores), 90), fontsize=10, parse_math=False)
    if len(scores.clips) > 1:
        for text in axes.legend(fontsize=8, frameon=False).get_texts():
            text.set_parse_math(False)
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower())


def _sentence(scores: FootageScores) -> str:
    return scores.goal if isinstance(scores.goal, str) else "; ".join(scores.goal)


def write_film(scores: FootageScores, clips: Sequence[Clip], path: Path) -> None:
    """Write the scored clips, one after the other, with sentence, reward and its curve; raises RunError."""
    fps = clips[0].fps or STILL_FPS
    if not write_mp4(path, _overlaid(scores, clips), fps):
        raise RunError(f"cannot write '{path}' (ffmpeg is missing or failed; install imageio-ffmpeg)")


def _overlaid(scores: FootageScores, clips: Sequence[Clip]) -> Iterator[Frames]:
    low, high = float(scores.rewards.min()), float(scores.rewards.max())
    for clip, scored in zip(clips, scores.clips, strict=True):
        background = _strip(scored, low, high)
        for index, (_, frame) in enumerate(clip.frames()):
            if index == len(scored.rewards):  # it grew since it was scored
                break
            sheet = Image.new("RGB", (SIDE, _HEAD + SIDE + _STRIP), PAPER)
            draw = ImageDraw.Draw(sheet)
            draw.text((12, 12), cut(_sentence(scores), font(17), SIDE - 24), INK, font(17))
            sheet.paste(Image.fromarray(fit_square(frame, SIDE)), (0, _HEAD))
            sheet.paste(background, (0, _HEAD + SIDE))
            reward = scored.rewards[index]
            x, y = _point(index, reward, scored, low, high)
            draw.line((x, _HEAD + SIDE + 6, x, _HEAD + SIDE + _STRIP - 6), SOFT)
            draw.ellipse((x - 4, _HEAD + SIDE + y - 4, x + 4, _HEAD + SIDE + y + 4), fill=INK)
            draw.rectangle((8, _HEAD + 8, 132, _HEAD + 36), fill=PAPER)
            draw.text((16, _HEAD + 12), f"reward {reward:.3f}", INK, font(15))
            yield np.asarray(sheet)


def _strip(scored: ClipScores, low: float, high: float) -> Image.Image:
    strip = Image.new("RGB", (SIDE, _STRIP), PAPER)
    points = [_point(index, reward, scored, low, high) for index, reward in enumerate(scored.rewards)]
    draw = ImageDraw.Draw(strip)
    draw.line(points if len(points) > 1 else points * 2, LINE, 2, joint="curve")
    draw.text((8, 2), f"{high:.3f}", SOFT, font(12))
    draw.text((8, _STRIP - 17), f"{low:.3f}", SOFT, font(12))
    return strip


def _point(index: int, reward: float, scored: ClipScores, low: float, high: float) -> tuple[float, float]:
    share = (reward - low) / (high - low) if high > low else 0.5
    return 12 + index / max(1, len(scored.rewards) - 1) * (SIDE - 24), _STRIP - 18 - share * (_STRIP - 36)
