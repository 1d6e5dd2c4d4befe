"""Which words work: goal and baseline prompts and alphas, ranked by what the audit measures of each."""

import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gym_vlmrm.auditing.frames import AuditSet, audit_set_from_files, build_audit_set
from gym_vlmrm.auditing.judges import Judge, make_judge, prompts_of
from gym_vlmrm.auditing.numbers import measure
from gym_vlmrm.auditing.results import Candidate, Numbers
from gym_vlmrm.auditing.rewording import baselines_for, rewordings
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.errors import ModelError, TaskError, VLMRMError
from gym_vlmrm.files import read_text
from gym_vlmrm.learning import statistics
from gym_vlmrm.reward import RewardModel, choose_frame_size
from gym_vlmrm.reward.loading import cut_prompts, unknown_words
from gym_vlmrm.task.spec import TaskSpec

__all__ = [
    "MAX_PROMPTS", "PromptRanking", "PromptRow", "PromptTrial", "expand_template", "rank_prompts", "read_prompt_file",
    "suggest_prompts",
]  # fmt: skip

MAX_PROMPTS = 500
"""Most sentences that a file of templates may expand to."""
MAX_FILE = 1_000_000
MAX_LINE = 10_000
"""Longest file of prompts [bytes], and its longest line [characters]."""
DETAILED = 20
"""Candidates, the best ones, that get intervals."""
TEMPLATES = (
    "{goal}", "a photo of {goal}", "a picture of {goal}", "a rendering of {goal}", "an image of {goal}",
    "this is {goal}",
    "{goal} in a simulation", "a video game scene of {goal}",
)  # fmt: skip
"""What `suggest_prompts` puts the task's own goal prompt into."""
_CHOICE = re.compile(r"\{([^{}]*)\}")
By = Literal["epic", "auc", "nearness", "gap"]


class PromptRow(BaseModel):
    """One candidate and how it does."""

    model_config = ConfigDict(frozen=True)

    candidate: Candidate
    auc: float
    epic: float
    nearness: float | None
    """Rank correlation with nearness to the goal; ``None`` for frames from files."""
    gap: float
    unknown_words: list[str]
    """Words of the prompts that the model never saw in training, where it says which it saw."""
    cut_prompts: dict[str, str] = {}
    """Prompts that are longer than what the model reads, each with its end that is not read."""
    own: bool
    """Whether these are the task's own prompts and alpha."""
    numbers: Numbers | None = None
    """With intervals, for the best candidates and the task's own."""


class PromptRanking(BaseModel):
    """Candidates, the best first."""

    model_config = ConfigDict(frozen=True)

    task: str
    model: str
    by: By
    frames: int
    goals: int
    rows: list[PromptRow]


@dataclass(frozen=True)
class PromptTrial:
    """Sentences to try."""

    goals: list[str]
    baselines: list[str]


def expand_template(template: str) -> list[str]:
    """Return every sentence of a template such as ``a {humanoid robot|person} {kneeling|on its knees}``."""
    parts = _CHOICE.split(template)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    sentences = ["".join(words) for words in itertools.islice(itertools.product(*choices), MAX_PROMPTS + 1)]
    return [" ".join(sentence.split()) for sentence in sentences]


def read_prompt_file(path: str | os.PathLike[str]) -> PromptTrial:
    """Read prompts: one a line; ``baseline:`` begins a baseline prompt; ``{a|b}`` is a choice; ``#`` begins a comment.

    Raises:
        VLMRMError: the file cannot be read, holds no goal prompt, or expands to more than `MAX_PROMPTS` sentences.
    """
    lines = read_text(Path(path), MAX_FILE, links=True).splitlines()
    trial: dict[str, list[str]] = {"goal": [], "baseline": []}
    for line in lines:
        text = line.partition("#")[0].strip()
        kind, colon, rest = text.partition(":")
        if not (colon and kind.strip().lower() in trial):
            kind, rest = "goal", text
        if len(text) > MAX_LINE:
            raise VLMRMError(f"{os.fspath(path)}: a line of {len(text):,} characters; the limit is {MAX_LINE:,}")
        trial[kind.strip().lower()] += [sentence for sentence in expand_template(rest.strip()) if sentence]
        if sum(map(len, trial.values())) > MAX_PROMPTS:
            break
    if not trial["goal"]:
        raise VLMRMError(f"{os.fspath(path)}: holds no prompt; write one sentence a line")
    if sum(map(len, trial.values())) > MAX_PROMPTS:
        raise VLMRMError(f"{os.fspath(path)}: expands to more than {MAX_PROMPTS} sentences; take out some choices")
    return PromptTrial(*(list(dict.fromkeys(trial[kind])) for kind in ("goal", "baseline")))


def suggest_prompts(task: TaskSpec) -> PromptTrial:
    """Return what the task's own words suggest: templates, other orders of words, its captions, and baselines."""
    goals = [template.format(goal=goal) for goal in task.reward.goals for template in TEMPLATES]
    for goal in task.reward.goals:
        goals += rewordings(goal)
        goals += [text for caption in task.captions if goal in caption.sentences for text in caption.sentences]
    return PromptTrial(list(dict.fromkeys(goals)), baselines_for(task))


