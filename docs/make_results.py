"""Train the built-in tasks, judge and audit them, and write ``docs/results/``: ``python docs/make_results.py``.

``make results`` runs it: ten tasks, three seeds each, hours. It goes on where it stopped; what is there already is not
made again. ``--tasks`` and ``--seeds`` make a part of it, ``--pages`` writes the pages of what there is, no more. What
earlier runs gave, judged by the same weights, stays on the pages when their folders are gone.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from results_data import AuditOutcome, Results, Row, read_audit, read_row, shown_runs, with_earlier
from results_pages import PAGES, write_pages

import gym_vlmrm
from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import read_model
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import find_runs
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.learning.trainer import TrainingResult
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.builtin import PAPER_TASKS, short_name
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec

LONGER = 4
"""A task whose recipes can let episodes go on is played so many times as long as its episodes are."""
SEEDS = (0, 1, 2)


def recipe_of(task: str, wanted: str | None) -> str:
    """Return the recipe that makes a task's agents: the one asked for, where the task has it, else its default."""
    recipes = load_task(task).training
    return wanted if wanted in recipes else "default"


def horizon_of(task: str) -> int | None:
    """Return up to which step episodes of a task are judged, ``None`` for its own limit."""
    spec = load_task(task)
    limit = spec.env.max_episode_steps
    held = any(recipe.continuation is not None for recipe in spec.training.values())
    return LONGER * limit if held and limit is not None else None


def train(path: Path, task: str | TaskSpec, recipe: str, seed: int, workers: int | None) -> RunFolder:
    """Train a run, go on with it, or leave it as it is where it is finished; a signal ends the program."""
    if (path / "run.json").is_file():
        run = RunFolder.open(path)
        if run.record.status == "finished":
            return run
        result: TrainingResult = gym_vlmrm.resume(path, workers=workers, on_notice=print)
    else:
        result = gym_vlmrm.train(task, recipe=recipe, seed=seed, output=path, workers=workers, on_notice=print)
    if result.interrupted:
        sys.exit(128 + (result.signal or 2))
    return RunFolder.open(path)


def is_judged(run: RunFolder, digest: str, episodes: int, horizon: int | None) -> bool:
    """Whether a run's best checkpoint has been played as asked, by the weights with this digest."""
    found = read_evaluation(run)
    if found is None or found.judge is None or found.judge.weights_digest != digest:
        return False
    same = run.best is not None and found.checkpoint == run.best.step and found.policy.episodes == episodes
    return same and (found.longer.horizon if found.longer else None) == horizon and bool(found.video)


def make(options: argparse.Namespace, digest: str) -> None:
    """Train, play and audit what is asked for and not there yet."""
    for task in options.tasks:
        audit = options.runs / f"audit-{task}"
        if read_audit(audit, digest) is None:
            print(f"{task}: audit", flush=True)
            gym_vlmrm.audit(task, output=audit, workers=options.workers)
    for seed in options.seeds:
        for task in options.tasks:
            recipe, horizon = recipe_of(task, options.recipe), horizon_of(task)
            print(f"{task}: seed {seed}, recipe {recipe}", flush=True)
            run = train(options.runs / f"{task}-{seed}", task, recipe, seed, options.workers)
            if not is_judged(run, digest, options.episodes, horizon):
                gym_vlmrm.evaluate(
                    run.path, episodes=options.episodes, horizon=horizon, workers=options.workers
                )  # fmt: skip


def collect(runs: Path, digest: str) -> Results:
    """Return what there is below a folder, of all tasks and seeds; what other weights judged is left out and named."""
    rows: list[Row] = []
    for run in map(RunFolder.open, find_runs([runs])):
        row = read_row(run, digest)
        if isinstance(row, str):
            print(f"left out {run.path}: {row}", file=sys.stderr)
        else:
            rows.append(row)
    return in_order(Results(weights_digest=digest, rows=rows, audits=list(_audits(runs, digest))))


def in_order(results: Results) -> Results:
    """Return results as the pages list them: by task, recipe and seed."""
    order = list(PAPER_TASKS)

    def place(task: str) -> int:
        return order.index(task) if task in order else len(order)

    rows = sorted(results.rows, key=lambda row: (place(row.task), row.recipe_name, row.seed))
    audits = sorted(results.audits, key=lambda audit: place(audit.task))
    return results.model_copy(update={"rows": rows, "audits": audits})


def _audits(runs: Path, digest: str) -> Iterator[AuditOutcome]:
    for task in PAPER_TASKS:
        found = read_audit(runs / f"audit-{task}", digest)
        if found is not None:
            yield found


def films(runs: Path, results: Results) -> dict[str, Path]:
    """Return the film of each task, by its name: of the run whose best checkpoint earned most."""
    found: dict[str, tuple[float, Path]] = {}
    for run in shown_runs(runs, results):
        task, film, best = short_name(run.record.task), run.path / "video.gif", run.best
        if best is not None and film.is_file() and best.vlm_reward > found.get(task, (float("-inf"),))[0]:
            found[task] = (best.vlm_reward, film)
    return {task: path for task, (_, path) in found.items()}


def main() -> None:
    """Make the results and write their pages."""
    names = list(PAPER_TASKS)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=names, choices=names, metavar="TASK", help="all ten if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="N", help="0 1 2 if not given")
    parser.add_argument("--recipe", help="of the tasks that have one of that name; `default` for the others")
    parser.add_argument("--episodes", type=int, default=100, help="that judge each agent")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="where runs and audits lie")
    parser.add_argument("--workers", type=int, help="worker processes; one per core if not given")
    parser.add_argument("--pages", action="store_true", help="only write the pages of what there is")
    options = parser.parse_args()
    if options.episodes < 1 or min(options.seeds) < 0:
        parser.error("episodes begin at 1, seeds at 0")
    try:
        digest = load_reward_model("kneeling", device="cpu").weights_digest  # type: ignore[attr-defined]
        if not options.pages:
            make(options, digest)
        results = collect(options.runs, digest)
        if (PAGES / "results.json").is_file():
            results = in_order(with_earlier(results, read_model(PAGES / "results.json", Results)))
        if not results.rows:
            raise RunError(f"no run in '{options.runs}' has been judged by the weights that the package holds")
        print(write_pages(results, options.runs, films(options.runs, results)))
    except VLMRMError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
