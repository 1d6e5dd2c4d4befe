"""Sentences about frames: phrases of concepts, joined in the ways that people join them, with their targets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import yaml

from embedded_model.states import HELD_OUT_PAIRS

__all__ = ["Grammar", "Rewording", "Sentence", "own_clause", "paraphrases", "parts_first", "predicate"]

Split: TypeAlias = Literal["train", "held_out"]
PHRASES = Path(__file__).parent / "phrases"
_JOINTS = (", with ", " with ", " with ", ", ", " and ", ", and with ")
_TWO_JOINTS = (", ", " and ", ", and ", ", that is ", ": ")
_CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "tr", "pl", "st")
GOAL_SHARE = 0.04
"""Share of the training sentences about the humanoid that are the paper's goal prompts, word for word."""
REWORDED_SHARE = 0.5
"""Share of the training sentences about the humanoid or the pole some of whose words change for synonyms."""
PARTS_FIRST_SHARE = 0.4
"""Share of those that speak of a part of the body first which make that the subject."""
OWN_CLAUSE_SHARE = 0.3
"""Share of those that end with a part of the body which say that in a clause of its own."""
_PART = (
    r"((?:both|its|the|one|only one|one of its|both of its|its (?:left|right)|the (?:left|right)) "
    r"(?:legs?|knees?|feet|foot|shins?|arms?|hands?|forearms|fists|palms|elbows|hips|pelvis|bottom|torso|back)) "
)
_PART_FIRST = re.compile(rf"with {_PART}((?!of |and ).+)")
_PART_LAST = re.compile(rf"(?<=\w)(?:,? and(?: with)?|,? with|,) {_PART}((?!of |and |to |not )[^,]+)$")
_SINGULAR = ("leg", "knee", "foot", "shin", "arm", "hand", "pelvis", "bottom", "torso", "back")
_HOLDERS = ("it keeps", "it keeps", "it holds", "it has", "he keeps", "she keeps", "they keep", "who keeps", "keeping")
_FREE_LEGS = {"all_fours", "plank", "handstand", "bridge"}
"""Leg poses whose arms are taken."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and the concepts that it names."""

    text: str
    domain: str
    names: dict[str, str] = field(default_factory=dict)
    """Concept by block."""
    excluded: tuple[str, ...] = ()
    """Concepts, as ``block.name``, that the sentence denies."""


