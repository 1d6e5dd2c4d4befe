"""`vlmrm schema`: what editors need to know of task files."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from ..console import print_json, say
from ..options import Json, Quiet

__all__ = ["schema"]

File = Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it to a file instead.")]


def schema(output: File = None, json: Json = False, quiet: Quiet = False) -> None:
    """Print the JSON Schema of task files, by which editors check and complete them.

    A task file names it in its first line, as those of `vlmrm new` do: # yaml-language-server: $schema=FILE
    """
    from gym_vlmrm.files import write_text
    from gym_vlmrm.task.schema import schema as make_schema

    made = make_schema()
    if output is None:
        if json or not quiet:
            print_json(made)
        return
    write_text(output, json_module.dumps(made, indent=2) + "\n")
    if json:
        print_json({"schema": str(output)})
    elif not quiet:
        say(f"wrote {output}; first line of a task file: # yaml-language-server: $schema={output}")
