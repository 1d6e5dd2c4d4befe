"""`vlmrm serve`: one reward model for all processes of this machine."""

import math
from typing import Annotated

import typer

from ..console import note, print_json, say
from ..options import Alpha, Baseline, Device, Goal, Json, Model, Precision, Quiet, Task, sentences

__all__ = ["serve"]

Idle = Annotated[
    float | None,
    typer.Option("--idle", min=0, metavar="SECONDS", help="End after so long without a client; never if not given."),
]


def serve(
    task: Task,
    model: Model = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    device: Device = None,
    arithmetic: Precision = None,
    idle: Idle = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold a task's reward model for all processes of this machine, until Ctrl-C.

    Environments that are made with share_model=True, or under GYM_VLMRM_SHARE_MODEL=1, and ask for the same model,
    device and precision find it; whatever their prompts are. Without this command the first of them starts a server.
    """
    from gym_vlmrm.serving.server import RewardServer, open_server
    from gym_vlmrm.task.catalog import load_task, override

    spec = override(
        load_task(task),
        model=model,
        goal=sentences(goal),
        baseline=sentences(baseline),
        alpha=alpha,
        device=device,
        precision=arithmetic,
    )
    patience = math.inf if idle is None else idle
    server = open_server(spec.reward, until_first=patience, after_last=patience)
    judge, where = server.desk.model, str(server.place.socket)
    try:
        facts = {name: str(getattr(judge, name, "unknown")) for name in ("weights_digest", "precision", "device")}
        if json:
            print_json({"model": judge.name, **facts, "frame_size": judge.frame_size, "socket": where})
        elif not quiet:
            weights, precision, device = facts.values()
            say(f"serving {judge.name} (weights {weights[:12]}) in {precision} on {device}")
            say(f"at {where}; make environments with share_model=True or GYM_VLMRM_SHARE_MODEL=1; end with Ctrl-C")
        known = 0

        def tell(server: RewardServer) -> None:
            nonlocal known
            if server.clients != known and not quiet:
                known = server.clients
                note(f"{known} processes, {server.desk.requests} requests in {server.desk.batches} batches")

        server.serve(tell)
    finally:
        server.close()
