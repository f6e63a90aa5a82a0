"""What every answer has, a refusal too: a request's id, the model's name, a place in the counts, OpenAI's shape."""

import uuid
from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.serving.openai_shape import ApiError
from workbench.serving.service import Service

HEADER_LENGTH = 64
"""What is kept of the name of a device, an app or a request."""


class Envelope:
    """ASGI middleware: gives every request an id, names the model in every answer, and counts answers."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and put our headers on what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {b"x-model-version": self.service.version, b"x-content-type-options": "nosniff"}
                if not self.service.options.front_pid:
                    ours[b"x-request-id"] = request_id
                given = {name for name, _ in message["headers"]}
                message["headers"] += [(name, value.encode()) for name, value in ours.items() if name not in given]
                route = getattr(scope.get("route"), "path", "other")
                self.service.metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, send_enveloped)

    def _request_id(self, scope: Scope) -> str:
        """Name a query; behind a front it has a name already, which the front puts on the answer."""
        given = dict(scope["headers"]).get(b"x-request-id", b"") if self.service.options.front_pid else b""
        return given.decode("latin-1")[:HEADER_LENGTH] or uuid.uuid4().hex


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    request.app.state.service.metrics.errors.labels(error.code).inc()
    return error.response()


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    words = {404: f"there is nothing at {request.url.path}; see /docs", 405: f"{request.method} is not served here"}
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    return await _refuse(request, ApiError(status, words.get(status, str(error.detail)), code=code))


async def _refuse_unexpected(request: Request, error: Exception) -> Response:
    return await _refuse(request, ApiError(500, "the service failed; its log says why", code="internal_error"))


REFUSALS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    ApiError: _refuse,
    HTTPException: _refuse_http,
    Exception: _refuse_unexpected,
}
"""Who answers for what was raised."""
