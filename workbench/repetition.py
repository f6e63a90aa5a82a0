"""Answers that a decoder wrote over and over, having missed their end: how they are told, and what is made of them."""

import re
import zlib

MAX_COMPRESSION = 2.4
"""An answer that compresses better repeats itself. Source: whisper.transcribe, compression_ratio_threshold."""
LOOP = re.compile(r"(.+?)\1{2,}")
"""The shortest stretch that is said at least three times in a row."""


def compression_ratio(words: str) -> float:
    """Say how much shorter a text becomes: one that repeats itself becomes much shorter.

    Source: whisper.utils.compression_ratio.
    """
    content = words.encode("utf-8")
    return len(content) / len(zlib.compress(content))


def said_once(words: str) -> str:
    """Say once what an answer says over and over; one that does not repeat itself stays as it is.

    Whisper decodes such a clip anew with more and more chance, five times at most; a query is answered at once, and
    the same whenever it is heard.
    """
    return LOOP.sub(r"\1", f" {words}").strip() if compression_ratio(words) > MAX_COMPRESSION else words
