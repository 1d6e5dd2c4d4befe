"""The audit itself: frames, embeddings, numbers, landscape, search, verdict."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.advice import advise
from gym_vlmrm.auditing.exploit import ExploitSearch, search_exploits
from gym_vlmrm.auditing.frames import AuditSet, audit_set_from_files, build_audit_set
from gym_vlmrm.auditing.judges import (
    Judge,
    PartsJudge,
    StateReward,
    candidates_of,
    check_model,
    make_judge,
    prompts_of,
)
from gym_vlmrm.auditing.landscape import landscape
from gym_vlmrm.auditing.numbers import confusions_of, control_of, control_sentences, measure, threshold_of
from gym_vlmrm.auditing.parts import notes_on_parts, report_parts
from gym_vlmrm.auditing.portraits import portraits
from gym_vlmrm.auditing.results import AuditReport, Candidate, Finding, Landscape, ModelReport, PartReport, Verdict
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.auditing.verdict import judge_verdict
from gym_vlmrm.errors import TaskError, whole_number
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.records import MAX_SEED
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reward import RewardModel, choose_frame_size
from gym_vlmrm.reward.loading import stranger_note
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.rules import rule_text
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.scene import can_pose

__all__ = ["ALPHAS", "Audit", "AuditPictures", "audit"]

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Strengths of regularisation that an audit compares when none is named."""
EVALUATIONS = 5000
"""States that the search for exploits scores per model."""
SHEET = 12
"""Frames of a contact sheet."""
OnProgress = Callable[[str, int, int], None]
Model = str | RewardModel | StateReward


@dataclass(frozen=True)
class AuditPictures:
    """Frames for the report of one model."""

    highest: list[tuple[NDArray[np.uint8], str]]
    lowest: list[tuple[NDArray[np.uint8], str]]
    goal_rewards: Floats
    other_rewards: Floats
    search: ExploitSearch | None


@dataclass(frozen=True)
class Audit:
    """An audit's numbers, and the pictures that go with them by model."""

    report: AuditReport
    pictures: dict[str, AuditPictures] = field(default_factory=dict)


