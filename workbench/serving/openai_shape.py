"""Requests, answers and errors in OpenAI's shape, so that its clients work unchanged. No audio and no model here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response

from workbench.records import Hypothesis

FORMATS = ("json", "text", "verbose_json")
LANGUAGES: Mapping[str, str] = {
    "en": "english", "zh": "chinese", "de": "german", "es": "spanish", "ru": "russian", "ko": "korean", "fr": "french",
    "ja": "japanese", "pt": "portuguese", "tr": "turkish", "pl": "polish", "ca": "catalan", "nl": "dutch",
    "ar": "arabic", "sv": "swedish", "it": "italian", "id": "indonesian", "hi": "hindi", "fi": "finnish",
    "vi": "vietnamese", "he": "hebrew", "uk": "ukrainian", "el": "greek", "ms": "malay", "cs": "czech",
    "ro": "romanian", "da": "danish", "hu": "hungarian", "ta": "tamil", "no": "norwegian", "th": "thai", "ur": "urdu",
    "hr": "croatian", "bg": "bulgarian", "lt": "lithuanian", "la": "latin", "mi": "maori", "ml": "malayalam",
    "cy": "welsh", "sk": "slovak", "te": "telugu", "fa": "persian", "lv": "latvian", "bn": "bengali", "sr": "serbian",
    "az": "azerbaijani", "sl": "slovenian", "kn": "kannada", "et": "estonian", "mk": "macedonian", "br": "breton",
    "eu": "basque", "is": "icelandic", "hy": "armenian", "ne": "nepali", "mn": "mongolian", "bs": "bosnian",
    "kk": "kazakh", "sq": "albanian", "sw": "swahili", "gl": "galician", "mr": "marathi", "pa": "punjabi",
    "si": "sinhala", "km": "khmer", "sn": "shona", "yo": "yoruba", "so": "somali", "af": "afrikaans", "oc": "occitan",
    "ka": "georgian", "be": "belarusian", "tg": "tajik", "sd": "sindhi", "gu": "gujarati", "am": "amharic",
    "yi": "yiddish", "lo": "lao", "uz": "uzbek", "fo": "faroese", "ht": "haitian creole", "ps": "pashto",
    "tk": "turkmen", "nn": "nynorsk", "mt": "maltese", "sa": "sanskrit", "lb": "luxembourgish", "my": "myanmar",
    "bo": "tibetan", "tl": "tagalog", "mg": "malagasy", "as": "assamese", "tt": "tatar", "haw": "hawaiian",
    "ln": "lingala", "ha": "hausa", "ba": "bashkir", "jw": "javanese", "su": "sundanese", "yue": "cantonese",
}
"""What OpenAI's API calls a language, by its code. Source: whisper.tokenizer.LANGUAGES, whose package loads PyTorch."""
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
    language: str
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
    response_format = _field(form, "response_format") or "json"
    if response_format not in FORMATS:
        raise ApiError(400, f"response_format {response_format[:20]!r} is not served; choose one of "
                       f"{', '.join(FORMATS)}", param="response_format", code="unsupported_format")
    if "word" in form.getlist("timestamp_granularities[]"):
        raise ApiError(400, "word timestamps are not served; leave timestamp_granularities out or send 'segment'",
                       param="timestamp_granularities", code="unsupported_granularity")
    return TranscriptionRequest(file, model, _field(form, "language"), response_format)


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise ApiError(400, f"the form field {name!r} is a file; send it as text", param=name, code="invalid_field")
    return value.strip()


def language_name(code: str) -> str:
    """Name a language as OpenAI's API does; one that it has no name for by its code."""
    return LANGUAGES.get(code, code)


def require_language(wanted: str, code: str) -> None:
    """Make sure that a model hears what is spoken, by its code or name; "" leaves it to the model.

    Raises: ApiError, status 400, which says what the model hears.
    """
    if wanted.lower() not in ("", code, language_name(code)):
        raise ApiError(400, f"language {wanted[:20]!r} is not served; this model hears {language_name(code).title()}, "
                       f"send {code!r} or nothing", param="language", code="unsupported_language")


def answer(hypothesis: Hypothesis, duration_s: float, response_format: str, *, language: str) -> Response:
    """Write a hypothesis in the form that was asked for; `language` is the code of what its model hears."""
    if response_format == "text":
        return PlainTextResponse(hypothesis.text + "\n")
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    content: dict[str, Any] = {"text": hypothesis.text, "usage": usage}
    if response_format == "verbose_json":
        content |= {"task": "transcribe", "language": language_name(language), "duration": round(duration_s, 3),
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
            "language": {"type": "string", "description": "what the model hears, as de or german; nothing will do"},
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
