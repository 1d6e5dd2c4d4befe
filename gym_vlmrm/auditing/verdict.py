"""What the numbers mean for training, in plain words. The thresholds are named here and nowhere else.

* not separable: the model cannot tell the goal from other frames, or any other sentence would do as well.
* exploitable: a state that is no success scores clearly higher than every success.
* doubtful: it separates, but some frames of other things or a valley on the way may stop an agent.
* teachable: none of these.
"""

from gym_vlmrm.auditing.results import Confusion, Control, Exploit, Numbers, Verdict, VerdictLabel

__all__ = [
    "APPROACH_LEAST", "AUC_SEPARABLE", "AUC_TEACHABLE", "CONTROL_MOST", "EXPLOIT_MARGIN", "FLAT", "VALLEY_MOST",
    "judge_verdict",
]  # fmt: skip

AUC_SEPARABLE = 0.80
"""Below this, one goal frame in five loses against a frame of something else: nothing to learn from."""
AUC_TEACHABLE = 0.92
"""From here on the goal stands out well enough that other things hardly ever pay more."""
FLAT = 0.004
"""Mean reward of goal frames above others, at alpha 0, below which it is flat: random weights reach 0.004 too."""
CONTROL_MOST = 0.05
"""At most this share of sentences about other things may separate the goal as well as the prompt does."""
APPROACH_LEAST = 0.15
"""Rank correlation of reward and nearness outside the goal; below it there is no slope that leads there."""
VALLEY_MOST = 0.40
"""Deepest fall of the reward on the way to the goal, as a share of its range, that exploration gets across."""
EXPLOIT_MARGIN = 0.5
"""How far a wrong state must beat every success, in standard deviations of the reward over goal frames."""
FAR_OFF = 1.0
"""Shortfall [standard deviations] from which a state is nothing like the goal."""
CONFUSED = 0.5
"""A kind of frame is named as confusing when this share of it beats the median goal frame."""


def judge_verdict(
    numbers: Numbers,
    *,
    control: Control | None,
    exploit: Exploit | None,
    confusions: list[Confusion],
    reads_prompts: bool,
) -> Verdict:
    """Return the verdict on one model with its reasons, the decisive one first."""
    inseparable = _inseparable(numbers, control)
    exploited = _exploited(exploit)
    doubts = _doubts(numbers, confusions)
    label: VerdictLabel
    # A reward that reads no sentence cannot misread one: where it has a hole, the hole is the news.
    if inseparable and not (exploited and not reads_prompts):
        label, reasons = "not separable", [*inseparable, *exploited]
    elif exploited:
        label, reasons = "exploitable", [*exploited, *inseparable, *doubts]
    elif doubts:
        label, reasons = "doubtful", doubts
    else:
        label, reasons = "teachable", []
    return Verdict(
        label=label, reasons=[*reasons, *_good_news(numbers, control, exploit, bool(inseparable), bool(exploited))]
    )


def _inseparable(numbers: Numbers, control: Control | None) -> list[str]:
    reasons = []
    auc = numbers.auc.value
    if auc < AUC_SEPARABLE:
        reasons.append(
            f"A goal frame outscores another frame only {auc:.0%} of the time (AUC {auc:.2f};"
            f" 50% is guessing, {AUC_SEPARABLE:.0%} is needed)."
        )
    if control is not None and control.as_good > CONTROL_MOST * control.sentences:
        reasons.append(
            f"The sentence hardly matters: {control.as_good} of {control.sentences} sentences about other things raise"
            f" the reward of goal frames as much as the goal prompt, such as '{control.best_sentence}'."
        )
    if control is not None and control.gap < FLAT:
        reasons.append(
            f"The model hardly sees a difference: goal frames score {control.gap:.4f} above others at alpha 0,"
            f" and random weights make differences of up to {FLAT} too."
        )
    return reasons


def _exploited(exploit: Exploit | None) -> list[str]:
    if exploit is None or not exploit.winners:
        return []
    winner = exploit.winners[0]
    why = f" It fails {'; '.join(winner.fails[:3])}." if winner.fails else ""
    if exploit.best_success is None:
        return [f"No success was found at all, and a state that is none scores {winner.reward:.3f}.{why}"]
    if exploit.margin is None or exploit.margin < EXPLOIT_MARGIN:
        return []
    return [
        f"The search found a state that is no success and scores {winner.reward:.3f}, more than the best success"
        f" ({exploit.best_success:.3f}) by {exploit.margin:.1f} times the reward's noise:"
        f" an agent will find it too.{why}"
    ]


def _near_exploits(numbers: Numbers, exploit: Exploit) -> list[str]:
    """Wrong states that pay as much as the goal usually does: no reason to give up, but something to watch for."""
    wrong = [winner for winner in exploit.winners if winner.distance >= FAR_OFF and winner.reward >= numbers.mean_goal]
    if not wrong:
        return []
    return [
        f"But wrong states score as high as an average goal frame ({numbers.mean_goal:.3f}), such as one with"
        f" {wrong[0].reward:.3f} that fails {'; '.join(wrong[0].fails[:3])}: watch success while training."
    ]


def _doubts(numbers: Numbers, confusions: list[Confusion]) -> list[str]:
    reasons = []
    auc = numbers.auc.value
    if AUC_SEPARABLE <= auc < AUC_TEACHABLE:
        reasons.append(
            f"A goal frame loses against another frame {1 - auc:.0%} of the time (AUC {auc:.2f};"
            f" {AUC_TEACHABLE:.2f} is safe)."
        )
    if numbers.valley is not None and numbers.valley > VALLEY_MOST:
        reasons.append(
            f"On the way to the goal the reward first falls by {numbers.valley:.0%} of its range:"
            " an agent may stop before it."
        )
    if numbers.spearman_approach is not None and numbers.spearman_approach.value < APPROACH_LEAST:
        reasons.append(
            "Far from the goal the reward does not say which way to go (rank correlation with nearness"
            f" {numbers.spearman_approach.value:.2f}, {APPROACH_LEAST:.2f} is needed)."
        )
    confused = [kind for kind in confusions if kind.above_median_goal >= CONFUSED and kind.frames >= 3]
    if confused and reasons:
        reasons.append(f"It takes these for the goal: {', '.join(kind.name for kind in confused[:4])}.")
    return reasons


def _good_news(
    numbers: Numbers, control: Control | None, exploit: Exploit | None, inseparable: bool, exploited: bool
) -> list[str]:
    news = []
    if numbers.auc.value >= AUC_TEACHABLE:
        news.append(
            f"A goal frame outscores another frame {numbers.auc.value:.1%} of the time (AUC {numbers.auc.value:.3f},"
            f" 95% interval {numbers.auc.low:.3f} to {numbers.auc.high:.3f})."
        )
    if not inseparable and numbers.valley is not None and numbers.valley <= VALLEY_MOST:
        news.append(f"On the way to the goal the reward never falls by more than {numbers.valley:.0%} of its range.")
    if not inseparable and exploit is not None and not exploited:
        news.append(
            f"{exploit.evaluations:,} states searched for the highest reward:"
            " nothing wrong beats every success clearly."
        )
        news += _near_exploits(numbers, exploit)
    if not inseparable and control is not None:
        news.append(
            f"{control.sentences - control.as_good} of {control.sentences} sentences about other things"
            " reward the goal less."
        )
    return news
