"""A judge behind HTTP by Ray Serve: replicas that scale with what is asked, each of them a desk of its own."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from gym_vlmrm.cluster.connecting import ClusterError, connected
from gym_vlmrm.cluster.judges import find_places
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.loading import check_model_name
from gym_vlmrm.reward.remote.schema import Facts
from gym_vlmrm.serving.web_server import check_served
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["NAME", "served_on_cluster"]

NAME = "gym-vlmrm"
"""Of the application, as `serve status` shows it."""
WAITING = 32
"""Requests that one replica takes at a time."""
QUEUED = 256
"""Requests that wait on a machine for a replica; Ray answers 503 to further ones."""


class _Judge:
    """One replica."""

    def __init__(self, judge: dict[str, Any], token: str | None) -> None:
        # Here and not above, so that what travels to the cluster is but this class.
        from gym_vlmrm.serving.desk import Desk
        from gym_vlmrm.serving.web import WebDesk

        self._desk = Desk(RewardSpec.model_validate(judge))
        self._app = WebDesk(self._desk, token)

    async def __call__(self, request: Any) -> Any:
        """Answer a request of Starlette's."""
        from starlette.responses import Response

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(request.scope, request.receive, send)
        if len(sent) < 2:  # the asker has gone
            return Response(status_code=499)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Response(sent[1]["body"], sent[0]["status"], headers)

    def facts(self) -> dict[str, Any]:
        """What it says of its model."""
        return vars(self._app.facts)

    def process(self) -> int:
        """Its number on its machine."""
        return os.getpid()

    def check_health(self) -> None:
        """Raise where it should be started anew; Ray Serve asks from time to time."""
        if not self._desk.alive:
            raise RuntimeError("no thread judges any more")


@contextlib.contextmanager
def served_on_cluster(
    judge: RewardSpec, address: str, host: str, port: int, token: str | None, replicas: int | None, cores: int | None
) -> Iterator[tuple[Facts, str]]:
    """Serve a judge on every machine of a cluster in the block, and give its facts and its URL on this one.

    Args:
        judge: a task's section ``reward:``.
        address: of the cluster.
        host: where each machine listens.
        port: where each machine listens.
        token: that askers must know.
        replicas: most replicas; one per accelerator, or per `cores` cores, if not given. There are fewer while little
            is asked.
        cores: of a replica; 1 if not given.

    Raises:
        ClusterError: no cluster, or no Ray Serve. ModelError: the model cannot be loaded there.
    """
    check_served(judge)
    check_model_name(judge.model)  # here, before a cluster is asked to fail
    with connected(address) as ray:
        os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
        try:
            from ray import serve
        except ImportError:
            raise ClusterError(
                'serving needs Ray Serve: pip install "ray[default,serve]" (gym-vlmrm[cluster])'
            ) from None
        places = find_places(ray, replicas, cores)
        scaled = replicas is None and places.replicas > 1
        scaling = {"min_replicas": 1, "max_replicas": places.replicas, "target_ongoing_requests": 2}
        deployment = serve.deployment(_Judge, name="judge").options(
            autoscaling_config=scaling if scaled else None, num_replicas=None if scaled else places.replicas,
            ray_actor_options={"num_cpus": places.cores, "num_gpus": places.gpus}, max_ongoing_requests=WAITING,
            max_queued_requests=QUEUED, health_check_period_s=5, health_check_timeout_s=30,
        )  # fmt: skip
        try:
            serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
            handle: Any = serve.run(deployment.bind(judge.model_dump(), token), name=NAME, route_prefix="/")
            facts = Facts(**handle.facts.remote().result(timeout_s=60))
        except Exception as error:
            with contextlib.suppress(Exception):
                serve.shutdown()
            raise ModelError(f"'{judge.model}' cannot be served on the cluster: {shorten(error, 300)}") from None
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        try:
            yield facts, f"http://{shown}:{port}"
        finally:
            with contextlib.suppress(Exception):
                serve.shutdown()
