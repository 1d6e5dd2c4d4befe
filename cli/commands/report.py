"""`vlmrm report`: a run as one page."""

from ..console import print_json, say
from ..options import Json, OptionalRun, Output, Quiet, named_or_newest

__all__ = ["report"]


def report(run: OptionalRun = None, output: Output = None, json: Json = False, quiet: Quiet = False) -> None:
    """Write a run's learning curves, success, film, settings and versions as one HTML file.

    Writes report.html and report.json into the run folder, or into --output.
    """
    from gym_vlmrm.reports.run_page import report_run

    chosen = named_or_newest(run, playable=False)
    path = report_run(chosen, output)
    if json:
        print_json({"run": str(chosen), "report": str(path)})
    elif not quiet:
        say(f"report: {path}")
