"""The routes: who may ask, what is asked, and the answer, in the order in which a request meets them."""

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect

from workbench import keys, query_log
from workbench.errors import KeysError, WorkbenchError
from workbench.log_database import LoggedQuery
from workbench.serving import envelope, openai_shape, uploads
from workbench.serving.batching import Query
from workbench.serving.envelope import HEADER_LENGTH
from workbench.serving.journal import Entry
from workbench.serving.openai_shape import ApiError
from workbench.serving.service import Options, Service

CLIENT_GONE = 499
"""HTTP has no status that nobody reads. Source: nginx, which writes this one into its log."""

ASSETS = Path(__file__).parents[1] / "assets"
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:"
)


def create_app(options: Options) -> FastAPI:
    """Make the application."""
    service = Service(options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            if options.front_pid:  # which sends queries as soon as this returns
                await service.settle()
            yield

    app = FastAPI(title="Voice search", version="1", lifespan=lifespan,
                  description="Writes down spoken queries, in the shape of OpenAI's API.")
    app.state.service = service
    app.add_middleware(uploads.BodyLimit, max_bytes=service.max_bytes)
    app.add_middleware(envelope.Envelope, service=service)
    for kind, handler in envelope.REFUSALS.items():
        app.add_exception_handler(kind, handler)
    _add_api(app, service)
    _add_operation(app, service)
    return app


def _add_api(app: FastAPI, service: Service) -> None:
    @app.post("/v1/audio/transcriptions", openapi_extra=dict(openai_shape.FORM_SCHEMA), tags=["OpenAI"])
    async def transcriptions(request: Request) -> Response:
        """Write down a recording."""
        _authorize(request, service)
        if service.journal.problem:  # a refusal could not be logged either
            raise _not_ready(service)
        arrived_s, row = time.monotonic(), await _row_of(request, service)
        try:
            return await _transcribe(request, service, row=row, arrived_s=arrived_s)
        except ApiError as error:
            service.note(Entry(replace(row, error=error.code, consent=""), arrived_s))
            raise

    @app.get("/v1/models", tags=["OpenAI"])
    async def models(request: Request) -> Any:
        """List what `model` may be."""
        _authorize(request, service)
        names = service.models.lineup.names() if service.models.lineup else list(openai_shape.ALIASES)
        return {"object": "list", "data": [_model(name) for name in names]}

    @app.get("/v1/models/{name}", tags=["OpenAI"])
    async def model(request: Request, name: str) -> Any:
        """Tell of one model."""
        _authorize(request, service)
        if service.models.lineup is not None:
            service.models.lineup.pick(name, "")
        return _model(name)

    @app.delete("/v1/users/{user:path}", tags=["privacy"])
    async def forget(request: Request, user: str) -> Any:
        """Forget a user everywhere, and keep nothing of what they say from now on."""
        _authorize(request, service)
        return await _forgotten(service, user)


async def _forgotten(service: Service, user: str) -> dict[str, Any]:
    """Forget a user. Raises: ApiError, status 400 where nobody is named, 503 where it has to be asked for again."""
    if not user.strip():
        raise ApiError(400, "no user is named; send DELETE /v1/users/USER, as the app sent it in X-User-Id",
                       code="missing_user")
    try:
        return asdict(await service.forget(user))
    except WorkbenchError as error:
        raise ApiError(503, f"not everything is forgotten yet, so send this again: {error}", code="not_forgotten",
                       retry_after_s=60) from error


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", tags=["operation"])
    async def live() -> Any:
        """Say that the process runs."""
        return {"status": "live", "pid": service.options.front_pid or os.getpid()}

    @app.get("/health/ready", tags=["operation"])
    async def ready() -> Any:
        """Say whether queries are answered, and if not, why."""
        said = {"status": "not ready" if service.problems else "ready", "problems": service.problems,
                "model_version": service.version, "warning": service.models.problem,
                "names": service.names, "clock": "simulated" if service.options.has_simulated_clock else "own"}
        return JSONResponse(said, 503 if service.problems else 200)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Write what Prometheus collects."""
        service.metrics.ready.set(not service.problems)
        service.metrics.queue_depth.set(service.batcher.depth)
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        """Show the page with the microphone."""
        filled = {"__STYLE__": (ASSETS / "report.css").read_text(encoding="utf-8"),
                  "__NEEDS_KEY__": json.dumps(service.options.needs_key),
                  "__LONGEST_MS__": json.dumps(round(900 * service.longest_s))}  # a tenth to spare for slow timers
        html = (ASSETS / "microphone.html").read_text(encoding="utf-8")
        for name, value in filled.items():
            html = html.replace(name, value)
        return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"})


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "workbench"}


def _authorize(request: Request, service: Service) -> None:
    """Let those with a key pass. Raises: ApiError, status 401."""
    if not service.options.needs_key:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise ApiError(401, "no key was given; send 'Authorization: Bearer KEY' with one that `workbench keys create "
                       "NAME` made", code="missing_api_key")
    if _holder(key.strip()) is None:
        raise ApiError(401, "the key is wrong or was revoked; `workbench keys create NAME` makes a new one",
                       code="invalid_api_key")


def _holder(key: str) -> str | None:
    try:
        return keys.is_valid(key)
    except KeysError as error:
        raise ApiError(503, str(error), code="keys_unreadable") from error


def _not_ready(service: Service) -> ApiError:
    return ApiError(503, "; ".join(service.problems), code="not_ready", retry_after_s=2)


async def _row_of(request: Request, service: Service) -> LoggedQuery:
    """Begin a query's row with what its headers say.

    Raises: ApiError, status 400 for a time that is none, 503 where the log or the secret of users' names is in trouble.
    """
    headers = request.headers
    is_simulated = service.options.has_simulated_clock and "x-query-time" in headers
    told_s = _simulated_time_s(headers["x-query-time"]) if is_simulated else None
    app_version = headers.get("x-app-version", "")[:HEADER_LENGTH]
    return LoggedQuery(
        request_id=request.state.request_id,
        time_s=await service.time_s(told_s, app_version=app_version),
        user_hash=_name(_as_utf8(headers.get("x-user-id", "")).strip()),
        app_version=app_version,
        device=headers.get("x-device", "")[:HEADER_LENGTH],
        model_version=service.version,
        consent="audio" if headers.get("x-consent", "").strip().lower() == "audio" else "",
    )


def _name(user: str) -> str:
    try:
        return query_log.user_hash(user)
    except WorkbenchError as error:
        raise ApiError(503, str(error), code="log_unavailable", retry_after_s=2) from error


def _as_utf8(header: str) -> str:
    """Read a header as its sender wrote it: a name must be the same here and in the command that forgets it."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _simulated_time_s(value: str) -> float:
    try:
        time_s = float(value)
    except ValueError:
        time_s = math.nan
    if not math.isfinite(time_s):
        raise ApiError(400, f"X-Query-Time is {value[:40]!r}, wanted seconds since 1970", code="invalid_time")
    return time_s


async def _transcribe(request: Request, service: Service, *, row: LoggedQuery, arrived_s: float) -> Response:
    if service.problems:
        raise _not_ready(service)
    wanted = await _received(request)
    if service.models.lineup is not None:
        # A model that is not served, or hears another language, is refused before any work.
        service.models.lineup.pick(wanted.model, row.user_hash or row.request_id, wanted.language)
    with service.batcher.place():
        clip = await service.decode(await uploads.content_of(wanted.file))
    row = replace(row, duration_s=clip.duration_s, level_dbfs=clip.level_dbfs, snr_db=clip.snr_db,
                  bandwidth_hz=clip.bandwidth_hz)
    answer = await service.batcher.answer(Query(row, clip.samples, wanted.model, wanted.language, arrived_s))
    response = openai_shape.answer(answer.hypothesis, clip.duration_s, wanted.response_format,
                                   language=answer.language)
    response.headers["X-Model-Version"] = answer.model_version
    return response


async def _received(request: Request) -> openai_shape.TranscriptionRequest:
    """Read the form, in bounded time. Raises: ApiError, status 400, 408, 413, or 499 for who has hung up."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(400, "the body is not multipart/form-data; send the recording as the form field 'file'",
                       code="not_multipart")
    try:
        async with asyncio.timeout(uploads.UPLOAD_TIMEOUT_S):
            return openai_shape.parse(await request.form(max_files=2, max_fields=50))
    except TimeoutError as error:
        raise ApiError(408, f"the upload took longer than {uploads.UPLOAD_TIMEOUT_S:g} s; send a smaller file",
                       code="upload_timeout") from error
    except (ClientDisconnect, asyncio.CancelledError) as error:  # Ray Serve ends the work for a client that hung up
        raise ApiError(CLIENT_GONE, "the client hung up before the recording was here; send it again",
                       code="client_gone") from error
