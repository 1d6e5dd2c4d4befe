"""What all models of a task file share: strictness, sentences and prompts."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Prompt", "Sentence", "Strict", "sentences"]

Sentence = Annotated[str, Field(min_length=1, max_length=1000)]
Prompt: TypeAlias = Sentence | list[Sentence]
"""One sentence, or several."""


class Strict(BaseModel):
    """Frozen; unknown keys, other types and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def sentences(prompt: str | list[str] | None) -> list[str]:
    """Return the sentences of a prompt; none for ``None``."""
    return [] if prompt is None else [prompt] if isinstance(prompt, str) else list(prompt)
