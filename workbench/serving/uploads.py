"""From an upload to samples: limits on the body while it arrives, and strict decoding away from the event loop."""

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench import audio
from workbench.audio import Samples
from workbench.errors import AudioError, AudioTooLongError
from workbench.serving.openai_shape import ApiError

SHORTEST_S = 0.1
"""Source: OpenAI's API refuses anything shorter."""

UPLOAD_TIMEOUT_S = 30.0
"""A body that has not arrived by then is given up, so that slow clients cannot hold connections for ever."""

LINGER_S = 5.0
"""How long we go on reading what a refused client still sends, so that it reads our answer and not a reset."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """A decoded upload and what the log keeps of how it sounds."""

    samples: Samples
    duration_s: float
    level_dbfs: float
    snr_db: float
    bandwidth_hz: float


def decode(content: bytes, *, longest_s: float) -> Clip:
    """Decode an upload's bytes, at most `longest_s` of them, and measure the clip.

    Raises: ApiError, status 400, for anything that is not a recording of a permitted length.
    """
    # A file without a name: nothing of it is left on the disk, however the process ends.
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        path = f"/dev/fd/{file.fileno()}"
        try:
            samples = audio.read(path, longest_s=longest_s)
        except AudioError as error:
            kind = "audio_too_long" if isinstance(error, AudioTooLongError) else "invalid_audio"
            raise ApiError(400, str(error).replace(path, "the file"), param="file", code=kind) from error
        except Exception as error:  # a decoder that stumbles over a hostile file is the file's fault, and ours to know
            log.exception("an upload of %d bytes upset the decoder", len(content))
            raise ApiError(400, "the file is not audio that can be read; export it as wav, flac, ogg or mp3",
                           param="file", code="invalid_audio") from error
    duration_s = audio.duration_s(samples)
    if duration_s < SHORTEST_S:
        raise ApiError(400, f"the file holds {duration_s:.3f} s of audio, wanted at least {SHORTEST_S} s; record it "
                       "again", param="file", code="audio_too_short")
    return Clip(samples, duration_s, audio.level_dbfs(samples), audio.estimate_snr_db(samples),
                audio.estimate_bandwidth_hz(samples))


async def content_of(file: UploadFile) -> bytes:
    """Read a received upload. Raises: ApiError, status 400, when it is empty."""
    content = await file.read()
    if not content:
        raise ApiError(400, "the file is empty (0 bytes); record it again", param="file", code="empty_file")
    return content


def declared_bytes(headers: Mapping[bytes, bytes]) -> int:
    """Read how long a body its headers promise; 0 when they do not say."""
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


class BodyLimit:
    """ASGI middleware: a body over the limit is refused before it is read, or as soon as it passes the limit."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        if scope["type"] == "http":
            body = _Body(scope, receive, self.max_bytes)
            await self.app(scope, body.receive, body.sending(send))
        else:
            await self.app(scope, receive, send)


class _Body:
    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        headers = dict(scope["headers"])
        self._declared, self._asks_first = declared_bytes(headers), b"expect" in headers
        self._has_body = self._declared > 0 or b"transfer-encoding" in headers
        self._receive, self._max_bytes, self._n_bytes = receive, max_bytes, 0

    async def receive(self) -> Message:
        if self._declared > self._max_bytes:
            raise self._too_large()
        message = await self._next()
        if self._n_bytes > self._max_bytes:
            raise self._too_large()
        return message

    async def _next(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        self._has_body = bool(message.get("more_body", False))
        return message

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._max_bytes / 1e6:g} MB; send a shorter or compressed "
                        "recording", param="file", code="body_too_large")

    def sending(self, send: Send) -> Send:
        async def drain_then_send(message: Message) -> None:
            if message["type"] == "http.response.start" and self._has_body and not self._asks_first:
                await self._drain()
            await send(message)

        return drain_then_send

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while self._has_body:
                    await self._next()
        except TimeoutError:
            self._has_body = False
