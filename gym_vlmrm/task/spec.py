"""What a task is: strict, frozen models of a task file (see `gym_vlmrm.task.catalog` for reading one)."""

import os
import re
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.task.parts import (
    AVOID,
    GOAL,
    MAIN,
    MAX_PARTS,
    PLAIN_SHOTS,
    Brief,
    CameraName,
    Cameras,
    Combine,
    FadeSpec,
    Part,
    PartSpec,
    Prompt,
    SeenSpec,
    ShapeSpec,
    Shots,
    Strict,
    Views,
    WindowSpec,
    camera_names,
    check_parts,
    misplaced,
    sentences,
    shots_of,
)
from gym_vlmrm.task.plain import from_json, to_json
from gym_vlmrm.task.rules import Rule, parse_rule

__all__ = [
    "FOR_GYMNASIUM", "MODEL_VARIABLE", "CameraSpec", "ContinuationSpec", "EnvSpec", "FurtherCamera", "Look", "Quality",
    "Recipe",
    "RewardSpec", "SceneSpec", "TaskSpec",
]  # fmt: skip

MODEL_VARIABLE = "GYM_VLMRM_MODEL"
"""Environment variable: the model of every task that names none, read when the `TaskSpec` is made and never again."""

Look: TypeAlias = Literal["textured", "original"]
Quality: TypeAlias = Literal["draft", "standard", "paper"]
_MAX_METRES = 1e5
"""Cameras farther away than this would see nothing of any environment, and MuJoCo counts in single precision."""
_Metres = Annotated[float, Field(ge=-_MAX_METRES, le=_MAX_METRES)]
_FREE_CAMERA = ("distance", "lookat", "elevation", "azimuth")
_FIXED_CAMERA = ("name", "id")
FOR_GYMNASIUM = {"infinity": True}
"""Context of a dump that Gymnasium's own JSON, which knows infinity, can hold."""


def _write(value: Any, info: SerializationInfo) -> Any:
    infinity = bool(info.context and info.context.get("infinity"))
    return to_json(value, infinity) if infinity or info.mode_is_json() else value


Arguments: TypeAlias = Annotated[dict[str, Any], BeforeValidator(from_json), PlainSerializer(_write)]
"""Anything that YAML can say, by name; as JSON it keeps what JSON does not know, such as infinity and dates."""
_ID = re.compile(r"(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9_.-]+?-v\d+")


class EnvSpec(Strict):
    """The environment below the reward."""

    id: str
    """Any registered Gymnasium ID that can render ``rgb_array``."""
    kwargs: Arguments = Field(default={})
    """Constructor arguments of that environment."""
    max_episode_steps: int | None = Field(default=None, ge=1)
    """Steps until truncation; ``None`` keeps the environment's own limit."""


_Distance = Annotated[float, Field(gt=0, le=_MAX_METRES)]
_Point = Annotated[list[_Metres], Field(min_length=3, max_length=3)]
_Elevation = Annotated[float, Field(ge=-90, le=90)]
_Azimuth = Annotated[float, Field(ge=-3600, le=3600)]
_CameraOfModel = Annotated[str, Field(min_length=1, max_length=200)]
_CameraNumber = Annotated[int, Field(ge=0)]


class _Aimed(Strict):
    """A camera that is free, or one of the model's own: never both."""

    name: _CameraOfModel | None = None
    """A camera that the environment's model defines, instead of the four numbers."""
    id: _CameraNumber | None = None
    """The same by its number."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        own = [key for key in _FIXED_CAMERA if getattr(self, key) is not None]
        free = [key for key in _FREE_CAMERA if key in self.model_fields_set]
        if len(own) + bool(free) > 1:
            kinds = f"write a name, or an id, or a free camera's {', '.join(_FREE_CAMERA)}"
            raise ValueError(f"has '{own[0]}' and '{(own[1:] + free)[0]}'; {kinds}")
        return self

    @property
    def fixed(self) -> str | int | None:
        """Name or number of the model's own camera; ``None`` for a free camera."""
        return self.id if self.name is None else self.name

    @model_serializer(mode="wrap")
    def _of_one_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        keys = _FREE_CAMERA if self.fixed is None else _FIXED_CAMERA
        return {key: value for key, value in handler(self).items() if key in keys and value is not None}


class CameraSpec(_Aimed):
    """A free MuJoCo camera that looks at a fixed point, or one of the model's own cameras by `name` or `id`."""

    distance: _Distance = 3.5
    """Distance of the camera from `lookat` [m]."""
    lookat: _Point = Field(default=[0.0, 0.0, 1.0])
    """Point in the middle of the picture (x, y, z) [m]."""
    elevation: _Elevation = -10.0
    """Angle above the horizon of the viewing direction [deg]; negative looks down."""
    azimuth: _Azimuth = 180.0
    """Heading of the viewing direction [deg]; 180 looks along -x and so sees the humanoid's face."""


class FurtherCamera(_Aimed):
    """A camera of ``scene.cameras``: what it leaves out is that of ``scene.camera``."""

    distance: _Distance | None = None
    lookat: _Point | None = None
    elevation: _Elevation | None = None
    azimuth: _Azimuth | None = None


