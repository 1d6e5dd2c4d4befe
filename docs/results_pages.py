"""The pages of ``docs/results/``: the data, the table (in the README too), curves, films."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from results_data import Results, Row, shown_runs

from gym_vlmrm.files import write_json, write_text
from gym_vlmrm.learning.comparison import Group, compare, mean_over_runs
from gym_vlmrm.learning.evaluation import wilson_interval
from gym_vlmrm.learning.scores import Scores
from gym_vlmrm.reports.charts import Band, band_chart, gaps, on_white
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.catalog import load_task

__all__ = ["BEGIN", "END", "ROOT", "table", "with_table", "write_pages"]

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "results"
BEGIN, END = "<!-- results: python docs/make_results.py --pages -->", "<!-- end of results -->"
CURVES = {"eval/success": "share of steps in success", "eval/vlm_reward": "VLM reward per step"}
"""Columns of ``metrics.csv`` that are drawn: greedy trials of checkpoints."""
HEAD = (
    "task (recipe)", "seeds", "environment steps, minutes each", "episodes in success, own limit", "the same, longer",
    "steps in success, last half of longer", "episodes held", "random policy, steps", "audit",
)  # fmt: skip

ABOUT = """\
# Results

Written by `make results` (`python docs/make_results.py`); all numbers stand in [results.json](results.json).
Run so far, of ten tasks and seeds 0, 1 and 2: {tasks}; on {machines}, which did
other work meanwhile or not: minutes are wall-clock time. All was rewarded and judged by the embedded model with the
weights `{digest}`, those that the package holds.

