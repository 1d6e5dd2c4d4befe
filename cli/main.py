"""Entry point of the `vlmrm` command. A new command is one file here and one line in `COMMANDS`."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from .audit import audit
from .calibrate import calibrate
from .check import check
from .console import one_line_errors
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .prompts import prompts
from .report import report
from .tasks import tasks
from .train import train

__all__ = ["COMMANDS", "app", "main"]

COMMANDS: dict[str, Callable[..., Any]] = {
    "tasks": tasks,
    "check": check,
    "train": train,
    "eval": evaluate,
    "export": export,
    "audit": audit,
    "calibrate": calibrate,
    "prompts": prompts,
    "report": report,
    "finetune": finetune,
}
"""Name to function, in the order of the help page."""

app = typer.Typer(
    name="vlmrm",
    help="Gymnasium environments whose reward comes from a sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _function in COMMANDS.items():
    _summary = (_function.__doc__ or "").partition("\n")[0]
    app.command(_name, short_help=_summary)(one_line_errors(_function))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vlmrm {version('gym-vlmrm')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gymnasium environments whose reward comes from a sentence."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
