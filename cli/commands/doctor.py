"""`vlmrm doctor`: what can this machine do?"""

from ..console import print_json, print_table, say
from ..options import Json, Quiet
from ..progress import phase_bar

__all__ = ["doctor"]


def doctor(json: Json = False, quiet: Quiet = False) -> None:
    """Look at this machine: versions, devices, OpenGL, caches, one timing of step, draw and score each.

    Says what is slow or missing, and the cure. A note is about what only some things need.
    """
    from gym_vlmrm.doctor import examine_machine

    with phase_bar(shown=not quiet) as on_progress:
        found = examine_machine(on_progress)
    if json:
        print_json({"findings": [finding.model_dump(mode="json") for finding in found]})
    elif not quiet:
        rows = [(finding.subject, finding.verdict, finding.found) for finding in found]
        print_table(("", "", "found"), rows, whole=2)
        cures = [finding for finding in found if finding.cure is not None]
        if cures:
            say("")
            print_table(("", "", "what helps"), [(f.subject, f.verdict, f.cure or "") for f in cures], whole=2)
        else:
            say("\nnothing is slow or missing")
