"""What is seen when: sentences of a task's world, and the states of which they are true, wholly or by degrees."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from gym_vlmrm.task.names import QUANTITY_NAME
from gym_vlmrm.task.parts import Prompt, Strict, sentences
from gym_vlmrm.task.past import look_back
from gym_vlmrm.task.rules import Quantities, parse_rule, quantity_names, well_formed

__all__ = ["CaptionSpec", "GradeSpec"]

_Number = Annotated[float, Field(ge=-1e12, le=1e12)]


class GradeSpec(Strict):
    """The more of a quantity, the truer: 0 at one end, 1 at the other, in a straight line between them."""

    quantity: str = Field(max_length=200)
    """As rules of success name it: ``obs[0]``, ``info.key``, or a quantity of the scene."""
    start: _Number = Field(alias="from")
    """Where the sentence is not true at all; written ``from``."""
    end: _Number = Field(alias="to")
    """Where it is wholly true; written ``to``; may lie below `start`."""

    @field_validator("quantity")
    @classmethod
    def _well_formed_name(cls, value: str) -> str:
        if not re.fullmatch(QUANTITY_NAME, value):
            raise ValueError(
                f"{value!r} is no quantity; write obs[0], obs.key[0], info.key, sin(obs[0]), or a quantity of the scene"
            )
        return value

    @model_validator(mode="after")
    def _two_ends(self) -> "GradeSpec":
        if self.start == self.end:
            raise ValueError(f"from and to are both {self.start:g}; a grade needs two ends")
        return self

    def truth(self, quantities: Quantities) -> float:
        """Return how far the quantity is on its way, in [0, 1]; raises KeyError for an unknown quantity."""
        way = (quantities[self.quantity] - self.start) / (self.end - self.start)
        return min(max(way, 0.0), 1.0)

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"quantity": self.quantity, "from": self.start, "to": self.end}


class CaptionSpec(Strict):
    """Sentences that mean the same, and when they are true.

    With a rule alone they are true where it holds and false elsewhere; a grade makes them truer by degrees where it
    does not hold; with neither they are true of every state.
    """

    say: Prompt
    """One sentence, or several that mean the same."""
    when: Any = None
    """Rule over named quantities (see `gym_vlmrm.task.rules`)."""
    grade: GradeSpec | list[GradeSpec] | None = None
    """The more, the truer; several count as their least: all of them are wanted."""

    @field_validator("say", "grade")
    @classmethod
    def _no_empty_list(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("needs at least one entry")
        return value

    @field_validator("say")
    @classmethod
    def _says_something(cls, value: Any) -> Any:
        if not all(sentence.strip() for sentence in sentences(value)):
            raise ValueError("a sentence is blank; write what is seen")
        return value

    _well_formed_rule = field_validator("when")(well_formed)

    @field_validator("when")
    @classmethod
    def _of_one_picture(cls, value: Any) -> Any:
        before = [] if value is None else [name for name in quantity_names(parse_rule(value)) if look_back(name)]
        if before:
            raise ValueError(f"'{before[0]}' looks at states before, which a picture does not show; only success may")
        return value

    @property
    def sentences(self) -> list[str]:
        """The sentences, each as one line."""
        return [" ".join(sentence.split()) for sentence in sentences(self.say)]

    @property
    def grades(self) -> list[GradeSpec]:
        """The grades; empty where there is none."""
        return [] if self.grade is None else list(self.grade) if isinstance(self.grade, list) else [self.grade]

    def reads(self) -> Iterator[str]:
        """Yield the name of every quantity that decides."""
        if self.when is not None:
            yield from quantity_names(parse_rule(self.when))
        for grade in self.grades:
            yield grade.quantity

    def truth(self, quantities: Quantities) -> float:
        """Return how true the sentences are of a state, in [0, 1]; raises KeyError for an unknown quantity."""
        if self.when is not None and parse_rule(self.when).holds(quantities):
            return 1.0
        if self.grades:
            return min(grade.truth(quantities) for grade in self.grades)
        return 0.0 if self.when is not None else 1.0
