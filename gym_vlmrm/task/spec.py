"""What a task is: strict, frozen models of a task file (see `gym_vlmrm.task.catalog` for reading one)."""

import os
import re
from typing import Annotated, Any, Literal, TypeAlias

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

from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.plain import from_json, to_json
from gym_vlmrm.task.rules import Rule, parse_rule
from gym_vlmrm.task.strict import Prompt, Strict, sentences

__all__ = [
    "FOR_GYMNASIUM", "MODEL_VARIABLE", "CameraSpec", "EnvSpec", "Look", "Quality", "Recipe", "RewardSpec", "SceneSpec",
    "TaskSpec",
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


class CameraSpec(Strict):
    """A free MuJoCo camera that looks at a fixed point, or one of the model's own cameras by `name` or `id`."""

    distance: float = Field(default=3.5, gt=0, le=_MAX_METRES)
    """Distance of the camera from `lookat` [m]."""
    lookat: list[_Metres] = Field(default=[0.0, 0.0, 1.0], min_length=3, max_length=3)
    """Point in the middle of the picture (x, y, z) [m]."""
    elevation: float = Field(default=-10.0, ge=-90, le=90)
    """Angle above the horizon of the viewing direction [deg]; negative looks down."""
    azimuth: float = Field(default=180.0, ge=-3600, le=3600)
    """Heading of the viewing direction [deg]; 180 looks along -x and so sees the humanoid's face."""
    name: str | None = Field(default=None, min_length=1, max_length=200)
    """A camera that the environment's model defines, instead of the four numbers."""
    id: int | None = Field(default=None, ge=0)
    """The same by its number."""

    @model_validator(mode="after")
    def _one_kind(self) -> "CameraSpec":
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


class SceneSpec(Strict):
    """How the environment looks. ``scene: original`` is short for ``scene: {look: original}``."""

    look: Look = "textured"
    """``textured`` is this package's own scene where the environment has one; ``original`` is the environment's own."""
    camera: CameraSpec | None = None
    """Environments that Gymnasium's MuJoCo renderer draws; ``None`` keeps the environment's own camera."""
    quality: Quality = "draft"
    """``paper``: shadows, reflections, 4x multisampling; ``standard``: multisampling only; ``draft``: neither."""
    render_size: int | None = Field(default=None, ge=16, le=2048)
    """Side of the square frame [px]; ``None`` takes the input size of the reward model."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        return {"look": value} if isinstance(value, str) else value


def _default_model() -> str:
    return os.environ.get(MODEL_VARIABLE, "").strip() or "embedded"


class RewardSpec(Strict):
    """The sentence that rewards, and the model that judges."""

    goal: Prompt
    """Goal prompt: one sentence, or several whose embeddings are averaged."""
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

    @field_validator("goal", "baseline")
    @classmethod
    def _no_empty_list(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("needs at least one sentence")
        return value

    @model_validator(mode="after")
    def _alpha_needs_baseline(self) -> "RewardSpec":
        if self.alpha > 0 and self.baseline is None:
            raise ValueError(
                f"alpha is {self.alpha} but there is no baseline prompt; add 'baseline:' or set alpha to 0"
            )
        return self

    @property
    def goals(self) -> list[str]:
        """The goal prompts: at least one sentence."""
        return sentences(self.goal)

    @property
    def baselines(self) -> list[str]:
        """The baseline prompts; empty where there is none."""
        return sentences(self.baseline)


class Recipe(Strict):
    """How to train: one named entry under ``training:``."""

    algorithm: str
    """Name of an algorithm of stable-baselines3 or sb3-contrib, such as ``PPO`` or ``SAC``."""
    steps: int = Field(ge=1)
    """Environment steps over all environments."""
    num_envs: int = Field(default=8, ge=1)
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
    hyperparameters: Arguments = Field(default={})
    """Constructor arguments of the algorithm, as stable-baselines3 names them."""


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
