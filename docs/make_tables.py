"""Write the tables of the README that follow from the task files: ``python docs/make_tables.py [README.md]``."""

import re
import sys
from pathlib import Path

from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.worlds.scene import SCENES

BEGIN, END = "<!-- tasks: python docs/make_tables.py -->", "<!-- end of tasks -->"
BEGIN_MOTION, END_MOTION = "<!-- motion tasks: python docs/make_tables.py -->", "<!-- end of motion tasks -->"


def task_table(before: str, *, motion: bool = False) -> str:
    """Return a table in Markdown: the paper's tasks and those of further scenes, or motions; rows keep their order."""
    found = builtin_tasks()
    theirs = {found[name].env.id for name in PAPER_TASKS}
    tasks = {
        name: task
        for name, task in found.items()
        if (
            task.reward.sees_films
            if motion
            else name in PAPER_TASKS or (task.env.id in SCENES and task.env.id not in theirs)
        )
    }
    known = [name for name in re.findall(r"^\| ([\w-]+) \| `", before, re.MULTILINE) if name in tasks]
    names = [*known, *sorted(tasks.keys() - known)]
    rows = [f"| {name} | `{tasks[name].id}` | {' / '.join(tasks[name].reward.goals)} |" for name in names]
    return "\n".join(["| task | environment ID | goal prompt |", "|---|---|---|", *rows])


def with_tables(text: str) -> str:
    """Return a page with its tables written anew; raises ValueError where it has no place for them."""
    for first, last, motion in ((BEGIN, END, False), (BEGIN_MOTION, END_MOTION, True)):
        before, begin, rest = text.partition(first)
        table, end, after = rest.partition(last)
        if not (begin and end):
            raise ValueError(f"no place for the table: the page needs the lines '{first}' and '{last}'")
        text = f"{before}{first}\n{task_table(table, motion=motion)}\n{last}{after}"
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "README.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