def audit(
    task: TaskSpec | str | os.PathLike[str],
    *,
    models: Sequence[Model] = (),
    alphas: Sequence[float] | None = None,
    prompts: Sequence[str] = (),
    frames: str | os.PathLike[str] | None = None,
    policy: str | os.PathLike[str] | None = None,
    evaluations: int = EVALUATIONS,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Audit:
    """Ask, before any training, whether a reward can teach a task.

    Args:
        task: the task, or its name, environment ID or path.
        models: names of models, or reward model objects; the task's own model if there are none.
        alphas: strengths of regularisation; the task's own and `ALPHAS` if not given.
        prompts: goal prompts besides the task's own.
        frames: folder with pictures in ``goal/`` and ``other/``, instead of states of the environment.
        policy: run folder whose policy's frames join the audit set.
        evaluations: states that the search for exploits scores per model; 0 leaves it out.
        seed: equal seeds give equal audits.
        device: where models run.
        workers: worker processes that draw; one per core if not given.
        on_progress: called with what is being done, and how much of it is done and to do.

    Raises:
        TaskError: unknown task, or nothing tells which frames show its goal.
        RunError: `policy` is no run.
        ModelError, RenderingError: as their names say.
    """
    evaluations = whole_number("evaluations", evaluations, 0, error=TaskError)
    seed = whole_number("seed", seed, 0, MAX_SEED, error=TaskError)
    workers = None if workers is None else whole_number("workers", workers, 1, error=TaskError)
    began = time.perf_counter()
    spec = task if isinstance(task, TaskSpec) else load_task(task)
    if not spec.reward.plain:
        spec = spec.model_copy(update={"reward": spec.reward.at_once})
        if prompts:
            raise TaskError(
                f"task '{spec.id}': its reward is made of parts, so no other prompt stands for it; leave it out"
            )
    report = on_progress or (lambda what, done, total: None)
    asked: list[Model | None] = list(models)
    for model in asked or [None]:
        check_model(spec, model)
    if not all(prompt.strip() for prompt in prompts):
        raise TaskError("a goal prompt to compare is empty; write a sentence")
    if policy is not None:
        RunFolder.open(policy).checkpoint("best")
    if alphas is None:
        alphas = sorted({*ALPHAS, spec.reward.alpha})
    candidates = candidates_of(spec, alphas, prompts)
    if not candidates:
        raise TaskError(
            f"task '{spec.id}' has no baseline prompt, so alpha can only be 0; add 'baseline:' to its reward"
        )
    if frames is None and spec.success_rule is None:
        raise TaskError(f"task '{spec.id}' has no 'success:' rule, so nothing labels frames; give --pictures DIR")
    searched = frames is None and can_pose(spec) and evaluations > 0
    shown: dict[int, AuditSet] = {}
    pools: dict[int, StagePool] = {}

    def drawing(done: int, total: int) -> None:
        report("drawing frames", done, total)

    def examine(model: Model | None, stages: contextlib.ExitStack) -> _Examined:
        """Examine one model, which is the only one in memory meanwhile; frames of one size are drawn once."""
        judge = make_judge(spec, model, device)
        size = choose_frame_size(spec, judge)
        if frames is None and size not in pools:
            pools[size] = stages.enter_context(StagePool(spec, size, workers))
        if frames is not None:
            shown[size] = shown.get(size) or audit_set_from_files(frames, size)
        elif size not in shown:
            shown[size] = build_audit_set(spec, pools[size], seed, policy=policy, on_done=drawing)
        stage = pools[size] if searched else None
        return _examine(judge, candidates, spec, shown[size], stage, evaluations, seed, report)

    with contextlib.ExitStack() as stages:
        results = [examine(model, stages) for model in asked or [None]]
    first = results[0].frames
    return Audit(
        AuditReport(
            task=spec.id,
            environment=spec.env.id,
            success=f"pictures in {os.fspath(frames)}" if frames is not None else rule_text(spec.success),
            seed=seed,
            seconds=round(time.perf_counter() - began, 2),
            frames=_count(first.sources),
            goals=_count(first.sources[first.labels]),
            findings=[finding for result in results for finding in result.findings],
            landscapes=[result.landscape for result in results if result.landscape is not None],
            models=[result.report for result in results],
            versions=library_versions(),
        ),
        {result.report.model: result.pictures for result in results},
    )


@dataclass(frozen=True)
class _Examined:
    frames: AuditSet
    findings: list[Finding]
    landscape: Landscape | None
    report: ModelReport
    pictures: AuditPictures


def _examine(
    judge: Judge,
    candidates: list[Candidate],
    task: TaskSpec,
    frames: AuditSet,
    pool: StagePool | None,
    evaluations: int,
    seed: int,
    report: OnProgress,
) -> _Examined:
    """Everything about one model."""
    asked = candidates if judge.reads_prompts else candidates[:1]
    chosen = next((i for i, candidate in enumerate(asked) if candidate.alpha == task.reward.alpha), 0)
    judge.read([*prompts_of(asked), *([sentence] for sentence in control_sentences(asked[chosen].goal))])
    looks = judge.look(frames.seen, lambda done: report(f"embedding ({judge.name})", done, len(frames)))
    scored = [(candidate, judge.rewards(looks, candidate)) for candidate in asked]
    findings = []
    for index, (candidate, rewards) in enumerate(scored):
        numbers = measure(frames, rewards, seed=seed)
        findings.append(Finding(model=judge.name, candidate=candidate, numbers=numbers))
        report(f"measuring ({judge.name})", index + 1, len(scored))
    candidate, rewards = scored[chosen]
    found = None
    if pool is not None:
        found = search_exploits(
            pool, judge, candidate, frames, rewards, evaluations=evaluations, seed=seed,
            on_done=lambda done, total: report(f"searching exploits ({judge.name})", done, total),
        )  # fmt: skip
    control = control_of(frames, judge, looks, candidate)
    confusions = confusions_of(frames, rewards)
    verdict = judge_verdict(
        findings[chosen].numbers,
        control=control,
        exploit=None if found is None else found.exploit,
        confusions=confusions,
        reads_prompts=judge.reads_prompts,
    )
    advice = advise(task, judge, frames, looks, findings, candidate, None if found is None else found.exploit)
    stranger = stranger_note(task, None if isinstance(judge, PartsJudge) else judge.name)
    if stranger is not None:
        label = "doubtful" if verdict.label == "teachable" else verdict.label
        verdict = Verdict(label=label, reasons=[stranger, *verdict.reasons])
    parts: list[PartReport] = []
    if isinstance(judge, PartsJudge):
        exploit = None if found is None else found.exploit
        parts = report_parts(judge, frames, looks, exploit, pool)
        notes = notes_on_parts(judge, parts, exploited=verdict.label == "exploitable")
        verdict = Verdict(label=verdict.label, reasons=[*verdict.reasons, *notes])
    proposed, seen = threshold_of(frames, rewards), task.reward.success_seen
    asked_for = None if seen is None else threshold_of(frames, rewards, seen.above)
    own = [(judge.name, c, r) for c, r in scored if c.goal == candidate.goal]
    return _Examined(
        frames,
        findings,
        landscape(frames, own),
        ModelReport(
            model=judge.name, parameters=judge.parameters, chosen=candidate, judge=judge.record, verdict=verdict,
            confusions=confusions, control=control, exploit=None if found is None else found.exploit, parts=parts,
            proposed=proposed, asked=asked_for, advice=advice,
        ),
        _pictures(task, frames, rewards, found),
    )  # fmt: skip


def _pictures(task: TaskSpec, frames: AuditSet, rewards: Floats, found: ExploitSearch | None) -> AuditPictures:
    def sheet(order: NDArray[Any]) -> list[tuple[NDArray[np.uint8], str]]:
        rows, mark = order[:SHEET], np.where(frames.labels, "goal", "other")
        pictures = portraits(task, frames.seen.states[rows], frames.seen.frames[rows])
        captions = [f"{rewards[i]:.3f} · {mark[i]} · {frames.names[i]}" for i in rows]
        return list(zip(pictures, captions, strict=True))

    if found is not None:
        exploit, champion = found.exploit, found.champion_frame
        winners = portraits(task, [winner.state for winner in exploit.winners], found.winner_frames)
        if champion is not None and exploit.champion is not None:
            (champion,) = portraits(task, [exploit.champion.state], [champion])
        found = ExploitSearch(exploit, np.array(winners), champion)
    order = np.argsort(rewards, kind="stable")
    goal, other = rewards[frames.labels], rewards[~frames.labels]
    return AuditPictures(sheet(order[::-1]), sheet(order), goal, other, found)


def _count(values: NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(values, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
