"""The models that answer: loaded beside those in use, warmed, and swapped in one assignment; so is the biasing list."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from workbench import biasing
from workbench.audio import SAMPLE_RATE_HZ
from workbench.errors import QueryLogError, ServiceError
from workbench.name_list import Entry
from workbench.recognizing import Recognizer, ShortContextRecognizer
from workbench.serving.openai_shape import ALIASES, ApiError, require_language

Role = Literal["champion", "canary", "shadow"]

WARM_UP_S = (1.0, 3.0)
"""Silence of these lengths is decoded before a model's first query: first calls allocate and are slow."""

RETRY_S = 10.0
"""How often a model that could not be loaded is tried again."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where models come from: which ones should answer now, and how to load one."""

    def state(self) -> Mapping[str, Any]:
        """Give aliases with their versions, and challenger_mode and share, in milliseconds."""
        ...

    def load(self, version: str) -> Recognizer:
        """Load a version."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, and the names that its answers are held against."""

    version: str
    recognizer: Recognizer
    names: tuple[Entry, ...] = ()

    @property
    def language(self) -> str:
        """Give the code of the language that it hears."""
        model = self.recognizer
        return model.language if isinstance(model, ShortContextRecognizer) else ShortContextRecognizer.language

    def biased(self, entries: Sequence[Entry]) -> "Loaded":
        """Give the model with those names of the list that it needs; one without a character head can use none."""
        names = tuple(entry for entry in entries if entry.is_for(self.version))
        model = self.recognizer
        if names == self.names or not (isinstance(model, ShortContextRecognizer) and model.has_head):
            return self
        return replace(self, recognizer=model.biased(biasing.served({e.name: e.sounds for e in names})), names=names)


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who answers: the champion, and a challenger unseen (shadow) or for a share of users (canary)."""

    champion: Loaded
    challenger: Loaded | None = None
    mode: str = ""
    share: float = 0.0

    @property
    def loaded(self) -> dict[str, Loaded]:
        """All models in memory by version."""
        return {model.version: model for model in (self.champion, self.challenger) if model is not None}

    def pick(self, wanted: str, user: str, language: str = "") -> tuple[Loaded, Role]:
        """Choose who answers a query.

        Raises: ApiError, status 404, for a model that is not served, 400 when who would answer hears no such language.
        """
        model, role = self._picked(wanted, user)
        require_language(language, model.language)
        return model, role

    def _picked(self, wanted: str, user: str) -> tuple[Loaded, Role]:
        if wanted in ALIASES:
            if self.challenger is not None and self.mode == "canary" and self._draw(user) < self.share:
                return self.challenger, "canary"
            return self.champion, "champion"
        if wanted not in self.loaded:
            raise ApiError(404, f"no model {wanted[:60]!r} is served here; there are {', '.join(self.names())}",
                           param="model", code="model_not_found")
        model = self.loaded[wanted]
        return model, "champion" if model is self.champion else "canary"

    def names(self) -> list[str]:
        """Name everything that `model` may be."""
        return [*ALIASES, *self.loaded]

    def _draw(self, user: str) -> float:
        """Give a user's number between 0 and 1, the same for as long as the challenger stays."""
        assert self.challenger is not None
        digest = hashlib.sha256(f"{self.challenger.version}:{user}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


class LiveModels:
    """Follows a source and the biasing list: `lineup` is whoever answers now, `problem` why it is not who should."""

    def __init__(self, source: Source, names: Callable[[], Sequence[Entry]] = tuple) -> None:
        self._source, self._state, self._failed_at_s = source, dict[str, Any](), -RETRY_S
        self._names, self._entries = names, tuple[Entry, ...]()
        self.lineup: Lineup | None = None
        self.problem = "the model is being loaded"

    def poll(self) -> bool:
        """Look for a change and follow it; takes as long as loading does, so call it away from the event loop.

        Returns: whether the lineup changed.
        """
        try:
            state, entries = dict(self._source.state()), self._listed()
            is_retry = bool(self.problem) and time.monotonic() - self._failed_at_s >= RETRY_S
            if (state, entries) == (self._state, self._entries) and not is_retry:
                return False
            self._state, self._entries = state, entries
            before, self.lineup = self.lineup, self._follow(state)
            self.problem = ""
            return before != self.lineup
        except Exception as error:  # a damaged model raises anything; those that are loaded go on answering
            self._failed_at_s = time.monotonic()
            self.problem = f"{error}" if str(error) else type(error).__name__
            log.warning("model change failed: %s", self.problem)
            return False

    def _listed(self) -> tuple[Entry, ...]:
        """Read the biasing list; while it cannot be read, answers are held against the names that there were."""
        try:
            return tuple(self._names())
        except QueryLogError as error:
            log.warning("the biasing list cannot be read: %s", error)
            return self._entries

    def _follow(self, state: Mapping[str, Any]) -> Lineup:
        if not state.get("champion"):
            raise ServiceError("no model is the champion yet; `workbench promote VERSION`, or serve --model RUN")
        champion = self._ready(str(state["champion"]))
        if self.lineup is None or self.lineup.champion.version != champion.version:
            self.lineup = Lineup(champion)  # a challenger that cannot be loaded must not hold up a champion
        if not state.get("challenger") or state["challenger"] == champion.version:
            return Lineup(champion)
        mode, share = str(state.get("challenger_mode") or "shadow"), float(state.get("share") or 0.0)
        return Lineup(champion, self._ready(str(state["challenger"])), mode, share)

    def _ready(self, version: str) -> Loaded:
        if self.lineup is not None and version in self.lineup.loaded:
            return self.lineup.loaded[version].biased(self._entries)
        recognizer = self._source.load(version)
        for seconds in WARM_UP_S:
            recognizer.transcribe([np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)])
        return Loaded(version, recognizer).biased(self._entries)
