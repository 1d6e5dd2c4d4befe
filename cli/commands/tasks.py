"""`vlmrm tasks`: what there is."""

from ..console import print_json, print_table, say
from ..options import Json, Quiet

__all__ = ["tasks"]


def tasks(json: Json = False, quiet: Quiet = False) -> None:
    """List every built-in task: name, environment ID, goal prompt and source."""
    from gym_vlmrm.task.catalog import builtin_tasks

    found = builtin_tasks()
    if json:
        print_json({"tasks": [{"name": name, **task.model_dump(mode="json")} for name, task in found.items()]})
    elif not quiet:
        rows = [(name, task.id, "; ".join(task.reward.said), task.source) for name, task in found.items()]
        print_table(("name", "ID", "goal prompt", "source"), rows, whole=2)
        say(f"{len(rows)} tasks; `vlmrm train NAME` trains one")
