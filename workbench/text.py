"""The words of a query as they are compared: one versioned normalizer made for queries.

Whisper's own normalizers are here by name, for published numbers only, and are loaded on demand: they need torch and
turn "five o'clock" into "50 clock". What changes here changes every WER: give it a new version name.
"""

import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache

from workbench.errors import ParameterError

NORMALIZER_VERSION = "query-3"
NORMALIZERS = (NORMALIZER_VERSION, "whisper-english", "whisper-basic")

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound"}

_MAX_CARDINAL_DIGITS = 9
"""Longer numbers are telephone numbers, read digit by digit; so are those that begin with a zero."""

_PLAIN = frozenset(string.ascii_lowercase + "' ")
_IS_NORMAL = re.compile(r"[a-z]+(?:[' ][a-z]+)*")
"""What all rules leave as it is, and most of what recognizers write: seeing so costs a fiftieth of trying them all."""
_AS_SPOKEN = str.maketrans(dict.fromkeys("’‘ʼ`´′＇", "'") | dict.fromkeys(map(chr, range(0xFE00, 0xFE10)), ""))
"""One apostrophe for all; variation selectors, left of an emoji whose picture is gone, are marks of no letter."""
_LETTER_OR_NUMBER = re.compile(r"[^\W_]")


def normalize(text: str, normalizer: str = NORMALIZER_VERSION) -> str:
    """Write a query as it is compared: lower case, numbers as spoken, no punctuation but apostrophes inside words.

    Letters keep their accents. Normalizing twice changes nothing more (query-3).
    Raises: ParameterError for a normalizer that does not exist.
    """
    if normalizer == NORMALIZER_VERSION:
        return text if _IS_NORMAL.fullmatch(text) else _normalize_query(text)
    if normalizer not in NORMALIZERS:
        raise ParameterError(f"normalizer is {normalizer!r}; choose one of {', '.join(NORMALIZERS)}")
    return _whisper_normalizer(normalizer)(text).strip()


def words(text: str) -> list[str]:
    """Split a normalized text into its words."""
    return text.split()


def spelling(text: str) -> str:
    """Spell a text with plain letters, apostrophes and spaces alone, as a character head hears it: accents are gone."""
    plain = unicodedata.normalize("NFKD", normalize(text))
    return " ".join("".join(c for c in plain if c in _PLAIN).split())


@cache
def _whisper_normalizer(name: str) -> Callable[[str], str]:
    from whisper import normalizers  # loads torch, so only when asked for

    made = normalizers.EnglishTextNormalizer() if name == "whisper-english" else normalizers.BasicTextNormalizer()
    return lambda text: str(made(text))


def _normalize_query(text: str) -> str:
    text = _fold_letters(text)
    text = text.replace("&", " and ").replace("%", " percent ")
    text = re.sub(r"(?<!\w)[a-z](?:\.[a-z])+(?!\w)\.?", lambda m: m[0].replace(".", ""), text)  # p.m. -> pm
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"([$€£])\s?(\d+)(?:\.(\d\d))?(?!\d|\.\d)", _say_money, text)
    text = re.sub(r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])", _say_time, text)
    text = re.sub(r"(\d+)\.(\d+)(?!\d|\.\d)", lambda m: f" {_cardinal(m[1])} point {_digits(m[2])} ", text)
    text = re.sub(r"(\d+)(st|nd|rd|th)(?![^\W\d_])", lambda m: f" {_ordinal(m[1])} ", text)
    text = re.sub(r"(\d+)'?s(?![^\W\d_])", lambda m: f" {_plural(_cardinal(m[1]))} ", text)
    text = re.sub(r"[0-9]+", lambda m: f" {_cardinal(m[0])} ", text)
    return _strip_punctuation(text)


def _fold_letters(text: str) -> str:
    text = "".join(c for c in text.translate(_AS_SPOKEN)
                   if unicodedata.category(c) not in ("Cf", "Me"))
    text = unicodedata.normalize("NFKC", text).translate(_AS_SPOKEN)
    return unicodedata.normalize("NFKC", text.lower())


def _strip_punctuation(text: str) -> str:
    """Keep letters, the marks that belong to them, numbers, and apostrophes between two of those."""
    text = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    text = re.sub(r"'+", "'", text)
    spoken = re.sub(r"(?<!\S)'|'(?!\S)", " ", text).split()
    return " ".join(filter(_LETTER_OR_NUMBER.search, spoken))


def _digits(number: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in number)


def _cardinal(number: str) -> str:
    is_long = len(number) > _MAX_CARDINAL_DIGITS
    return _digits(number) if is_long or (number[0] == "0" and len(number) > 1) else _spell(int(number))


def _spell(number: int) -> str:
    for scale, name in _SCALES:
        if number >= scale:
            rest = f" {_spell(number % scale)}" if number % scale else ""
            return f"{_spell(number // scale)} {name}{rest}"
    if number < len(_ONES):
        return _ONES[number]
    return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")


def _ordinal(number: str) -> str:
    *head, last = _cardinal(number).split()
    stem = last[:-1] + "ie" if last.endswith("y") else last
    return " ".join([*head, _ORDINALS.get(last, stem + "th")])


def _plural(spoken: str) -> str:
    return re.sub(r"y$", "ie", spoken) + ("es" if spoken.endswith("x") else "s")


def _say_money(match: re.Match[str]) -> str:
    unit = _CURRENCIES[match[1]] + ("" if int(match[2]) == 1 else "s")
    small = f" {_cardinal(match[3].lstrip('0'))}" if match[3] and int(match[3]) else ""
    return f" {_cardinal(match[2])} {unit}{small} "


def _say_time(match: re.Match[str]) -> str:
    hour, minute = _spell(int(match[1])), match[2]
    if minute == "00":
        return f" {hour} "
    return f" {hour} {'oh ' if minute[0] == '0' else ''}{_spell(int(minute))} "