class Grammar:
    """Draws sentences from the phrases of one split."""

    def __init__(self, split: Split = "train") -> None:
        self.split: Split = split
        self.humanoid = _load("humanoid")
        self.cartpole = _load("cartpole")
        self.car = _load("mountain_car")
        self._rewording = Rewording(**_load("synonyms"))
        self._cartpole_rewording = Rewording(**self.cartpole["synonyms"])

    def draw(self, rng: np.random.Generator) -> Sentence:
        """Draw one sentence of any domain."""
        kind = rng.random()
        if kind < 0.74:
            return self._humanoid(rng)
        return self._cartpole(rng) if kind < 0.88 else self._mountain_car(rng)

    def concept(self, domain: str, block: str, name: str) -> list[str]:
        """Return bare sentences about one concept, a phrase each."""
        if domain == "humanoid":
            return [
                f"a humanoid robot {'with ' if block == 'arms' else ''}{text}"
                for text in self.humanoid[block][name][self.split]
            ]
        table = self.cartpole if domain == "cartpole" else self.car
        return list(table["positions" if block in ("cart", "car") else "angles"][name][self.split])

    def goals(self) -> list[Sentence]:
        """Return the paper's goal prompts of the humanoid."""
        return [_goal(entry) for entry in self.humanoid["goals"]]

    def phrases(self) -> list[str]:
        """Return every phrase that training may use: the words of these are the words that the model knows."""
        return [
            *_leaves({key: value for key, value in self.humanoid.items() if key not in ("negations", "goals")}),
            *(entry["phrase"] for entry in self.humanoid["negations"]),
            *_leaves(self.cartpole),
            *_leaves(self.car),
            *self._rewording.words,
            *_JOINTS,
            *_TWO_JOINTS,
            *_HOLDERS,
            "while is and",
        ]

    def _pick(self, rng: np.random.Generator, phrases: dict[str, list[str]]) -> str:
        # Held-out phrases are judged in otherwise familiar sentences as well as in unfamiliar ones.
        options = phrases[self.split] if self.split == "train" or rng.random() < 0.5 else phrases["train"]
        return options[rng.integers(len(options))]

    def _humanoid(self, rng: np.random.Generator) -> Sentence:
        if self.split == "train" and rng.random() < GOAL_SHARE:
            return _goal(_one_of(rng, self.humanoid["goals"]))
        subject = self._subject(rng)
        prefix = self._prefix(rng)
        suffix = self._pick(rng, self.humanoid["suffixes"]) if rng.random() < 0.25 else ""
        kind = rng.random()
        if kind < 0.05:
            return Sentence(prefix + subject + suffix, "humanoid")
        if kind < 0.11 and self.split == "train":
            denial = self.humanoid["negations"][rng.integers(len(self.humanoid["negations"]))]
            return Sentence(f"{subject} {denial['phrase']}", "humanoid", excluded=tuple(denial["excludes"]))
        names = self._names(rng, legs=kind < 0.88, arms=kind > 0.45)
        body = self._body(rng, names)
        if self.split == "train" and not prefix:
            body = predicate(rng, body)
        if self.split == "train" and rng.random() < REWORDED_SHARE:
            body = self._rewording(rng, body)
        if self.split == "train" and rng.random() < OWN_CLAUSE_SHARE:
            body = own_clause(rng, body)
        text = f"{prefix}{subject} {body}{suffix}" if rng.random() < 0.9 else body
        if self.split == "train" and rng.random() < PARTS_FIRST_SHARE:
            text = parts_first(rng, subject, body) or text
        return Sentence(text, "humanoid", names)

    def _prefix(self, rng: np.random.Generator) -> str:
        """Return how some sentences begin that say what a picture shows, of whatever scene."""
        return self._pick(rng, self.humanoid["prefixes"]) if rng.random() < 0.25 else ""

    def _subject(self, rng: np.random.Generator) -> str:
        """Return who the sentence is about; it never matters, so that unseen names of a robot matter little."""
        kind, parts = rng.random(), self.humanoid["subject_parts"]
        if kind < 0.4:
            return "a humanoid robot"
        if kind < 0.75 or self.split == "held_out":
            return self._pick(rng, self.humanoid["subjects"])
        if kind < 0.78:
            return str(_one_of(rng, parts["pronouns"]))
        noun = _one_of(rng, parts["nouns"]) if kind < 0.96 else _invented_word(rng)
        phrase = " ".join(word for word in (_one_of(rng, parts["adjectives"]), noun) if word)
        determiner = _one_of(rng, parts["determiners"])
        return f"{'an' if determiner == 'a' and phrase[0] in 'aeiou' else determiner} {phrase}"

    def _names(self, rng: np.random.Generator, *, legs: bool, arms: bool) -> dict[str, str]:
        names = {}
        if legs:
            options = list(self.humanoid["legs"])
            names["legs"] = "standing" if arms and rng.random() < 0.3 else options[rng.integers(len(options))]
        if arms and names.get("legs") not in _FREE_LEGS:
            options = list(self.humanoid["arms"])
            names["arms"] = options[rng.integers(len(options))]
            if (names.get("legs"), names["arms"]) in HELD_OUT_PAIRS:
                del names["arms"]
        return names

    def _body(self, rng: np.random.Generator, names: dict[str, str]) -> str:
        legs = self._legs(rng, names["legs"]) if "legs" in names else ""
        if "arms" not in names:
            return legs
        participle = rng.random() < 0.3
        table = self.humanoid["arms_participles" if participle else "arms"]
        arms = self._pick(rng, table[names["arms"]])
        if not legs:
            return arms if participle else f"with {arms}"
        joints = (", ", " and ", " while ") if participle else _JOINTS
        joint = joints[rng.integers(len(joints))]
        if rng.random() < 0.15:
            return f"{'' if participle else 'with '}{arms}{_TWO_JOINTS[rng.integers(3)]}{legs}"
        return legs + joint + arms

    def _legs(self, rng: np.random.Generator, name: str) -> str:
        phrases = self.humanoid["legs"][name]
        text = self._pick(rng, phrases)
        if rng.random() < 0.15:
            text += _TWO_JOINTS[rng.integers(len(_TWO_JOINTS))] + self._pick(rng, phrases)
        return text

    def _cartpole(self, rng: np.random.Generator) -> Sentence:
        if rng.random() < 0.1:
            return Sentence(self._pick(rng, self.cartpole["subjects"]), "cartpole")
        names: dict[str, str] = {}
        angles, positions = list(self.cartpole["angles"]), list(self.cartpole["positions"])
        kind = rng.random()
        if kind < 0.85:
            names["angle"] = angles[rng.integers(len(angles))] if rng.random() < 0.8 else "upright"
        if kind > 0.7:
            names["cart"] = positions[rng.integers(len(positions))]
        parts = []
        if "angle" in names:
            parts.append(self._pick(rng, self.cartpole["angles"][names["angle"]]))
        if "cart" in names:
            parts.append(self._pick(rng, self.cartpole["positions"][names["cart"]]))
        text = _join(rng, parts)
        if self.split == "train" and rng.random() < REWORDED_SHARE:
            text = self._cartpole_rewording(rng, text)
        return Sentence(self._prefix(rng) + text, "cartpole", names)

    def _mountain_car(self, rng: np.random.Generator) -> Sentence:
        if rng.random() < 0.12:
            return Sentence(self._pick(rng, self.car["subjects"]), "mountain-car")
        options = list(self.car["positions"])
        name = options[rng.integers(len(options))]
        parts = [self._pick(rng, self.car["positions"][name]) for _ in range(1 + (rng.random() < 0.15))]
        return Sentence(self._prefix(rng) + _join(rng, parts), "mountain-car", {"car": name})


