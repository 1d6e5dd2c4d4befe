"""`vlmrm serve`: one reward model for all processes of this machine, or behind HTTP for others."""

import contextlib
import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import note, print_json, say
from ..options import (
    Alpha,
    Baseline,
    Cluster,
    Device,
    Goal,
    Json,
    Model,
    Precision,
    Quiet,
    ReplicaCores,
    Replicas,
    Task,
    check_replicas,
    sentences,
)  # fmt: skip

if TYPE_CHECKING:
    from gym_vlmrm.reward.remote.schema import Facts
    from gym_vlmrm.task.spec import RewardSpec

__all__ = ["serve"]

Idle = Annotated[
    float | None,
    typer.Option("--idle", min=0, metavar="SECONDS", help="End after so long without a client; never if not given."),
]
Http = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Answer over HTTP there, for model: http://HOST:PORT elsewhere."),
]


def serve(
    task: Task,
    model: Model = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    device: Device = None,
    arithmetic: Precision = None,
    http: Http = None,
    cluster: Cluster = None,
    replicas: Replicas = None,
    replica_cores: ReplicaCores = None,
    idle: Idle = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold a task's reward model for all processes of this machine, or over HTTP for any, until Ctrl-C.

    Environments that are made with share_model=True, or under GYM_VLMRM_SHARE_MODEL=1, and ask for the same model,
    device and precision find it; whatever their prompts are. Without this command the first of them starts a server.

    With --http it answers on a port, whose schema docs/clusters.md has; the token that askers must know is read from
    GYM_VLMRM_TOKEN. With --cluster Ray Serve does the same by replicas on every machine of a cluster (port 8800).
    """
    from gym_vlmrm.task.catalog import load_task, override

    check_replicas(cluster, replicas, replica_cores)
    if idle is not None and (http is not None or cluster is not None):
        raise typer.BadParameter("over HTTP nobody stays connected; leave it out", param_hint="--idle")
    spec = override(
        load_task(task),
        model=model,
        goal=sentences(goal),
        baseline=sentences(baseline),
        alpha=alpha,
        device=device,
        precision=arithmetic,
    )
    if http is not None or cluster is not None:
        _serve_http(spec.reward, http, cluster, replicas, replica_cores, json=json, quiet=quiet)
    else:
        _serve_host(spec.reward, math.inf if idle is None else idle, json=json, quiet=quiet)


def _serve_http(
    judge: "RewardSpec", http: str | None, cluster: str | None, replicas: int | None, cores: int | None, *,
    json: bool, quiet: bool,
) -> None:  # fmt: skip
    from gym_vlmrm.serving.web_server import WebServer, find_endpoint, server_token

    host, port = find_endpoint(http or "127.0.0.1:8800")
    token = server_token(host)
    if cluster is not None:
        from gym_vlmrm.cluster.serving import served_on_cluster

        with served_on_cluster(judge, cluster, host, port, token, replicas, cores) as (facts, url):
            _tell(facts, url, token, json=json, quiet=quiet)
            while True:
                time.sleep(1)
    with contextlib.closing(WebServer(judge, host, port, token)) as server:
        _tell(server.app.facts, server.url, token, json=json, quiet=quiet)
        server.serve()


def _tell(facts: "Facts", url: str, token: str | None, *, json: bool, quiet: bool) -> None:
    if json:
        print_json({**vars(facts), "url": url})
    elif not quiet:
        say(f"serving {facts.model} (weights {facts.weights_digest[:12]}) in {facts.precision} on {facts.device}")
        known = "whoever knows the token may ask" if token else "no token is asked for"
        say(f"at {url}; {known}; elsewhere: --model {url}; end with Ctrl-C")


def _serve_host(judge: "RewardSpec", patience: float, *, json: bool, quiet: bool) -> None:
    from gym_vlmrm.serving.server import RewardServer, open_server

    server = open_server(judge, until_first=patience, after_last=patience)
    model, where = server.desk.model, str(server.place.socket)
    try:
        facts: dict[str, Any] = {
            name: str(getattr(model, name, "unknown")) for name in ("weights_digest", "precision", "device")
        }
        if json:
            print_json({"model": model.name, **facts, "frame_size": model.frame_size, "socket": where})
        elif not quiet:
            weights, precision, device = facts.values()
            say(f"serving {model.name} (weights {weights[:12]}) in {precision} on {device}")
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
