"""What a task is: strict, frozen models of a task file (see `gym_vlmrm.task.catalog` for reading one)."""

import re
from typing import Annotated, Any, Literal, Self, TypeAlias

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

from gym_vlmrm.errors import did_you_mean
from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.homes import embedded_for
from gym_vlmrm.task.parts import MAIN, Brief, CameraName, Strict, misplaced
from gym_vlmrm.task.plain import from_json, to_json
from gym_vlmrm.task.reward_spec import MODEL_VARIABLE, RewardSpec
from gym_vlmrm.task.rules import Rule, parse_rule, well_formed

__all__ = [
    "FOR_GYMNASIUM", "MODEL_VARIABLE", "Backdrop", "CameraSpec", "ContinuationSpec", "EnvSpec", "FurtherCamera", "Look",
    "Quality", "Recipe", "RewardSpec", "SceneSpec", "TaskSpec",
]  # fmt: skip

Look: TypeAlias = Literal["textured", "original"]
Backdrop: TypeAlias = Literal["meadow", "valley", "floor", "planks", "rock"]
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


class EnvSpec(Brief):
    """The environment below the reward."""

    always = frozenset({"id", "kwargs", "max_episode_steps"})

    id: str
    """Any registered Gymnasium ID that can render ``rgb_array``."""
    kwargs: Arguments = Field(default={})
    """Constructor arguments of that environment."""
    max_episode_steps: int | None = Field(default=None, ge=1)
    """Steps until truncation; ``None`` keeps the environment's own limit."""
    terminate: bool = True
    """Whether episodes end where the environment says so; ``false``: they go on until their time is over."""


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
    short = "look"

    look: Look = "textured"
    """``textured`` is this package's own scene where the environment has one; ``original`` is the environment's own."""
    backdrop: Backdrop | None = None
    """Texture behind an environment that draws itself on an empty ground, wherever a frame has exactly its colour."""
    camera: CameraSpec | None = None
    """Environments that Gymnasium's MuJoCo renderer draws; ``None`` keeps the environment's own camera."""
    cameras: dict[CameraName, FurtherCamera] = Field(default={}, max_length=8)
    """Further cameras by name, for ``reward.cameras``; what one leaves out, `camera` says."""
    quality: Quality = "draft"
    """``paper``: shadows, reflections, 4x multisampling; ``standard``: multisampling only; ``draft``: neither."""
    render_size: int | None = Field(default=None, ge=16, le=2048)
    """Side of the square frame [px]; ``None`` takes the input size of the reward model."""

    @field_validator("cameras", mode="before")
    @classmethod
    def _none_further(cls, value: Any) -> Any:
        return {} if value is None else value

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
    every: int | None = Field(default=None, ge=1)
    """Steps after which an episode of the training is asked whether it ends well; ``None`` takes the task's limit."""


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
    captions: list[CaptionSpec] = Field(default=[], max_length=200)
    """What is seen when: what `vlmrm teach` teaches a reward model; never part of the reward itself."""
    training: dict[str, Recipe] = Field(default={})
    """Recipes by name; ``default`` is taken when none is named. ``null`` removes one of an included file."""

    def with_limit(self, steps: int) -> "TaskSpec":
        """Return the task with episodes of so many steps."""
        return self.model_copy(update={"env": self.env.model_copy(update={"max_episode_steps": steps})})

    @field_validator("training", mode="before")
    @classmethod
    def _without_removed(cls, value: Any) -> Any:
        return (
            {key: recipe for key, recipe in value.items() if recipe is not None} if isinstance(value, dict) else value
        )

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
    def _is_judged_at_home(self) -> "TaskSpec":
        model = embedded_for(self.reward.model, self.env.id)
        if model != self.reward.model:
            reward = self.reward.model_copy()
            object.__setattr__(reward, "model", model)  # and not as if the file had said so
            object.__setattr__(self, "reward", reward)
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

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> "TaskSpec":
        said: set[str] = set()
        for number, caption in enumerate(self.captions):
            for sentence in caption.sentences:
                read = " ".join(sentence.lower().split())  # as tokenizers do
                if read in said:
                    raise misplaced(f"'{sentence:.80}' is said twice; a sentence has one meaning", "captions", number)
                said.add(read)
        return self

    _well_formed_rule = field_validator("success")(well_formed)

    @property
    def success_rule(self) -> Rule | None:
        """The parsed rule of success, or ``None`` where the task defines none."""
        return None if self.success is None else parse_rule(self.success)
