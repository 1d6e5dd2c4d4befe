"""Write ``docs/libraries.md`` from what the scripts in ``tests/interop`` did: ``python docs/make_libraries.py [PAGE]``.

``python docs/make_libraries.py --run [LIBRARY ...]`` runs the scripts first, those whose library is installed, and
keeps their results in ``docs/libraries.json``.
"""

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "tests" / "interop"
RESULTS = ROOT / "docs" / "libraries.json"
PAGE = ROOT / "docs" / "libraries.md"
TASKS = ["VLMRM/CartPole-Balance-v0", "VLMRM/Humanoid-Kneeling-v0"]
PREFIX = "gym_vlmrm:"
OF_OURS = {"telling"}
"""Modules that a script imports for being run here, and no reader needs."""
HEAD = """\
# RL libraries

Written by `python docs/make_libraries.py` from what the scripts in `tests/interop/` did; each trained a few hundred
steps on CartPole and on the humanoid with the versions below. The lines are those that ran, with

```python
task = "VLMRM/Humanoid-Kneeling-v0"  # any task's ID
```

`gym_vlmrm:VLMRM/Humanoid-Kneeling-v0` imports `gym_vlmrm` wherever the ID is used. `VLMRM/Humanoid-Kneeling-v0` alone
needs `import gym_vlmrm` there: in a script that is its first line; worker processes that start anew (`spawn`,
`forkserver`, which is Python 3.14's default, Ray) may not have run it, so prefer the prefix with libraries that start
their own.

"One model for all" means that worker processes simulate and draw, and this process scores all frames in one batch.
Where a library makes its environments itself, by `gym.make` in each process, each loads a model of its own;
`gym.make(task, share_model=True)` or `GYM_VLMRM_SHARE_MODEL=1` gives them one server instead:
[many-environments.md](many-environments.md).
"""


@dataclass(frozen=True)
class Script:
    """A script of ``tests/interop``: what it says of its library, and the lines that the page shows."""

    path: Path
    title: str
    notes: str
    library: str
    workers: str
    lines: str

    @property
    def name(self) -> str:
        """Short name: the file's, without ``train_``."""
        return self.path.stem.removeprefix("train_")

    @property
    def version(self) -> str | None:
        """Version of the library that is installed here, or ``None``."""
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return None


def read_script(path: Path) -> Script:
    """Read a script without running it."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    title, _, notes = (ast.get_docstring(tree) or "").partition("\n\n")
    said = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    shown = [piece.partition("# end of lines")[0] for piece in text.split("# lines\n")[1:]]
    lines = "\n".join(textwrap.dedent(piece.rstrip(" ")).rstrip() for piece in shown)
    names = {node.id for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.Name)}
    imports = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) not in OF_OURS:
            wanted = {*names, "gym_vlmrm"}
            node.names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in wanted]
            if node.names:
                imports.append(ast.unparse(node))
    block = "\n".join(imports) + "\n\n" + lines
    return Script(path, title.rstrip("."), notes, said["LIBRARY"], said["WORKERS"], block)


def read_scripts() -> dict[str, Script]:
    """Return all scripts by name, stable-baselines3 first, as most know it."""
    found = [read_script(path) for path in sorted(SCRIPTS.glob("train_*.py"))]
    return {script.name: script for script in sorted(found, key=lambda script: not script.name.startswith("sb3"))}


def run_script(script: Script, tasks: list[str], timeout: float = 900) -> list[dict[str, Any]]:
    """Run a script in a process of its own and return what it told of each task.

    Raises:
        RuntimeError: it failed; the message ends with what it wrote last.
    """
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, script.path, *tasks],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    told = [json.loads(line[6:]) for line in process.stdout.splitlines() if line.startswith("told: ")]
    if process.returncode or [result["task"] for result in told] != [task.removeprefix(PREFIX) for task in tasks]:
        raise RuntimeError(f"{script.path.name} ended with {process.returncode}: {process.stderr[-2000:]}")
    return told


def try_library(script: Script) -> dict[str, Any]:
    """Train on CartPole by its plain ID and on the humanoid by the ID with prefix, or on both in one of these ways."""
    works = ["plain", "prefix"]
    try:
        told = run_script(script, [TASKS[0], PREFIX + TASKS[1]])
    except RuntimeError as error:
        print(f"{script.name}: {str(error).strip().splitlines()[-1][:300]}; now in one way alone", flush=True)
        try:
            works, told = ["prefix"], run_script(script, [PREFIX + task for task in TASKS])
        except RuntimeError:
            works, told = ["plain"], run_script(script, TASKS)
    return {
        "library": script.library,
        "version": script.version,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "python": ".".join(map(str, sys.version_info[:2])),
        "lines": script.lines,
        "ids": works,
        "tasks": {result["task"]: result.get("refused") or result["steps"] for result in told},
    }


def cell(outcome: int | str) -> str:
    """Return what the table says of one task."""
    return f"{outcome} steps" if isinstance(outcome, int) else "refused"


IDS = {("plain", "prefix"): "either", ("plain",): "without prefix", ("prefix",): "with prefix"}
PROCESSES = {
    "ours": "our workers (spawn), one model for all",
    "none": "none",
}


def render(results: dict[str, Any], scripts: dict[str, Script]) -> str:
    """Return the page in Markdown; raises ValueError where a result is not of the script as it is now."""
    rows = [
        "| library | version | CartPole | humanoid | ID | processes (start method) |",
        "|---|---|---|---|---|---|",
    ]
    parts = []
    for name, script in scripts.items():
        result = results.get(name)
        if result is None:
            rows.append(
                f"| {script.title} | no result yet: `{script.path.relative_to(ROOT).as_posix()}` | | | | |"
            )  # a page shows no lines that nobody ran
            continue
        if result["lines"] != script.lines:
            raise ValueError(f"{script.path.name} has other lines now; run: python docs/make_libraries.py --run {name}")
        cells = [cell(result["tasks"][task]) for task in TASKS]
        version = result["version"] if script.library != "gymnasium" else result["gymnasium"]
        processes = PROCESSES.get(script.workers, script.workers)
        rows.append(f"| {script.title} | {version} | {' | '.join(cells)} | {IDS[tuple(result['ids'])]} | {processes} |")
        whole = f"The whole script, with whatever the lines leave open: `{script.path.relative_to(ROOT).as_posix()}`."
        parts.append(f"## {script.title}\n\n{script.notes} {whole}\n\n```python\n{script.lines}\n```")
    one = next(iter(results.values()))
    tried = f"Python {one['python']}, gymnasium {one['gymnasium']}, Linux."
    return "\n\n".join([HEAD.rstrip(), "\n".join(rows), tried, *parts]) + "\n"


def main(arguments: list[str]) -> None:
    """Run scripts on request, then write the page."""
    scripts = read_scripts()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if arguments[:1] == ["--run"]:
        for name in arguments[1:] or scripts:
            if scripts[name].version is None:
                print(f"{name}: not installed, its last result stays")
                continue
            result = try_library(scripts[name])
            results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            results[name] = result
            print(name, json.dumps({key: results[name][key] for key in ("version", "ids", "tasks")}), flush=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        arguments = []
    page = Path(arguments[0]) if arguments else PAGE
    page.write_text(render(results, scripts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
