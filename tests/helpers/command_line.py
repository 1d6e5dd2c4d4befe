"""The command line, run in this process."""

from typing import Any

from gym_vlmrm_cli.main import app
from typer.testing import CliRunner


def vlmrm(*arguments: object) -> Any:
    """Return what Typer's runner saw: exit code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
