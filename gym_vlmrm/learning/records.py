"""What is kept as JSON: how a run was trained, by which judge, its best checkpoint, and the base of all results."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gym_vlmrm.task.spec import Recipe

__all__ = ["MAX_SEED", "Best", "JudgeRecord", "Result", "RunRecord"]

MAX_SEED = 2**31 - 1
"""Largest seed: what every library below takes."""


class JudgeRecord(BaseModel):
    """The reward model that judged, as it really ran. ``None`` is what the model does not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    weights_digest: str | None = None
    """SHA-256 of the weights of both towers."""
    precision: str | None = None
    device: str | None = None

    @classmethod
    def of(cls, reward_model: Any) -> "JudgeRecord":
        """Describe a loaded reward model."""
        names = ("weights_digest", "precision", "device")
        told = {name: getattr(reward_model, name, None) for name in names}
        return cls(model=reward_model.name, **{name: None if told[name] is None else str(told[name]) for name in names})


class RunRecord(BaseModel):
    """What ``run.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: str
    """ID of the task."""
    recipe_name: str
    recipe: Recipe
    """The recipe as it was run, all overrides applied."""
    seed: int
    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    step: int = 0
    """Environment steps made."""
    seconds: float = 0.0
    """Wall-clock time spent training [s]."""
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    judge: JudgeRecord | None = None


class Best(BaseModel):
    """What ``best.json`` holds: the checkpoint with the best mean VLM reward. Success is noted, it never selects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0)
    vlm_reward: float
    """Mean VLM reward per step of the greedy policy."""
    task_reward: float | None
    """Mean of the environment's own reward per step; ``None`` where it is not finite."""
    success: float | None = None
    """Share of steps in success; ``None`` where the task defines none."""
    episodes: int | None = Field(default=None, ge=1)
    """How many episodes said so; missing in runs of before 0.2, which played one in each environment."""


class Result(BaseModel):
    """One piece of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
