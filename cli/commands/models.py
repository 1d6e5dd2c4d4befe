"""`vlmrm models`: which models can judge?"""

from typing import TYPE_CHECKING, Annotated

import typer

from ..console import print_json, print_table, say
from ..options import Json, Quiet

if TYPE_CHECKING:
    from gym_vlmrm.reward.clip.known import KnownModel

__all__ = ["models"]

Every = Annotated[bool, typer.Option("--all", help="Every pretrained model of open_clip; sizes of the common ones.")]


def models(every: Every = False, json: Json = False, quiet: Quiet = False) -> None:
    """List reward models for --model: size, memory, licence, and whether the weights are on this machine.

    Nothing is fetched. Besides these, --model takes hf-hub:org/name, local-dir:DIR, architecture/path-to-weights, and
    openai:NAME@URL for a server that answers in words.
    """
    from gym_vlmrm.reward.clip.known import known_models

    found = known_models(every=every)
    if json:
        print_json({"models": [model.model_dump(mode="json") for model in found]})
    elif not quiet:
        columns = ("model", "image tower", "memory", "input", "licence", "here")
        print_table(columns, [_row(model) for model in found], spare=("input",))
        say(
            "image tower: million weights; memory: of those as float32, half of it as bfloat16, activations not counted"
        )
        say("licence: as the model's page names it; -: read the page (--json has its address)")


def _row(model: "KnownModel") -> tuple[str, ...]:
    return (
        model.name,
        "-" if model.image_weights is None else f"{model.image_weights / 1e6:,.1f}M",
        "-" if model.memory_mb is None else f"{model.memory_mb:,.0f} MB",
        "-" if model.frame_size is None else f"{model.frame_size} px",
        model.licence or "-",
        f"yes, {model.download_mb:,.0f} MB" if model.download_mb is not None else "no",
    )
