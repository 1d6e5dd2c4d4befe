"""Figures as tables."""

from typing import Any

from rates import Table as Rates
from rich.console import Console
from rich.table import Table
from ways import Way

__all__ = ["print_growth", "print_rates", "print_table", "print_ways"]


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print rows of numbers and words; numbers are rounded to three figures."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(_word(value) for value in row))
    Console(width=120).print(table)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def print_rates(found: Rates) -> None:
    """Print the loops of one table beside their bounds."""
    original = next((row.rate for row in found.rows if row.name == "original"), None)
    rows: list[list[Any]] = [
        ["simulation alone", None, None, found.simulate, None, None, None, None],
        ["rendering alone", None, None, found.render, None, None, None, None],
        [f"embedding alone ({found.embed_way}, batch {found.embed_batch})", *(None,) * 2, found.embed, *(None,) * 4],
    ]
    for row in found.rows:
        times = None if original is None else row.rate / original
        rows.append([row.name, row.num_envs, row.every, row.rate, row.bound, row.ratio, row.useful_cpu, times])
    title = f"{found.task}, {found.model}, {found.frame_size} px, {found.cores} cores"
    print_table(title, ["", "environments", "every", "per second", "bound", "ratio", "useful CPU", "x original"], rows)
    print(f"peak memory {found.peak_mb:,.0f} MB\n")


def print_growth(found: list[Rates]) -> None:
    """Print one row per number of environments."""
    rows = []
    for table in found:
        by_name = {row.name: row for row in table.rows}
        cells = [[row.rate, row.ratio, row.useful_cpu] for row in (by_name["make_vec"], by_name["training"])]
        rows.append([by_name["make_vec"].num_envs, *cells[0], *cells[1], table.peak_mb])
    title = f"{found[0].task}, {found[0].model}, every frame scored, {found[0].cores} cores"
    print_table(
        title,
        ["environments", "make_vec /s", "ratio", "useful CPU", "training /s", "ratio", "useful CPU", "peak MB"],
        rows,
    )


def print_ways(title: str, found: list[Way]) -> None:
    """Print one row per way and load, one column per number of environments: steps/s, and ms of processor time."""
    counts = sorted({way.num_envs for way in found})
    cells = {(way.name, way.busy, way.num_envs): f"{way.rate:,.3g} ({1000 * way.cpu:.3g})" for way in found}
    rows = [
        [name, busy, *(cells.get((name, busy, count), "") for count in counts)]
        for name, busy in dict.fromkeys((way.name, way.busy) for way in found)
    ]
    print_table(f"{title}: steps/s (ms of CPU)", ["", "busy", *(f"{count} envs" for count in counts)], rows)