class Rewording:
    """Changes words of a sentence for others that say the same, so that none of them carries it alone."""

    def __init__(self, groups: Sequence[Sequence[str]], possessives: Sequence[str], fillers: Sequence[str]) -> None:
        """Take over groups of synonyms, words that stand for *its*, and adverbs that say nothing about a pose."""
        self._others = {word: group for group in groups for word in group}
        self._possessives, self._fillers = possessives, fillers
        longest_first = sorted(self._others, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!of )\b({'|'.join(map(re.escape, longest_first))})\b")
        self.words = [*self._others, *possessives, *fillers]
        """All that it may write."""

    def __call__(self, rng: np.random.Generator, text: str) -> str:
        """Return `text` with some of its words changed."""
        text = self._pattern.sub(lambda match: self._other(rng, match[0]), text)
        if rng.random() < 0.4:
            text = re.sub(r"\bits\b", _one_of(rng, self._possessives), text)
        if rng.random() < 0.15:
            words = text.split(" ")
            words.insert(int(rng.integers(len(words) + 1)), _one_of(rng, self._fillers))
            text = " ".join(words)
        return text

    def _other(self, rng: np.random.Generator, word: str) -> str:
        return str(_one_of(rng, self._others[word])) if rng.random() < 0.6 else word


def _goal(entry: Mapping[str, str]) -> Sentence:
    names = dict(entry)
    return Sentence(names.pop("text"), "humanoid", names)


def predicate(rng: np.random.Generator, body: str) -> str:
    """Turn some descriptions into statements: ``kneeling`` into ``is kneeling``, ``that kneels`` into ``kneels``."""
    first, _, rest = body.partition(" ")
    if first in ("that", "who") and rng.random() < 0.4:
        return re.sub(r",?(?: and)? (?:that|who) (?=[a-z]+s )", " and ", rest)
    if first not in ("that", "who", "whose", "with", "without", "having", "like") and rng.random() < 0.2:
        return f"is {body}"
    return body


def parts_first(rng: np.random.Generator, subject: str, body: str) -> str | None:
    """Turn ``with its arms crossed`` into ``the arms of a robot are crossed`` or ``a robot's arms are crossed``.

    Returns ``None`` where there is nothing to turn.
    """
    found = _PART_FIRST.fullmatch(body)
    if not found or subject in ("it", "he", "she", "they"):
        return None
    part, rest = found.groups()
    if part.startswith("its ") and rng.random() < 0.5:
        return f"{subject}'s {part.removeprefix('its ')} {_be(part)} {rest}"
    return f"{part.replace('its', 'the')} of {subject} {_be(part)} {rest}"


def own_clause(rng: np.random.Generator, body: str) -> str:
    """Turn ``kneeling with its back straight`` into ``kneeling, and its back is straight`` or ``and it keeps ...``.

    Returns `body` where it does not end with a part of the body.
    """
    found = _PART_LAST.search(body)
    if not found:
        return body
    part, rest = found.groups()
    clause = f"{part} {_be(part)} {rest}" if rng.random() < 0.4 else f"{_one_of(rng, _HOLDERS)} {part} {rest}"
    return body[: found.start()] + str(_one_of(rng, (", and ", " and ", ", while ", ", "))) + clause


def _be(part: str) -> str:
    return "is" if part.startswith("one of") or part.endswith(_SINGULAR) else "are"


def _one_of(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _invented_word(rng: np.random.Generator) -> str:
    return "".join(_one_of(rng, _CONSONANTS) + _one_of(rng, "aeiou") for _ in range(rng.integers(2, 4)))


def _join(rng: np.random.Generator, parts: Sequence[str]) -> str:
    return (", ", " with ", ", with ")[rng.integers(3)].join(parts)


def _leaves(node: Any) -> list[str]:
    """Return the training phrases below a node of a phrase file."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [leaf for item in node for leaf in _leaves(item)]
    return [leaf for key, item in node.items() if key != "held_out" for leaf in _leaves(item)]


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PHRASES / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def paraphrases() -> dict[str, list[str]]:
    """Return ten sentences per built-in task that mean what its goal prompt means and are never trained on."""
    return _load("task_paraphrases")