An episode is in success if at least half of its steps are (the paper's rule), at the task's own limit (humanoid: 100
steps, 1.5 s) and up to four times that. *Held* is one with success in at least 90% of the steps of its last half.
Brackets are 95% intervals: Wilson's over episodes; behind seeds Student's t over seeds; of shares of steps of one seed
Student's t over episodes. The checkpoint that is judged is the one that earned most by the reward model; success never
selects.
"""


def groups_of(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows of each task and recipe, which differ in their seed."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.task, row.recipe_name, row.of_steps), []).append(row)
    return list(found.values())


def table(results: Results) -> str:
    """Return the table in Markdown, a line for each task and recipe."""
    verdicts = {audit.task: audit.verdict for audit in results.audits}
    lines = [_line(rows, verdicts) for rows in groups_of(results.rows)]
    return "\n".join([f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *lines])


def _line(rows: Sequence[Row], verdicts: Mapping[str, str]) -> str:
    first = rows[0]
    short, long = [row.policy for row in rows], [row.longer.policy for row in rows if row.longer is not None]
    limits = f"{short[0].episode_length:.0f} steps: "
    further = f"{long[0].episode_length:.0f} steps: " if long else ""
    cells = (
        f"{first.task} ({first.recipe_name}: {first.algorithm})",
        ", ".join(str(row.seed) for row in rows),
        f"{'; '.join(dict.fromkeys(map(_steps, rows)))}, {_range([row.minutes for row in rows])} min",
        limits + _rates(short),
        further + _rates(long) if long else "-",
        _shares(long or short),
        _held(long or short),
        f"{_mean(row.random.success_share for row in rows):.1%}",
        verdicts.get(first.task, "not run"),
    )
    return f"| {' | '.join(cells)} |"


def _steps(row: Row) -> str:
    return f"{row.steps:,}" if row.steps >= row.of_steps else f"{row.steps:,} of {row.of_steps:,}"


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _rates(scores: Sequence[Scores]) -> str:
    """Episodes in success over all seeds with Wilson's interval, then over seeds."""
    good, all_of = sum(one.successful_episodes or 0 for one in scores), sum(one.episodes for one in scores)
    low, high = wilson_interval(good, all_of)
    return f"{good / all_of:.0%} [{low:.0%}, {high:.0%}] of {all_of}" + _over_seeds(
        [one.success_rate for one in scores]
    )


def _shares(scores: Sequence[Scores]) -> str:
    """Steps in success over the last half: of one seed with its interval over episodes, of several over seeds."""
    text = f"{_mean(one.hold for one in scores):.1%}"
    if len(scores) == 1 and scores[0].hold_low is not None and scores[0].hold_high is not None:
        return f"{text} [{scores[0].hold_low:.1%}, {scores[0].hold_high:.1%}]"
    return text + _over_seeds([one.hold for one in scores])


def _held(scores: Sequence[Scores]) -> str:
    held, all_of = (
        sum(round((one.held_rate or 0) * one.episodes) for one in scores),
        sum(one.episodes for one in scores),
    )
    low, high = wilson_interval(held, all_of)
    return f"{held / all_of:.0%} [{low:.0%}, {high:.0%}]" + _over_seeds([one.held_rate for one in scores])


def _range(minutes: Sequence[float]) -> str:
    ends = dict.fromkeys(f"{end:.0f}" for end in (min(minutes), max(minutes)))
    return " to ".join(ends)


def _over_seeds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    mean = mean_over_runs(known, share=True)
    assert mean.low is not None
    assert mean.high is not None
    each = ", ".join(f"{value:.0%}" for value in known)
    return f" (seeds {each}: [{mean.low:.0%}, {mean.high:.0%}])"


def with_table(text: str, results: Results) -> str:
    """Return a page with the table written anew; raises ValueError where it has no place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the table: the page needs the lines '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


def write_pages(results: Results, runs: Path, films: Mapping[str, Path], pages: Path = PAGES) -> Path:
    """Write data, curves, films and page into a folder, and the table into the README; returns the page's path.

    Args:
        results: the data.
        runs: the folder of the runs, whose curves are drawn.
        films: the film of each task, by its name.
        pages: the folder.
    """
    pages.mkdir(parents=True, exist_ok=True)
    drawn = shown_runs(runs, results)
    there = Counter(short_name(run.record.task) for run in drawn)
    rows = Counter(row.task for row in results.rows)
    whole = [task for task in rows if there[task] == rows[task]]
    for task in whole:  # of the others the pictures are those of earlier runs
        for old in (*pages.glob(f"{task}.gif"), *pages.glob(f"{task}-*.svg")):
            old.unlink()
    write_json(pages / "results.json", results.model_dump(mode="json"))
    for task, film in films.items():
        if task in whole:
            shutil.copyfile(film, pages / f"{task}.gif")
    curves = [run.path for run in drawn if short_name(run.record.task) in whole]
    for group in compare(curves).groups if curves else ():
        _draw(group, pages)
    write_text(pages / "README.md", _page(results, pages))
    readme = pages.parents[1] / "README.md"
    if readme.is_file():
        write_text(readme, with_table(readme.read_text(encoding="utf-8"), results))
    return pages / "README.md"


def _draw(group: Group, pages: Path) -> None:
    for column, title in CURVES.items():
        curve = group.curves.get(column)
        if curve is None:
            continue
        count = f"{curve.runs} seed{'' if curve.runs == 1 else 's'}"
        band = Band(f"{group.task}, {count}", curve.step, curve.mean, gaps(curve.low), gaps(curve.high))
        name = f"{group.task}-{column.rpartition('/')[2].replace('_', '-')}.svg"
        write_text(pages / name, on_white(band_chart(title, [band])))


def _seeds(results: Results, task: str) -> str:
    seeds = sorted({row.seed for row in results.rows if row.task == task})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _page(results: Results, pages: Path) -> str:
    machines = ", ".join(dict.fromkeys(row.machine for row in results.rows))
    tasks = list(dict.fromkeys(row.task for row in results.rows))
    said = ABOUT.format(
        tasks=", ".join(f"{task} ({_seeds(results, task)})" for task in tasks),
        machines=machines,
        digest=results.weights_digest[:12],
    )
    lines = [
        said,
        table(results),
        "",
    ]
    for task in tasks:
        lines += [f"## {task}", "", f"“{'; '.join(load_task(task).reward.said)}”", ""]
        if (pages / f"{task}.gif").is_file():
            lines += [f"![The agent beside a random policy: frame, reward, success]({task}.gif)", ""]
        drawn = [path.name for path in sorted(pages.glob(f"{task}-*.svg"))]
        lines += [" ".join(f"![{name.removesuffix('.svg')}]({name})" for name in drawn), ""] if drawn else []
    return "\n".join(lines).rstrip() + "\n"
