"""What a reward may be made of besides one sentence: parts, windows of frames, shapes, weights that fade, cameras."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gym_vlmrm.task.yaml_file import shorten

__all__ = [
    "AVOID", "GOAL", "MAIN", "MAX_PARTS", "PLAIN_SHOTS", "Brief", "CameraName", "Cameras", "Combine", "FadeSpec",
    "Part", "PartSpec", "Prompt", "SeenSpec", "Sentence", "ShapeSpec", "Shots", "Strict", "Views", "WindowSpec",
    "camera_names", "misplaced", "sentences", "shots_of", "weight_at",
]  # fmt: skip

MAIN = "main"
"""What ``cameras:`` calls the camera of ``scene.camera``, through which `render` looks."""
GOAL, AVOID = "goal", "avoid"
"""Names of the parts that ``reward.goal`` and ``reward.avoid`` are where a reward has several."""
MAX_PARTS = 16
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"

Sentence = Annotated[str, Field(min_length=1, max_length=1000)]
Prompt: TypeAlias = Sentence | list[Sentence]
CameraName = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
Cameras: TypeAlias = CameraName | list[CameraName]
Views: TypeAlias = Literal["mean", "max", "min", "turn"]
Combine: TypeAlias = Literal["sum", "product", "min"]
_Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class Strict(BaseModel):
    """A frozen section of a task file: unknown keys and other types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Brief(Strict):
    """A section that is written without what is at its default, but for the keys in `always`."""

    always: ClassVar[frozenset[str]] = frozenset()
    short: ClassVar[str | None] = None
    """Key that a text in the place of the section stands for, where it has such a short form."""

    example: ClassVar[str | None] = None
    """How it is written, for who wrote no mapping."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        if cls.short is not None and isinstance(value, str):
            return {cls.short: value}
        if cls.example is not None and not isinstance(value, Mapping | cls):
            raise ValueError(f"must be {cls.example}, got {shorten(repr(value), 60)}")
        return value

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        # Compared as written: to == a -0.0 is 0.0.
        defaults = {key: repr(field.get_default(call_default_factory=True)) for key, field in fields.items()}
        return {
            key: value
            for key, value in handler(self).items()
            if key in self.always or repr(getattr(self, key)) != defaults[key]
        }


def misplaced(message: str, *at: str | int) -> PydanticCustomError:
    """Return a mistake to raise in a validator of a section, at a key below that section."""
    return PydanticCustomError("value_error", "{reason}", {"reason": message, "at": at})


def sentences(prompt: str | list[str] | None) -> list[str]:
    """Return a prompt as a list of sentences; empty for ``None``."""
    return [] if prompt is None else [prompt] if isinstance(prompt, str) else list(prompt)


def camera_names(cameras: str | list[str] | None) -> tuple[str, ...]:
    """Return what ``cameras:`` names; the scene's own camera where it says nothing."""
    return (MAIN,) if not cameras else (cameras,) if isinstance(cameras, str) else tuple(cameras)


class WindowSpec(Brief):
    """The last pictures of the episode that a part sees at once, the one that the episode began with among them."""

    example = "a mapping such as {frames: 4, stride: 2}"

    frames: int = Field(default=4, ge=1, le=32)
    """Pictures in the window; while an episode has fewer, those that it has."""
    stride: int = Field(default=1, ge=1, le=16)
    """Scored pictures from one of the window to the next."""
    join: Literal["mean", "change", "motion"] = "mean"
    """``mean`` compares the normalised mean of their embeddings with the sentence; ``change`` is how far the embedding
    moved from the window's first picture to its last, along the line from the baseline prompt to the goal prompt;
    ``motion`` lets the model see them as a film: the embedded model by its motion head, and video models."""

    @model_validator(mode="after")
    def _one_picture_is_no_film(self) -> "WindowSpec":
        if self.frames == 1 and self.join != "mean":
            message = f"is 1, and '{self.join}' is of two pictures or more; write frames: 4, or leave 'join' out"
            raise misplaced(message, "frames")
        return self

    @property
    def length(self) -> int:
        """Scored pictures from the window's first to its last, both counted."""
        return (self.frames - 1) * self.stride + 1


class ShapeSpec(Brief):
    """What is paid of a value Phi. ``shape: potential`` is short for ``shape: {kind: potential}``."""

    short = "kind"
    example = "'potential' or 'difference', or a mapping such as {kind: potential, gamma: 0.99}"

    kind: Literal["potential", "difference"]
    """``potential`` pays gamma Phi' - Phi, on top of a base (Ng, Harada and Russell 1999); ``difference`` Phi' - Phi.
    """
    gamma: float | None = Field(default=None, gt=0, le=1)
    """Discount of ``potential``; it must be the algorithm's, which is what is taken where nothing is written."""

    @model_validator(mode="after")
    def _gamma_is_of_potential(self) -> "ShapeSpec":
        if self.gamma is not None and self.kind != "potential":
            raise misplaced(f"gamma belongs to 'potential', not to '{self.kind}'; remove it", "gamma")
        return self


