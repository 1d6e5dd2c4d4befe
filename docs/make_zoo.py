"""Put trained policies into the package: ``python docs/make_zoo.py RUN...``, run folders or folders of such.

Of each task that run whose best checkpoint earned most by the reward model; success never selects. Only runs that the
embedded model judged with the weights that the package holds, and that were evaluated, are taken.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import write_json
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import find_runs
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.learning.zoo import HOME
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.builtin import short_name

ACTING = ("policy.json", "policy.safetensors", "normalizer.npz", "verdict.json")
"""What of a checkpoint is kept."""
TABLES = ("metrics.csv", "timings.csv", "best.json")
MAX_BYTES = 4_000_000
"""Of all policies together."""


def unfit(run: RunFolder, digest: str) -> str | None:
    """Why a run cannot go into the package, or ``None``."""
    record, evaluation = run.record, read_evaluation(run)
    if run.best is None or record.status not in ("finished", "interrupted"):
        return f"it is {record.status} at step {record.step:,} of {record.recipe.steps:,}"
    if evaluation is None or evaluation.checkpoint != run.best.step:
        return "its best checkpoint was not evaluated; run `vlmrm eval` of it"
    judges = {"training": record.judge, "evaluation": evaluation.judge}
    others = [name for name, judge in judges.items() if judge is None or judge.weights_digest != digest]
    return f"other weights judged its {' and its '.join(others)}" if others else None


def write_entry(run: RunFolder, home: Path = HOME) -> Path:
    """Write what acting, its figures and its curves need of a run; returns the folder."""
    target = home / short_name(run.record.task)
    best, evaluation = run.checkpoint("best"), read_evaluation(run)
    assert evaluation is not None
    with tempfile.TemporaryDirectory(dir=home) as made:
        folder = Path(made) / target.name
        checkpoint = folder / "checkpoints" / best.path.name
        checkpoint.mkdir(parents=True)
        (folder / "eval").mkdir()
        for place, names, into in ((run.path, TABLES, folder), (best.path, ACTING, checkpoint)):
            for name in names:
                if (place / name).exists():
                    shutil.copyfile(place / name, into / name)
        write_manifest(checkpoint)
        made_by = {run.record.recipe_name: run.record.recipe}
        RunFolder(folder).write_task(run.task.model_copy(update={"training": made_by}))
        write_json(folder / "run.json", run.record.model_dump(mode="json"))
        figures = evaluation.model_copy(update={"video": [], "film": None, "frames": {}})  # whose files stay behind
        write_json(folder / "eval" / "evaluation.json", figures.model_dump(mode="json"))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def make_zoo(folders: list[str], home: Path = HOME) -> list[Path]:
    """Write an entry for each task among these runs; raises RunError where none fits or they are too large."""
    digest = load_reward_model("kneeling", device="cpu").weights_digest  # type: ignore[attr-defined]
    chosen: dict[str, RunFolder] = {}
    for run in map(RunFolder.open, find_runs(folders)):
        why = unfit(run, digest)
        if why is not None:
            print(f"left out {run.path}: {why}", file=sys.stderr)
            continue
        rival = chosen.get(run.record.task)
        if rival is None or _earned(run) > _earned(rival):
            chosen[run.record.task] = run
    if not chosen:
        raise RunError("no run there can go into the package")
    written = [write_entry(run, home) for run in chosen.values()]
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise RunError(f"the policies are {size:,} bytes; {MAX_BYTES:,} is the most that the package shall carry")
    return written


def _earned(run: RunFolder) -> float:
    assert run.best is not None
    return run.best.vlm_reward


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        for path in make_zoo(sys.argv[1:]):
            print(path)
    except VLMRMError as error:
        sys.exit(f"error: {error}")
