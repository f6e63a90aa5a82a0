"""The same application several times on a Ray cluster, by Ray Serve: one address, replicas that come and go behind it.

Each replica is a whole service: it batches, follows the champion and commits its queries to the shared log before it
answers. What a killed replica had not committed was not acknowledged.
"""

import asyncio
import os
import signal
import threading
import uuid
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench import clusters, settings
from workbench.errors import ServiceError
from workbench.serving import server, uploads
from workbench.serving.service import Options

HEALTH_S = 2.0
"""How often Ray Serve asks a replica whether it lives; a dead one gets no more queries and is replaced."""


class Naming:
    """ASGI middleware of the front: every query gets a name of ours, whatever its sender called it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under a new name."""
        if scope["type"] == "http":
            others = [pair for pair in scope["headers"] if pair[0].lower() != b"x-request-id"]
            scope = {**scope, "headers": [*others, (b"x-request-id", uuid.uuid4().hex.encode())]}
        await self.app(scope, receive, send)


class Unasked:
    """ASGI middleware of the front: who asks before sending too much is not told to go on.

    Ray Serve's proxy reads a body as soon as it is announced; here it finds none, and the replica refuses by the length
    that the headers promise.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, without its body if nobody will read that."""
        headers = dict(scope.get("headers", ()))
        if b"expect" in headers and uploads.declared_bytes(headers) > self.max_bytes:
            receive = _no_body()
        await self.app(scope, receive, send)


def _no_body() -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()  # for ever: after the answer the proxy ends what listens
        return messages.pop()

    return receive


def front() -> list[Middleware]:
    """Give what Ray Serve's proxies wrap around every request; `clusters.choose` names this function to them."""
    return [Middleware(Naming), Middleware(Unasked, max_bytes=round(settings.Settings().max_body_mb * 1e6))]


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many replicas: `n` always, and up to `most` while queries queue."""

    n: int
    most: int = 0


def run(options: Options, fleet: Fleet, *, host: str, port: int) -> None:
    """Serve until told to stop; then let the replicas answer what they accepted, and end.

    Raises: ClusterError or ServiceError before anything is started that could not go on.
    """
    ray = clusters.connect()
    clusters.check()
    _check_log(ray)
    from ray import serve

    if serve.status().applications:
        raise ServiceError("this cluster serves already, at one address; end that with `workbench stop` (or `serve "
                           "shutdown`), or name another cluster")
    with server.listening(host, port) as listener:
        port = listener.getsockname()[1]  # a free one, if none was named; Serve's proxy takes it over
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serve.start(http_options={"host": host, "port": port, "keep_alive_timeout_s": server.KEEP_ALIVE_S})
    try:
        known = replace(options, front_pid=os.getpid())
        serve.run(_deployment(serve, known, fleet, n_gpus=int(ray.cluster_resources().get("GPU", 0))), name="workbench")
        with server.own_key(options.needs_key) as key, server.announced(host, port, key):
            stop.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


def _deployment(serve: Any, options: Options, fleet: Fleet, *, n_gpus: int) -> Any:
    limits = settings.Settings()
    many = {"num_replicas": fleet.n} if fleet.most <= fleet.n else {"autoscaling_config": {
        "min_replicas": fleet.n, "max_replicas": fleet.most, "target_ongoing_requests": limits.max_batch,
        "upscale_delay_s": limits.grow_after_s, "downscale_delay_s": limits.shrink_after_s}}

    def application() -> FastAPI:  # made anew in each replica: Ray Serve takes a plain function for that
        from workbench.serving.app import create_app

        return create_app(options)

    deployment = serve.deployment(serve.ingress(application)())
    return deployment.options(
        name="workbench", max_ongoing_requests=limits.max_queue + 2 * limits.max_batch,
        graceful_shutdown_timeout_s=server.DRAIN_S, health_check_period_s=HEALTH_S, health_check_timeout_s=5 * HEALTH_S,
        ray_actor_options={"num_gpus": 1} if n_gpus else {"num_cpus": 1}, **many).bind()


def _check_log(ray: Any) -> None:
    """A SQLite file that several machines write to breaks. Raises: ServiceError when that would happen."""
    hosts = {node["NodeManagerAddress"] for node in clusters.nodes(ray)}
    url = settings.Settings().query_log_url
    if len(hosts) > 1 and not url.startswith("postgresql"):
        raise ServiceError(f"replicas on {len(hosts)} machines cannot share a SQLite query log; set "
                           "WORKBENCH_QUERY_LOG_URL to a PostgreSQL database")
