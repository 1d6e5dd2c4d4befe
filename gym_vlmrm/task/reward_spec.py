"""What a task says of its reward: one sentence, or the parts that it is made of."""

import os
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.task.part_checks import check_parts
from gym_vlmrm.task.parts import (
    AVOID,
    GOAL,
    MAX_PARTS,
    PLAIN_SHOTS,
    Brief,
    Cameras,
    Combine,
    FadeSpec,
    Part,
    PartSpec,
    Prompt,
    SeenSpec,
    ShapeSpec,
    Shots,
    Views,
    WindowSpec,
    camera_names,
    misplaced,
    sentences,
    shots_of,
)
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["MODEL_VARIABLE", "RewardSpec"]

MODEL_VARIABLE = "GYM_VLMRM_MODEL"
"""Environment variable: the model of every task that names none, read when the `TaskSpec` is made and never again."""


def _default_model() -> str:
    return os.environ.get(MODEL_VARIABLE, "").strip() or "embedded"


class RewardSpec(Brief):
    """The sentence that rewards, and the model that judges; or the parts that a reward is made of.

    Keys of a part that it leaves out are these: `baseline`, `alpha`, `model`, `cameras`, `views`, `window`. What the
    parts add up to is centred, scaled, shaped and weighted by `center`, `scale`, `shape`, `weight` and `fade`; the
    environment's own reward comes on top, `task` times.
    """

    example = "a mapping such as {goal: a sentence}"
    always = frozenset({"goal", "baseline", "alpha", "model", "precision", "device", "every"})

    goal: Prompt | None = None
    """Goal prompt: one sentence, or several whose embeddings are averaged. Needed where there are no `parts`."""
    avoid: Prompt | None = None
    """Sentences of what shall not be seen: a part that takes away."""
    baseline: Prompt | None = None
    """Baseline prompt: the scene without the goal. Needed when ``alpha > 0``."""
    alpha: float = Field(default=0.0, ge=0, le=1)
    """Strength of goal-baseline regularisation; 0 is the cosine similarity."""
    model: str = Field(default_factory=_default_model)
    """``embedded``, ``brightness`` (a stand-in), or any open_clip model name; left out, what `MODEL_VARIABLE` says."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Arithmetic of the image tower; ``int8`` is for transformers on a CPU."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` ..."""
    every: int = Field(default=1, ge=1)
    """Score every k-th frame of an episode and hold the reward in between."""
    parts: list[PartSpec] = Field(default=[], max_length=MAX_PARTS)
    """Further sentences."""
    combine: Combine = "sum"
    """``product`` and ``min`` mean "and": there values count from 0 to 1, and a sentence to avoid as 1 - value."""
    task: float = Field(default=0.0, ge=0, le=1e6)
    """How much of the environment's own reward is mixed in."""
    cameras: Cameras = Field(default=[])
    """Cameras of the scene that are scored; `main` is ``scene.camera``."""
    views: Views = "mean"
    """How the values of several cameras are joined; ``turn`` scores one of them after the other."""
    window: WindowSpec | None = None
    """Pictures that are seen at once."""
    center: float = Field(default=0.0, ge=-1e6, le=1e6)
    scale: float = Field(default=1.0, gt=0, le=1e6)
    shape: ShapeSpec | None = None
    weight: float = Field(default=1.0, ge=0, le=1e6)
    fade: FadeSpec | None = None
    success_seen: SeenSpec | None = None
    """When the judge itself says that the goal is reached; no part of the reward."""
    ask: AskSpec | None = None
    """In training: ask the judge about a share of the frames; a network that learns from it answers for the others."""

    @field_validator("parts", mode="before")
    @classmethod
    def _list_of_parts(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, list | tuple):
            raise ValueError(f"must be a list of parts such as [{{goal: a sentence}}], got {shorten(repr(value), 60)}")
        return [] if value is None else value

    @field_validator("cameras", mode="before")
    @classmethod
    def _none_named(cls, value: Any) -> Any:
        return [] if value is None else value

    @field_validator("goal", "avoid", "baseline")
    @classmethod
    def _no_empty_list(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("needs at least one sentence")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "RewardSpec":
        if self.goal is None and self.avoid is None and not self.parts:
            raise misplaced("missing; every task needs it, or 'parts:'", "goal")
        check_parts(self.all_parts, self.combine, task=self.task, shape=self.shape, weight=self.weight, fade=self.fade)
        if self.ask is not None and not self.plain:
            message = (
                "a network can answer for one sentence and one picture only; leave 'ask' out, or all that makes parts"
            )
            raise misplaced(message, "ask")
        return self

    @property
    def goals(self) -> list[str]:
        """The goal prompts: at least one sentence where the reward is plain."""
        return sentences(self.goal)

    @property
    def baselines(self) -> list[str]:
        """The baseline prompts; empty where there is none."""
        return sentences(self.baseline)

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts, `goal` and `avoid` first, with all that they left out filled in."""
        own = [
            (PartSpec(name=GOAL, goal=self.goal), ()) if self.goal is not None else None,
            (PartSpec(name=AVOID, avoid=self.avoid), (AVOID,)) if self.avoid is not None else None,
        ]
        written = [(part, ("parts", index)) for index, part in enumerate(self.parts)]
        return tuple(self._filled(part, at) for part, at in [*filter(None, own), *written])

    def _filled(self, part: PartSpec, at: tuple[str | int, ...]) -> Part:
        window = self.window if part.window is None else part.window
        cameras = camera_names(self.cameras if part.cameras is None else part.cameras)
        views = self.views if part.views is None else part.views
        if part.views is None and len(cameras) < 2:
            views = self.views if part.cameras is None else "mean"  # how others join theirs
        return Part(
            name=part.name or f"part{int(at[-1]) + 1}",
            goals=tuple(sentences(part.goal if part.avoid is None else part.avoid)),
            baselines=tuple(sentences(self.baseline if part.baseline is None else part.baseline)),
            alpha=self.alpha if part.alpha is None else part.alpha,
            model=part.model or self.model,
            avoid=part.avoid is not None,
            cameras=cameras,
            views=views,
            window=None if window is None or window.frames == 1 else window,
            center=part.center,
            scale=part.scale,
            shape=part.shape,
            weight=part.weight,
            fade=part.fade,
            at=at,
        )

    @property
    def plain(self) -> bool:
        """Whether the reward is what one sentence is worth in `render`'s picture, and nothing else."""
        others = (self.avoid, self.shape, self.fade, self.success_seen)
        numbers = (self.task, self.center, self.scale, self.weight)
        if self.goal is None or self.parts or any(other is not None for other in others):
            return False
        return numbers == (0, 0, 1, 1) and self.shots == PLAIN_SHOTS and self.combine == "sum"

    @property
    def sees_films(self) -> bool:
        """Whether some part sees windows as films, so that nothing is to be learned from states by themselves."""
        return any(part.sees_films for part in self.all_parts)

    @property
    def said(self) -> list[str]:
        """The sentences, for people: the goal prompts, or those of each part."""
        if self.plain:
            return self.goals
        return [part.said for part in self.all_parts]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models that judge."""
        return tuple(dict.fromkeys(part.model for part in self.all_parts))

    @property
    def words(self) -> list[str]:
        """All that it says, a line for each part and one for the rest; what is at its default is left out."""
        lines = []
        for part in self.all_parts:
            written = self.parts[int(part.at[1])].model_dump(mode="json") if len(part.at) > 1 else {}
            rest = {key: value for key, value in written.items() if key not in ("name", GOAL, AVOID)}
            lines.append({"name": part.name, AVOID if part.avoid else GOAL: " / ".join(part.goals), **rest})
        own = self.model_dump(
            mode="json", exclude={GOAL, AVOID, "parts", "device", "precision", "every", "success_seen"}
        )
        lines.append({key: value for key, value in own.items() if value not in (None, 0.0)})
        return [", ".join(f"{key}: {value}" for key, value in line.items()) for line in lines]

    @property
    def at_once(self) -> "RewardSpec":
        """The same, but that cameras which take turns are scored together: its mean over turns."""
        parts = [part.model_copy(update={"views": "mean"}) if part.views == "turn" else part for part in self.parts]
        views = "mean" if self.views == "turn" else self.views
        return self.model_copy(update={"parts": parts, "views": views})

    def discounted(self, gamma: float, whose: str) -> "RewardSpec":
        """Return it with a gamma wherever potential shaping has none of its own.

        Raises:
            TaskError: one that is written is another; `whose` says in words whose `gamma` is the right one.
        """
        if not (shapes := self._potentials):
            return self
        for shape, at in shapes:
            if shape.gamma not in (None, gamma):
                place = ".".join(map(str, ("reward", *at, "shape", "gamma")))
                message = f"{place} is {shape.gamma}, but {whose} {gamma}; potential shaping needs the algorithm's own"
                raise TaskError(f"{message}: leave it out", field=("reward", *at, "shape", "gamma"))
        changes: dict[str, Any] = {"parts": [_with_gamma(part, gamma) for part in self.parts]}
        return _with_gamma(self, gamma).model_copy(update=changes)

    @property
    def _potentials(self) -> list[tuple[ShapeSpec, tuple[str | int, ...]]]:
        """Shapes that need a gamma, and where they are written."""
        written = [(self.shape, ()), *((part.shape, part.at) for part in self.all_parts)]
        return [(shape, at) for shape, at in written if shape is not None and shape.kind == "potential"]

    @property
    def without_gamma(self) -> tuple[str | int, ...] | None:
        """Keys that lead to a potential that knows no gamma, or ``None`` where all do."""
        return next((("reward", *at, "shape") for shape, at in self._potentials if shape.gamma is None), None)

    @property
    def shots(self) -> Shots:
        """The pictures that it needs of a step."""
        return shots_of(self.all_parts, shaped=self.shape is not None)


_Shaped = TypeVar("_Shaped", RewardSpec, PartSpec)


def _with_gamma(section: _Shaped, gamma: float) -> _Shaped:
    shape = section.shape
    if shape is None or shape.kind != "potential":
        return section
    return section.model_copy(update={"shape": shape.model_copy(update={"gamma": gamma})})
