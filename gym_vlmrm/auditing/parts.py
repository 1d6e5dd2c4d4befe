"""Rewards made of parts, as an audit asks them: which part decides, which contradict each other, which is exploited.

States are judged by themselves: a window sees one picture as often as it has frames, a change is 0, shapes and the
environment's own reward are left out, and cameras that take turns are scored together.
"""

from itertools import combinations

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.frames import AuditSet
from gym_vlmrm.auditing.judges import PartsJudge
from gym_vlmrm.auditing.results import Exploit, PartReport
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.learning import statistics

__all__ = ["notes_on_parts", "report_parts"]

CONTRADICTION = -0.3
"""Rank correlation of two parts below which they pull in opposite directions."""
MISLEADS = 0.4
"""A part whose AUC is below this prefers what is not the goal."""
DECIDES = 0.8
"""Share of the reward from which one part decides alone."""


def report_parts(
    judge: PartsJudge, frames: AuditSet, looks: Floats, exploit: Exploit | None, pool: StagePool | None
) -> list[PartReport]:
    """Return what there is to say of each part.

    Args:
        judge: the reward.
        frames: audit set.
        looks: (N, P) what each part is worth in its frames.
        exploit: what the search found, if it searched.
        pool: shows the states that it found.
    """
    terms = judge.terms(looks)
    contradictions = _contradictions(terms)
    gains = _gains(judge, exploit, pool)
    return [
        PartReport(
            name=part.name,
            words=part.said,
            auc=float(statistics.auc(terms[:, place], frames.labels)),
            decides=share,
            contradicts=[judge.parts[other].name for other in contradictions.get(place, [])],
            pays_exploit=None if gains is None else float(gains[place]),
        )
        for place, (part, share) in enumerate(zip(judge.parts, _shares(terms, judge.combine), strict=True))
    ]


def _shares(terms: Floats, combine: str) -> list[float]:
    """How much of the reward's differences each part makes; a product is the sum of its logarithms."""
    if combine == "min":
        least = terms.argmin(axis=1)
        return [float((least == place).mean()) for place in range(terms.shape[1])]
    summed = _summands(terms, combine)
    total = summed.sum(axis=1)
    spread = float(total.var())
    if spread < 1e-18:
        return [0.0] * terms.shape[1]
    centred = total - total.mean()
    return [float((summed[:, place] * centred).mean()) / spread for place in range(terms.shape[1])]


def _contradictions(terms: Floats) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for one, other in combinations(range(terms.shape[1]), 2):
        if float(statistics.spearman(terms[:, one], terms[:, other])) < CONTRADICTION:
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _gains(judge: PartsJudge, exploit: Exploit | None, pool: StagePool | None) -> Floats | None:
    """What each part brings to the best wrong state above the best success, (P,)."""
    if exploit is None or pool is None or not exploit.winners or exploit.champion is None:
        return None
    states = np.array([exploit.winners[0].state, exploit.champion.state])
    terms = judge.terms(judge.look(pool.show(states)))
    if judge.combine == "min":  # only the least of the success holds its reward down
        gains = np.zeros(terms.shape[1])
        gains[terms[1].argmin()] = terms[0].min() - terms[1].min()
        return gains
    wrong, right = _summands(terms, judge.combine)
    return np.asarray(wrong - right)


def _summands(terms: Floats, combine: str) -> Floats:
    """What the parts add to the reward, or to its logarithm if that is their product."""
    return np.log(np.maximum(terms, 1e-6)) if combine == "product" else terms


def notes_on_parts(judge: PartsJudge, parts: list[PartReport], *, exploited: bool) -> list[str]:
    """Say in words what parts do to each other, and what an audit of states does not see."""
    notes = []
    leader = max(parts, key=lambda part: part.decides)
    if len(parts) > 1 and leader.decides >= DECIDES:
        notes.append(f"Part '{leader.name}' decides alone ({leader.decides:.0%} of the reward's differences).")
    for part in parts:
        if part.auc < MISLEADS and len(parts) > 1:
            notes.append(f"Part '{part.name}' prefers what is not the goal (AUC {part.auc:.2f}).")
        notes += [
            f"Parts '{part.name}' and '{other}' contradict each other."
            for other in part.contradicts
            if part.name < other
        ]
    payers = [part for part in parts if part.pays_exploit is not None]
    if exploited and payers:
        payer = max(payers, key=lambda part: part.pays_exploit or 0.0)
        notes.append(f"What the search found is paid by part '{payer.name}' ({payer.pays_exploit:+.3f}).")
    unseen = judge.unseen
    if unseen:
        notes.append(f"States were judged one by one, so nothing was learned of {', '.join(unseen)}.")
    return notes
