"""What to try next: another baseline or alpha that does better on the same frames, captions that are missing."""

from collections.abc import Sequence

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.frames import AuditSet
from gym_vlmrm.auditing.judges import Judge
from gym_vlmrm.auditing.results import Candidate, Exploit, Finding
from gym_vlmrm.auditing.rewording import baselines_for
from gym_vlmrm.learning import statistics
from gym_vlmrm.reward.loading import known_worlds
from gym_vlmrm.task.spec import TaskSpec

__all__ = ["advise"]

ALPHAS = (0.5, 1.0)
GAIN = 0.02
"""Least gain in AUC and rank correlation together that is worth advice."""


def advise(
    task: TaskSpec,
    judge: Judge,
    frames: AuditSet,
    looks: Floats,
    findings: Sequence[Finding],
    chosen: Candidate,
    exploit: Exploit | None,
) -> list[str]:
    """Return sentences that say what to try; none where nothing measured is better."""  # fmt: skip
    advice = []
    if judge.reads_prompts and task.reward.plain:
        advice += _better_prompts(task, judge, frames, looks, findings, chosen)
    if exploit is not None and exploit.winners and exploit.winners[0].fails and known_worlds(judge.name) is not None:
        fails = "; ".join(exploit.winners[0].fails[:2])
        best = exploit.best_success
        if best is None or exploit.winners[0].reward > best:
            cure = "caption it as what it is and teach again" if task.captions else "write captions and teach"
            advice.append(f"The best wrong state fails {fails}: {cure} (vlmrm teach).")
    return advice


def _better_prompts(
    task: TaskSpec, judge: Judge, frames: AuditSet, looks: Floats, findings: Sequence[Finding], chosen: Candidate
) -> list[str]:
    own = next((f.numbers for f in findings if f.candidate == chosen), None)
    nearness = None if own is None or own.spearman_distance is None else own.spearman_distance.value
    before = 0.0 if own is None else own.auc.value + (nearness or 0.0)
    tried = [(f.candidate, f.numbers.auc.value, f.numbers.spearman_distance) for f in findings if f.candidate != chosen]
    scored = [(candidate, auc, None if near is None else near.value) for candidate, auc, near in tried]
    scored = [row for row in scored if row[0].goal == chosen.goal]
    proposed = [
        Candidate(goal=chosen.goal, baseline=[baseline], alpha=alpha)
        for baseline in baselines_for(task)
        for alpha in ALPHAS
    ]
    judge.read([candidate.baseline for candidate in proposed])
    for candidate in proposed:
        scored.append((candidate, *_figures(frames, judge.rewards(looks, candidate))))
    if not scored:
        return []
    best = max(scored, key=lambda row: row[1] + (row[2] or 0.0))
    if best[1] + (best[2] or 0.0) < before + GAIN:
        return []
    words = f"alpha {best[0].alpha:g}" + (f" and the baseline '{best[0].baseline[0]}'" if best[0].baseline else "")
    was = "" if own is None else f" instead of {own.auc.value:.3f}"
    near = (
        ""
        if best[2] is None or nearness is None
        else f", rank correlation with nearness {best[2]:.2f}, not {nearness:.2f}"
    )
    return [f"With {words} the AUC is {best[1]:.3f}{was}{near}: `vlmrm prompts` ranks more."]


def _figures(frames: AuditSet, rewards: Floats) -> tuple[float, float | None]:
    near = None if frames.distance is None else float(statistics.spearman(rewards, -np.asarray(frames.distance)))
    return float(statistics.auc(rewards, frames.labels)), near
