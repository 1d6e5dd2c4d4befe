"""Entry point of the `vlmrm` command: every file in `commands` is one."""

import io
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

import typer

from . import commands
from .console import one_line_errors
from .ending import end_by_signal, stopped_in_one_line

__all__ = ["COMMANDS", "app", "main"]

FIRST = (
    "tasks", "show", "new", "check", "plan", "train", "sweep", "runs", "zoo", "watch", "eval", "compare", "report",
    "export", "audit", "calibrate", "prompts", "score", "models", "teach", "finetune", "schema", "serve", "doctor",
)  # fmt: skip
"""The help page's order: from a task to its agent, then what judges the reward. Others follow by name."""


def _find_commands() -> dict[str, Callable[..., Any]]:
    files = sorted(module.name for module in iter_modules(commands.__path__))
    files.sort(key=lambda file: FIRST.index(file) if file in FIRST else len(FIRST))
    return {file.replace("_", "-"): getattr(import_module(f"{commands.__name__}.{file}"), file) for file in files}


COMMANDS = _find_commands()
"""Name to function, in the order of the help page."""


def _new_name(old: dict[str, str], name: str) -> str:
    """Return what an option is called now; its old names go on to work, and no page of help names them."""
    return old.get(name, name)


app = typer.Typer(
    name="vlmrm",
    help="Gymnasium environments whose reward comes from a sentence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _function in COMMANDS.items():
    _summary = (_function.__doc__ or "").partition("\n")[0]
    _old: dict[str, str] = getattr(sys.modules[_function.__module__], "OLD_NAMES", {})
    _settings = {"token_normalize_func": partial(_new_name, _old)} if _old else None
    app.command(_name, short_help=_summary, context_settings=_settings)(one_line_errors(stopped_in_one_line(_function)))


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
    """Run the command line; what the locale has no character for is printed as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    with end_by_signal():
        app()


if __name__ == "__main__":
    main()
