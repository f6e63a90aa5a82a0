"""What a decoder wrote over and over."""

import pytest
import whisper

from workbench import repetition


@pytest.mark.parametrize(("written", "said"), [
    ("flights from berlin" + 28 * " to", "flights from berlin to"),
    (9 * "weather in bern tomorrow ", "weather in bern tomorrow"),
    ("hm " + 40 * "la" + " play jazz", "hm la play jazz"),
    ("dial nine nine nine nine", "dial nine nine nine nine"),  # a query may say things over and over
    ("play" + 3 * " yeah" + " by usher", "play" + 3 * " yeah" + " by usher"),
    ("", ""),
])
def test_what_a_decoder_wrote_over_and_over_is_said_once_what_a_query_repeats_stays(written: str, said: str) -> None:
    assert repetition.said_once(written) == said


def test_a_text_compresses_as_whisper_says() -> None:
    for words in ("play jazz", "to " * 40, "größe"):
        assert repetition.compression_ratio(words) == whisper.utils.compression_ratio(words)