class SceneSpec(Brief):
    """How the environment looks. ``scene: original`` is short for ``scene: {look: original}``."""

    always = frozenset({"look", "camera", "quality", "render_size"})

    look: Look = "textured"
    """``textured`` is this package's own scene where the environment has one; ``original`` is the environment's own."""
    camera: CameraSpec | None = None
    """Environments that Gymnasium's MuJoCo renderer draws; ``None`` keeps the environment's own camera."""
    cameras: dict[CameraName, FurtherCamera] = Field(default={}, max_length=8)
    """Further cameras by name, for ``reward.cameras``; what one leaves out, `camera` says."""
    quality: Quality = "draft"
    """``paper``: shadows, reflections, 4x multisampling; ``standard``: multisampling only; ``draft``: neither."""
    render_size: int | None = Field(default=None, ge=16, le=2048)
    """Side of the square frame [px]; ``None`` takes the input size of the reward model."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        return {"look": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _main_is_taken(self) -> "SceneSpec":
        if MAIN in self.cameras:
            raise misplaced(f"'{MAIN}' is what 'scene.camera' is called; choose another name", "cameras", MAIN)
        return self

    def camera_of(self, name: str) -> CameraSpec:
        """Return a camera by its name; what one of `cameras` leaves out is `camera`'s, else `CameraSpec`'s own."""
        main = self.camera or CameraSpec()
        if name == MAIN:
            return main
        camera = self.cameras[name]
        below = {} if camera.fixed is not None or main.fixed is not None else main.model_dump()
        return CameraSpec.model_validate({**below, **camera.model_dump()})


def _default_model() -> str:
    return os.environ.get(MODEL_VARIABLE, "").strip() or "embedded"


class RewardSpec(Brief):
    """The sentence that rewards, and the model that judges; or the parts that a reward is made of.

    Keys of a part that it leaves out are these: `baseline`, `alpha`, `model`, `cameras`, `views`, `window`. What the
    parts add up to is centred, scaled, shaped and weighted by `center`, `scale`, `shape`, `weight` and `fade`; the
    environment's own reward comes on top, `task` times.
    """

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
        check_parts(self.all_parts, self.combine, task=self.task, shape=self.shape)
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
    def said(self) -> list[str]:
        """The sentences, for people: the goal prompts, or those of each part."""
        if self.plain:
            return self.goals
        return [("avoid " if part.avoid else "") + " / ".join(part.goals) for part in self.all_parts]

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


class ContinuationSpec(Strict):
    """Which episodes of a training go on when their time is over, instead of beginning anew: those that end well.

    "Well" is what the reward model says of the last frames, compared with what it said of the ends of the first
    episodes and of the best moments of late (see `gym_vlmrm.learning.continuation`). ``true`` takes these defaults.
    """

    probability: float = Field(default=0.9, gt=0, le=1)
    """How often an episode that ends well goes on."""
    level: float = Field(default=0.75, gt=0, lt=1)
    """Where "well" begins, on the way from the ends of the untrained policy (0) to the best moments of late (1)."""
    frames: int = Field(default=8, ge=1, le=1000)
    """Scored frames at the end of an episode whose mean reward counts."""


class Recipe(Strict):
    """How to train: one named entry under ``training:``."""

    algorithm: str
    """Name of an algorithm of stable-baselines3 or sb3-contrib, such as ``PPO`` or ``SAC``."""
    steps: int = Field(ge=1)
    """Environment steps over all environments."""
    num_envs: int = Field(default=8, ge=1, le=10_000)
    """Environments stepped together."""
    normalize_observation: bool = False
    """Scale observations by their running mean and variance."""
    normalize_reward: bool = False
    """Scale rewards by the running standard deviation of the discounted return (on-policy algorithms)."""
    updates_per_step: float | None = Field(default=None, gt=0)
    """Gradient updates per environment step (off-policy algorithms), whatever the number of environments."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Environment steps between checkpoints; ``None`` makes twenty of them."""
    reward_every: int | None = Field(default=None, ge=1)
    """``reward.every`` while this recipe trains; ``None`` keeps the task's."""
    continuation: ContinuationSpec | None = None
    """Which episodes go on when their time is over; ``None`` lets all begin anew."""
    hyperparameters: Arguments = Field(default={})
    """Constructor arguments of the algorithm, as stable-baselines3 names them."""

    @field_validator("continuation", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value


class TaskSpec(Strict):
    """One task: an environment, a scene, a sentence, a rule of success, and ways to train."""

    id: str
    """Gymnasium ID under which it registers, such as ``VLMRM/Humanoid-Splits-v0``."""
    description: str = ""
    source: str = ""
    env: EnvSpec
    scene: SceneSpec = SceneSpec()
    reward: RewardSpec
    success: Any = None
    """Rule over named state quantities (see `gym_vlmrm.task.rules`); never part of the reward."""
    training: dict[str, Recipe] = Field(default={})
    """Recipes by name; ``default`` is taken when none is named."""

    @field_validator("id")
    @classmethod
    def _well_formed_id(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError(f"{value!r} is no environment ID; write one like 'VLMRM/Humanoid-Splits-v0'")
        return value

    @model_validator(mode="after")
    def _stands_on_another_environment(self) -> "TaskSpec":
        if self.env.id.rpartition(":")[2] == self.id:
            raise ValueError(f"id and env.id are both '{self.id}'; env.id names the environment below the task")
        return self

    @model_validator(mode="after")
    def _has_the_cameras(self) -> "TaskSpec":
        known = [MAIN, *self.scene.cameras]
        for part in self.reward.all_parts:
            for name in part.cameras:
                if name not in known:
                    written = part.at and part.at[0] == "parts" and self.reward.parts[int(part.at[1])].cameras
                    at = ("reward", *(part.at if written else ()), "cameras")
                    raise misplaced(f"'{name}' is no camera of the scene{did_you_mean(name, known)}", *at)
        return self

    @field_validator("success")
    @classmethod
    def _well_formed_rule(cls, value: Any) -> Any:
        if value is not None:
            parse_rule(value)
        return value

    @property
    def success_rule(self) -> Rule | None:
        """The parsed rule of success, or ``None`` where the task defines none."""
        return None if self.success is None else parse_rule(self.success)
