"""The small records that travel between parts: frozen, plain, without behaviour beyond their own words."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["yes", "no", "cannot_tell", "tie", "waiting", "done"]


def spoken(name: str) -> str:
    """Write the name of a number or a column for people: `n_words` is "words", `gate_wer` "gate WER"."""
    words = name.removeprefix("n_").replace("_", " ")
    return re.sub(r"\b(wer|cer)\b", lambda found: found[0].upper(), words)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; `note` says what keeps it from being trusted ("" when nothing does)."""

    value: float
    low: float
    high: float
    note: str = ""

    def percent(self, digits: int = 1) -> str:
        """Write it as people read it: `12.3 % (10.1-14.8)`."""
        value, low, high = (f"{100 * x:.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value} % ({low} to {high})"

    def points(self, digits: int = 1) -> str:
        """Write a difference in percentage points, signed: `-4.2 points (-6.0 to -2.5)`."""
        value, low, high = (f"{100 * x:+.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value} points ({low} to {high})"

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for a JSON record."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EditCounts:
    """Errors of one utterance or one set against `n_words` reference words."""

    n_sub: int
    n_del: int
    n_ins: int
    n_words: int

    @property
    def n_errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.n_sub + self.n_del + self.n_ins


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a recognizer wrote for one recording.

    `avg_logprob` is the mean natural log-probability a token, and `compression_ratio` how many times as short what was
    written can be said; `text` says once what was written over and over (`repetition.said_once`). `heard_letters` is
    what the character head heard ("" without one) and `ctc_gap` how much better those free letters fit the sound than
    `text` does, in nats a character (nan without a head). `word_times` is JSON: [word, start_s, end_s] of each of its
    words, where they were asked for. `biased_from` is what the decoder wrote where a name of the biasing list took the
    place of some of it ("" where none did): `avg_logprob`, `no_speech_prob` and `compression_ratio` are of that,
    `ctc_gap` is of `text`.
    """

    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    heard_letters: str = ""
    ctc_gap: float = float("nan")
    word_times: str = ""
    biased_from: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a stage concludes: an outcome and one plain sentence that gives its number and interval."""

    outcome: Outcome
    sentence: str
