"""How seldom the judge is asked while an agent trains: the section ``reward.ask``."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from gym_vlmrm.task.parts import Brief

__all__ = ["AskSpec"]


class AskSpec(Brief):
    """In training a small network learns the judge's reward from states, and the judge is asked where it matters.

    ``ask: 0.05`` is short for ``ask: {share: 0.05}``.
    """

    always: ClassVar[frozenset[str]] = frozenset({"share"})

    share: float = Field(gt=0, le=1)
    """Share of the frames that would be scored which are drawn and judged; the network answers for the others."""
    stop_above: float = Field(default=0.9, gt=0, le=1e6)
    """The training stops where the network's error on frames asked at random stays larger, in standard deviations of
    the judge's rewards: 1 is no better than a constant."""

    @model_validator(mode="before")
    @classmethod
    def _expand_number(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"share": value}
        if not isinstance(value, Mapping | AskSpec):
            raise ValueError("must be a share such as 0.05, or a mapping such as {share: 0.05}")
        return value
