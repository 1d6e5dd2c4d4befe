"""`vlmrm export`: a trained policy for stable-baselines3."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import print_json, say
from ..options import Checkpoint, Json, OptionalRun, Quiet, named_or_newest, which_checkpoint

__all__ = ["export"]

Folder = Annotated[Path, typer.Option("--output", metavar="DIR", help="The folder to write to; made if missing.")]


def export(
    output: Folder, run: OptionalRun = None, checkpoint: Checkpoint = "best", json: Json = False, quiet: Quiet = False
) -> None:
    """Write a run's policy as stable-baselines3's own zip (a pickle: share run folders instead)."""
    which = which_checkpoint(checkpoint)
    from gym_vlmrm.learning.export import export_sb3

    chosen = named_or_newest(run)
    written = [str(path) for path in export_sb3(chosen, output, which)]
    if json:
        print_json({"run": str(chosen), "files": written})
    elif not quiet:
        say(f"wrote {', '.join(written)}")
