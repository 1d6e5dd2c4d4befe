"""The Python face of `vlmrm train` and `vlmrm audit`: `gym_vlmrm.train` and `gym_vlmrm.audit`.

Everything is named as on the command line. Nothing heavy is imported before a function is called.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_vlmrm.errors import did_you_mean
from gym_vlmrm.task.catalog import OVERRIDES, load_task, override
from gym_vlmrm.task.spec import TaskSpec

if TYPE_CHECKING:
    from gym_vlmrm.auditing import Audit
    from gym_vlmrm.auditing.judges import StateReward
    from gym_vlmrm.cluster.training import Cluster
    from gym_vlmrm.footage.scores import FootageScores
    from gym_vlmrm.learning import TrainingResult
    from gym_vlmrm.learning.callbacks import Progress
    from gym_vlmrm.learning.comparison import Comparison
    from gym_vlmrm.reward import RewardModel

__all__ = ["audit", "compare", "score", "train"]

Task = TaskSpec | str | os.PathLike[str]
Run = str | os.PathLike[str]
Sentences = str | Sequence[str]


def train(
    task: Task,
    *,
    recipe: str | None = None,
    algorithm: str | None = None,
    steps: int | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    output: Run | None = None,
    workers: int | None = None,
    on_progress: "Callable[[Progress], None] | None" = None,
    on_notice: Callable[[str], None] = lambda _: None,
    log: Sequence[str] = (),
    anyway: bool = False,
    cluster: "Cluster | str | None" = None,
    **changes: Any,
) -> "TrainingResult":
    """Train an agent on a task and leave everything in a run folder, as ``vlmrm train`` does.

    Args:
        task: a task, or its name, environment ID or path.
        recipe: name of a recipe of the task's ``training:`` section.
        algorithm: any algorithm of stable-baselines3 or sb3-contrib, by name.
        steps: environment steps, all environments together.
        num_envs: environments that are stepped together.
        seed: of environments, networks and exploration; equal seeds give equal agents on a CPU.
        output: the run folder; ``runs/<task>-<algorithm>-<seed>-<n>`` if not given.
        workers: worker processes for the environments; one per core if not given.
        on_progress: called a few times per second.
        on_notice: called with a sentence that the user should read.
        log: trackers to log to beside TensorBoard: ``wandb``, ``trackio``.
        anyway: train even where the model never saw the environment and says so.
        cluster: a Ray cluster for judges and worlds: ``auto``, ``HOST:PORT`` or a `gym_vlmrm.cluster.training.Cluster`.
        changes: ``model``, ``goal``, ``baseline``, ``alpha``, ``device``, ``precision``, ``scene``, ``render_size``,
            ``max_episode_steps``: what replaces the task's own.

    Returns:
        How it ended: ``run`` (its folder is ``run.path``), ``step``, ``seconds``, ``interrupted``, ``best``.

    Raises:
        TaskError, TrainingError, ModelError, RenderingError, RunError: as their names say.
    """
    from gym_vlmrm.cluster.training import Cluster
    from gym_vlmrm.learning import choose_recipe
    from gym_vlmrm.learning import train as run_training
    from gym_vlmrm.reward.loading import refuse_strangers

    _check_changes("train", train, changes)
    spec = override(_task(task), **changes)
    refuse_strangers(spec, anyway, way="anyway=True")
    where = Cluster(cluster) if isinstance(cluster, str) else cluster
    name, chosen = choose_recipe(spec, recipe, algorithm=algorithm, steps=steps, num_envs=num_envs)
    return run_training(
        spec, chosen, recipe_name=name, seed=seed, output=output, workers=workers, on_progress=on_progress,
        on_notice=on_notice, log=log, cluster=where,
    )  # fmt: skip


def audit(
    task: Task,
    *,
    model: "str | RewardModel | StateReward | Sequence[str | RewardModel | StateReward] | None" = None,
    alpha: float | Sequence[float] | None = None,
    prompt: Sentences = (),
    goal: Sentences | None = None,
    baseline: Sentences | None = None,
    frames: Run | None = None,
    policy: Run | None = None,
    evaluations: int = 5000,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    output: Run | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> "Audit":
    """Ask before any training whether a reward can teach a task, as ``vlmrm audit`` does.

    Args:
        task: a task, or its name, environment ID or path.
        model: a model's name, a reward model object, or several of them; the task's own if not given.
        alpha: strengths of goal-baseline regularisation to compare.
        prompt: other goal prompts to compare.
        goal: the goal prompt, instead of the task's.
        baseline: the baseline prompt, instead of the task's.
        frames: folder with pictures in ``goal/`` and ``other/``, instead of states of the environment.
        policy: run folder whose policy's frames join the audit.
        evaluations: states that the search for exploits scores per model; 0 leaves it out.
        seed: equal seeds give equal audits.
        device: where models run.
        workers: worker processes that draw; one per core if not given.
        output: folder for ``report.html`` and ``report.json``; nothing is written if not given.
        on_progress: called with what is being done, and how much of it is done and to do.

    Returns:
        ``report`` (findings, exploit searches, verdicts; a pydantic model) and the ``pictures`` that go with it.

    Raises:
        TaskError: unknown task, or nothing tells which frames show its goal.
        ModelError, RenderingError, RunError: as their names say.
    """
    from gym_vlmrm.auditing import audit as examine
    from gym_vlmrm.files import make_folder
    from gym_vlmrm.reports.page import write_audit

    spec = override(_task(task), goal=_plain(goal), baseline=_plain(baseline))
    folder = None if output is None else Path(output)
    if folder is not None:
        make_folder(folder)
    result = examine(
        spec, models=_several(model), alphas=_several(alpha) or None, prompts=_several(prompt), frames=frames,
        policy=policy, evaluations=evaluations, seed=seed, device=device, workers=workers, on_progress=on_progress,
    )  # fmt: skip
    if folder is not None:
        write_audit(result, folder)
    return result


def compare(*runs: Run) -> "Comparison":
    """Put runs beside one another, as ``vlmrm compare`` does; those that differ in their seed alone are one group.

    Args:
        runs: run folders, or folders of such.

    Returns:
        The ``groups``, each with its ``runs`` and, over seeds, mean ``numbers`` and ``curves`` with 95% intervals.

    Raises:
        RunError: no such run, a damaged one, or too many.
    """
    from gym_vlmrm.learning.comparison import compare as compare_runs

    return compare_runs(runs)


def score(task: Task, *frames: Any, camera: str | None = None, **changes: Any) -> "FootageScores":
    """Score recorded frames by a task's reward model, as ``vlmrm score`` does.

    Args:
        task: a task, or its name, environment ID or path.
        frames: arrays of frames, uint8 (N, H, W, 3); or paths of pictures, films, folders of such, and data sets of
            Minari or LeRobot. Frames that are not square are padded.
        camera: which pictures of a data set; its first if not given.
        changes: ``model``, ``goal``, ``baseline``, ``alpha``, ``device``, ``precision``: what replaces the task's own.

    Returns:
        The ``rewards`` (N,) of all frames, and ``clips`` with their frames' names, times [s] and rewards.

    Raises:
        TaskError: unknown task, or one whose reward looks through several cameras. RunError: a file is missing, damaged
            or holds no frames. ModelError: as its name says.
    """
    from gym_vlmrm.footage.scores import score_footage

    _check_changes("score", score, changes)
    return score_footage(override(_task(task), **changes), frames, camera=camera)


def _check_changes(name: str, function: Callable[..., Any], changes: dict[str, Any]) -> None:
    for change in changes:
        if change not in OVERRIDES:
            known = did_you_mean(change, [*OVERRIDES, *inspect.signature(function).parameters])
            raise TypeError(f"{name}() got an unexpected keyword argument '{change}'{known}")


def _task(task: Task) -> TaskSpec:
    return task if isinstance(task, TaskSpec) else load_task(task)


def _plain(sentences: Sentences | None) -> str | list[str] | None:
    return sentences if sentences is None or isinstance(sentences, str) else list(sentences)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
