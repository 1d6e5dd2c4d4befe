"""Other words for a goal prompt, and baselines to it, made from its own words and from a task's captions."""

import re
from collections.abc import Iterable

from gym_vlmrm.task.spec import TaskSpec

__all__ = ["baselines_for", "rewordings", "subject_of"]

_ARTICLES = ("a", "an", "the", "one", "two")
_BREAKS = frozenset({
    "with", "in", "on", "at", "that", "which", "whose", "is", "are", "has", "of", "above", "below", "near", "to",
    "doing", "up", "down", "upright", "straight", "and", "from", "over", "under", "beside", "its", "their", "off",
    "against",
})  # fmt: skip
_AFTER_PARTICIPLES = _BREAKS | {
    "away", "out", "back", "forward", "backward", "backwards", "apart", "together", "open", "shut",
}  # fmt: skip
_VERBS = frozenset({
    "sits", "stands", "lies", "hangs", "points", "leans", "kneels", "rests", "holds", "touches", "reaches", "raises",
    "bends", "folds", "walks", "runs", "jumps", "flies", "floats", "hovers", "opens", "closes", "turns", "moves",
    "stays", "carries", "looks", "waits", "lands", "rolls", "swings", "crouches", "squats", "falls", "balances",
    "grips", "lifts",
})  # fmt: skip
"""What somebody or something does: "the frog sits in a corner"."""
_NO_VERBS = frozenset({"ring", "string", "spring", "wing", "king", "thing", "ceiling", "building", "ping"})
FEWEST = 2
"""Words of a subject: "a pole" says more than "pole"."""


def subject_of(goal: str) -> tuple[str, str]:
    """Split a goal prompt into what it is about and what it says of that; the second is empty where it says nothing.

    The first word that is a participle ("standing", "folded" before "at"), an adverb ("vertically") or joins ("with",
    "up") begins what is said.
    """
    words = goal.split()
    bare_words = [word.strip(",.;:").lower() for word in words]
    for index, (bare, following) in enumerate(zip(bare_words, [*bare_words[1:], ""], strict=True)):
        said = (
            bare in _BREAKS
            or bare in _VERBS
            or (bare.endswith("ing") and bare not in _NO_VERBS)
            or bare.endswith("ally")
        )
        # "a folded arm" says what it is, "an arm folded" and "an arm folded at its elbow" what is said of it.
        participle = bare.endswith("ed") and len(bare) > 4 and not bare.endswith("eed")
        said |= participle and (not following or following in _AFTER_PARTICIPLES)
        if said and index >= (FEWEST if words[0].lower() in _ARTICLES else 1):
            return " ".join(words[:index]).rstrip(",;:"), " ".join(words[index:])
    return goal, ""


def rewordings(goal: str) -> list[str]:
    """Return sentences that say the same in another order or with other small words; none where nothing is found."""
    subject, said = subject_of(goal)
    if not said:
        return []
    if said.split()[0].lower() in _VERBS:
        return [f"{subject} that {said}"]
    bare = re.sub(r"^(a|an|the)\s+", "", subject, flags=re.IGNORECASE)
    clause = said if re.match(r"(is|are|has|that|which|whose|with|of|doing)\b", said) else f"is {said}"
    clause = {"with": "has", "doing": "does"}.get(clause.split()[0], clause.split()[0]) + clause[
        len(clause.split()[0]) :
    ]
    clause = re.sub(r"^(that|which)\s+", "", clause)
    found = [f"the {bare} {said}", f"{said}: {subject}"]
    if not clause.startswith(("whose ", "of ")):
        found += [f"{subject} {clause}", f"the {bare} {clause}", f"{subject} that {clause}"]
    return [sentence for sentence in dict.fromkeys(found) if goal not in sentence]


def baselines_for(task: TaskSpec) -> list[str]:
    """Return baseline prompts to try: what is always to be seen of a task's world, and what its goals are about."""
    always = [text for caption in task.captions if not list(caption.reads()) for text in caption.sentences]
    about = [subject_of(goal)[0] for goal in task.reward.goals]
    return _fresh([*always, *about], [*task.reward.goals, *task.reward.baselines])


def _fresh(sentences: Iterable[str], known: Iterable[str]) -> list[str]:
    taken = set(known)
    return [sentence for sentence in dict.fromkeys(sentences) if sentence and sentence not in taken]