class FadeSpec(Brief):
    """A weight that changes over training: linearly from `weight` to `to`, then constant."""

    example = "a mapping such as {to: 0, over: 100000}"

    to: float = Field(ge=0, le=1e6)
    """The weight at the end."""
    over: int = Field(ge=1)
    """Environment steps that the change takes."""
    after: int = Field(default=0, ge=0)
    """Environment steps before it begins."""


class SeenSpec(Brief):
    """When the judge itself says that the goal is reached: a verdict beside ``success``, never mixed with it."""

    always = frozenset({"above"})
    example = "a mapping such as {above: 0.6, hold: 5}"

    above: _Number
    """What the reward must exceed, before its weight, shape and the environment's own reward come in."""
    hold: int = Field(default=1, ge=1, le=100_000)
    """Steps in a row for which it must."""
    ends: bool = False
    """Whether the episode ends there, in a terminal state."""


def weight_at(weight: float, fade: FadeSpec | None, step: float) -> float:
    """Return a weight after so many environment steps of training; ``inf`` asks for the last one."""
    if fade is None:
        return weight
    done = 1.0 if math.isinf(step) else min(max((step - fade.after) / fade.over, 0.0), 1.0)
    return weight + (fade.to - weight) * done


class PartSpec(Brief):
    """One part of a reward: a sentence to reach or to avoid. What it leaves out, the reward's own keys say."""

    example = "a mapping such as {goal: a sentence}"

    name: Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")] | None = None
    """Key in ``info["reward_parts"]``; ``part1``, ``part2`` ... where nothing is written."""
    goal: Prompt | None = None
    """Goal prompt: one sentence, or several whose embeddings are averaged."""
    avoid: Prompt | None = None
    """The same of what shall not be seen; a part has a `goal` or an `avoid`."""
    baseline: Prompt | None = None
    alpha: float | None = Field(default=None, ge=0, le=1)
    model: str | None = Field(default=None, min_length=1)
    cameras: Cameras | None = None
    views: Views | None = None
    window: WindowSpec | None = None
    center: _Number = 0.0
    """Subtracted from the value."""
    scale: float = Field(default=1.0, gt=0, le=1e6)
    """What the value is multiplied by after that."""
    shape: ShapeSpec | None = None
    weight: float = Field(default=1.0, ge=0, le=1e6)
    """Factor in a sum, exponent in a product."""
    fade: FadeSpec | None = None

    @model_validator(mode="after")
    def _one_sentence(self) -> "PartSpec":
        if (self.goal is None) == (self.avoid is None):
            given = "both 'goal' and 'avoid'" if self.goal is not None else "neither 'goal' nor 'avoid'"
            raise misplaced(f"a part has one sentence, and this one has {given}; write one of them", *self._place())
        for key in ("goal", "avoid", "baseline"):
            if getattr(self, key) == []:
                raise misplaced("needs at least one sentence", key)
        return self

    def _place(self) -> tuple[str, ...]:
        return () if self.goal is None else ("avoid",)


@dataclass(frozen=True)
class Part:
    """A part with all that it left out filled in."""

    name: str
    goals: tuple[str, ...]
    baselines: tuple[str, ...]
    alpha: float
    model: str
    avoid: bool
    cameras: tuple[str, ...]
    views: Views
    window: WindowSpec | None
    center: float
    scale: float
    shape: ShapeSpec | None
    weight: float
    fade: FadeSpec | None
    at: tuple[str | int, ...]
    """Keys below ``reward`` that lead to it; none for ``reward.goal``."""

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The pictures of a step that it sees: each of one camera, or one of cameras that take turns."""
        return (self.cameras,) if self.views == "turn" else tuple((camera,) for camera in self.cameras)

    @property
    def sees_films(self) -> bool:
        """Whether its model sees windows as films."""
        return self.window is not None and self.window.join == "motion"

    @property
    def said(self) -> str:
        """Its sentence, for people."""
        return ("avoid " if self.avoid else "") + " / ".join(self.goals)

    def weight_at(self, step: float) -> float:
        """Return its weight after so many environment steps of training."""
        return weight_at(self.weight, self.fade, step)


@dataclass(frozen=True)
class Shots:
    """The pictures that the reward needs of a step: one per slot, by the cameras of the slot in turn."""

    slots: tuple[tuple[str, ...], ...] = ((MAIN,),)
    begins: bool = False
    """Whether it also needs them of the state in which an episode begins."""

    @property
    def plain(self) -> bool:
        """Whether `render` shows all that is needed."""
        return self == PLAIN_SHOTS


PLAIN_SHOTS = Shots()


def shots_of(parts: Iterable[Part], *, shaped: bool) -> Shots:
    """Return the pictures that parts need; `shaped` says whether what they add up to is shaped."""
    known = list(parts)
    slots = dict.fromkeys(slot for part in known for slot in part.slots)
    begins = shaped or any(part.shape is not None or part.window is not None for part in known)
    return Shots(tuple(slots), begins)