def rank_prompts(
    task: TaskSpec,
    trial: PromptTrial,
    *,
    model: str | RewardModel | None = None,
    alphas: Sequence[float] = (0.0, 0.5, 1.0),
    by: By = "auc",
    frames: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> PromptRanking:
    """Rank goal prompts, baseline prompts and alphas on the audit set of a task; the task's own always take part.

    Args:
        task: the task.
        trial: sentences to try.
        model: name of the model, or a reward model with text and image towers; the task's own if not given.
        alphas: strengths of regularisation to try with every baseline.
        by: number to rank by: ``auc``, ``epic`` (the least first), ``nearness`` or ``gap``; EPIC breaks ties.
        frames: folder with pictures in ``goal/`` and ``other/``, instead of states of the environment.
        seed: of the audit set and the intervals.
        device: where the model runs.
        workers: worker processes that draw; one per core if not given.
        on_progress: called with what is being done, and how much of it is done and to do.

    Raises:
        ModelError: the model reads no prompts, or cannot be loaded.
        TaskError: nothing tells which frames show the goal, nothing is left to try, or the reward is made of parts.
    """
    report = on_progress or (lambda what, done, total: None)
    if not task.reward.plain:
        raise TaskError(
            f"task '{task.id}': its reward is made of parts, and no prompt stands for it; try them in a plain one"
        )
    judge = make_judge(task, model, device)
    if not judge.reads_prompts:
        raise ModelError(f"model '{judge.name}' reads no prompts; name an open_clip model or 'embedded'")
    candidates, own = _candidates(task, trial, alphas)
    judge.read(prompts_of(candidates))
    shown = _frames(task, judge, frames, seed, workers, report)
    looks = judge.look(shown.seen, lambda done: report("embedding", done, len(shown)))
    cut = cut_prompts(judge.name, {text for each in candidates for text in (*each.goal, *each.baseline)})
    rows, rewards = [], []
    for index, candidate in enumerate(candidates):
        scores = judge.rewards(looks, candidate)
        used = [*candidate.goal, *(candidate.baseline if candidate.alpha else [])]
        nearness = None if shown.distance is None else float(statistics.spearman(scores, -shown.distance))
        rows.append(
            PromptRow(
                candidate=candidate,
                auc=float(statistics.auc(scores, shown.labels)),
                epic=float(statistics.epic_distance(scores, shown.labels)),
                nearness=nearness,
                gap=float(statistics.gap(scores, shown.labels)),
                unknown_words=unknown_words(judge.name, used),
                cut_prompts={text: cut[text] for text in used if text in cut},
                own=candidate == own,
            )
        )
        rewards.append(scores)
        report("trying prompts", index + 1, len(candidates))
    order = sorted(range(len(rows)), key=lambda i: _rank(rows[i], by))
    ranked = []
    for place, index in enumerate(order):
        detailed = place < DETAILED or rows[index].own
        numbers = measure(shown, rewards[index], resamples=200, seed=seed) if detailed else None
        ranked.append(rows[index].model_copy(update={"numbers": numbers}))
        report("measuring", place + 1, len(order))
    goals = int(shown.labels.sum())
    return PromptRanking(task=task.id, model=judge.name, by=by, frames=len(shown), goals=goals, rows=ranked)


def _frames(
    task: TaskSpec,
    judge: Judge,
    frames: str | os.PathLike[str] | None,
    seed: int,
    workers: int | None,
    report: Callable[[str, int, int], None],
) -> AuditSet:
    size = choose_frame_size(task, judge)
    if frames is not None:
        return audit_set_from_files(frames, size)
    if task.success_rule is None:
        raise TaskError(f"task '{task.id}' has no 'success:' rule, so nothing labels frames; give --pictures DIR")
    with StagePool(task, size, workers) as pool:
        return build_audit_set(task, pool, seed, on_done=lambda done, total: report("drawing frames", done, total))


def _candidates(task: TaskSpec, trial: PromptTrial, alphas: Sequence[float]) -> tuple[list[Candidate], Candidate]:
    """Every goal with alpha 0, and every goal, baseline and alpha above 0; the task's own first."""
    goals = [task.reward.goals, *([goal] for goal in trial.goals)]
    baselines = [task.reward.baselines, *([baseline] for baseline in trial.baselines)]
    own = Candidate(goal=goals[0], baseline=baselines[0], alpha=task.reward.alpha)
    found = [own]
    for goal in goals:
        for alpha in alphas:
            found += [
                Candidate(goal=goal, baseline=baseline, alpha=alpha)
                for baseline in (baselines if alpha else baselines[:1])
                if (baseline or not alpha) and baseline != goal
            ]
    unique = list({candidate.model_dump_json(): candidate for candidate in found}.values())
    return unique, own


def _rank(row: PromptRow, by: By) -> tuple[bool, float, float]:
    """Words that the model never saw are guesses: by chance one of many wins by a hair, so they come last."""
    nearness = -1.0 if row.nearness is None else row.nearness
    value = {"epic": row.epic, "auc": -row.auc, "nearness": -nearness, "gap": -row.gap}[by]
    return bool(row.unknown_words), round(value, 3), row.epic
