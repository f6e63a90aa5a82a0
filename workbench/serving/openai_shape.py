"""Requests, answers and errors in OpenAI's shape, so that its clients work unchanged. No audio and no model here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response

from workbench.records import Hypothesis

FORMATS = ("json", "text", "verbose_json")
LANGUAGES = ("", "en", "english")
ALIASES = ("champion", "whisper-1")
"""Names for whatever model is the champion; the second is what OpenAI's clients send."""


class ApiError(Exception):
    """An answer other than 200: its status, a message that helps, the field it is about and a code for programs."""

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}

    def response(self) -> JSONResponse:
        """Give the answer as OpenAI writes errors."""
        kinds = {429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, self.status, self.headers)


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a client asks for: the upload, and who should answer it in which form."""

    file: UploadFile
    model: str
    response_format: str


def parse(form: FormData) -> TranscriptionRequest:
    """Read the form's fields; `prompt`, `temperature` and fields that we do not know change nothing.

    Raises: ApiError, status 400, which names the field.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile):
        found = "is missing" if file is None else "is text"
        raise ApiError(400, f"the form field 'file' {found}; send the recording as a file of multipart/form-data",
                       param="file", code="missing_file" if file is None else "invalid_file")
    model = _field(form, "model")
    if not model:
        raise ApiError(400, "the form field 'model' is missing; send model=champion", param="model",
                       code="missing_model")
    language = _field(form, "language").lower()
    if language not in LANGUAGES:
        raise ApiError(400, f"language {language[:20]!r} is not served; this model hears English, send 'en' or nothing",
                       param="language", code="unsupported_language")
    response_format = _field(form, "response_format") or "json"
    if response_format not in FORMATS:
        raise ApiError(400, f"response_format {response_format[:20]!r} is not served; choose one of "
                       f"{', '.join(FORMATS)}", param="response_format", code="unsupported_format")
    if "word" in form.getlist("timestamp_granularities[]"):
        raise ApiError(400, "word timestamps are not served; leave timestamp_granularities out or send 'segment'",
                       param="timestamp_granularities", code="unsupported_granularity")
    return TranscriptionRequest(file, model, response_format)


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise ApiError(400, f"the form field {name!r} is a file; send it as text", param=name, code="invalid_field")
    return value.strip()


def answer(hypothesis: Hypothesis, duration_s: float, response_format: str) -> Response:
    """Write a hypothesis in the form that was asked for."""
    if response_format == "text":
        return PlainTextResponse(hypothesis.text + "\n")
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    content: dict[str, Any] = {"text": hypothesis.text, "usage": usage}
    if response_format == "verbose_json":
        content |= {"task": "transcribe", "language": "english", "duration": round(duration_s, 3),
                    "segments": [_segment(hypothesis, duration_s)] if hypothesis.text else []}
    return JSONResponse(content)


def _segment(hypothesis: Hypothesis, duration_s: float) -> Mapping[str, Any]:
    measured = {name: getattr(hypothesis, name) for name in ("avg_logprob", "compression_ratio", "no_speech_prob")}
    finite = {name: value if math.isfinite(value) else 0.0 for name, value in measured.items()}
    return {"id": 0, "seek": 0, "start": 0.0, "end": round(duration_s, 3), "text": hypothesis.text, "tokens": [],
            "temperature": 0.0, **finite}


FORM_SCHEMA: Mapping[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["file", "model"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "wav, flac, ogg, mp3, m4a, webm, ..."},
            "model": {"type": "string", "description": "champion, whisper-1 or a version", "default": "champion"},
            "language": {"type": "string", "enum": ["en"]},
            "prompt": {"type": "string", "description": "accepted for compatibility; changes nothing"},
            "response_format": {"type": "string", "enum": list(FORMATS), "default": "json"},
            "temperature": {"type": "number", "description": "accepted for compatibility; decoding is greedy"},
        }}}}},
    "parameters": [{"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": words}
                   for name, words in {"X-User-Id": "who asks; kept as a keyed hash only",
                                       "X-Consent": "'audio' allows us to keep the recording and its words",
                                       "X-Device": "the phone", "X-App-Version": "the app"}.items()],
}
"""What the documentation page shows; the form is read by hand, so that limits hold before a body is read whole."""
