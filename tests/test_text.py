"""The normalizer made for queries."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import text as text_module
from workbench.errors import ParameterError
from workbench.text import NORMALIZERS, normalize, words


@pytest.mark.parametrize(("written", "spoken"), [
    ("Play Some JAZZ!", "play some jazz"),
    ("don’t stop — the O'Neills’ song", "don't stop the o'neills song"),
    ("what's at 5 o‘clock", "what's at five o'clock"),
    ("rock 'n' roll", "rock n roll"),
    ("salt & pepper, 50% off", "salt and pepper fifty percent off"),
    ("follow-up", "follow up"),
    ("main st", "main st"),
    ("gen z", "gen z"),
    ("p.m. in the U.S.", "pm in the us"),
    ("  tabs\tand\u00a0spaces ", "tabs and spaces"),
    ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
    ("cafe\u0301", "café"),
    ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
    ("हिन्दी गाने", "हिन्दी गाने"),
    ("pizza ❤️", "pizza"), ("5️⃣ stars", "five stars"), ("👩🏽‍🍳 near me ☎︎", "near me"), ("❤️", ""),
    ("play \u0301 jazz", "play jazz"), ("'\u0301", ""),
    ("", ""),
    ("?!", ""),
])
def test_a_query_is_compared_in_lower_case_without_punctuation(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


@pytest.mark.parametrize(("written", "spoken"), [
    ("5", "five"), ("13", "thirteen"), ("42", "forty two"), ("100", "one hundred"), ("0", "zero"),
    ("2024", "two thousand twenty four"), ("1,250,000", "one million two hundred fifty thousand"),
    ("3rd", "third"), ("21st", "twenty first"), ("40th", "fortieth"), ("112th", "one hundred twelfth"),
    ("7:30", "seven thirty"), ("7:05", "seven oh five"), ("7:00 pm", "seven pm"), ("7pm", "seven pm"),
    ("90s", "nineties"), ("3.5", "three point five"), ("20-30", "twenty thirty"), ("4x4", "four x four"),
    ("$20", "twenty dollars"), ("£1", "one pound"), ("$4.50", "four dollars fifty"),
    ("It costs $5.", "it costs five dollars"), ("$5.50.", "five dollars fifty"),
    ("turn it to 21.5.", "turn it to twenty one point five"), ("$5.505", "five point five zero five"),
    ("$5.5", "five point five"), ("1.2.3.", "one two point three"),
    ("007", "zero zero seven"), ("4155550123", "four one five five five five zero one two three"),
])
def test_numbers_are_written_as_they_are_spoken(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


@given(st.text(max_size=40) | st.text("0123456789.,:'’-$%& apmst\u0301\ufe0f\u20e3", max_size=20))
def test_normalizing_twice_changes_nothing_and_leaves_only_words(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once == " ".join(words(once))
    assert not any(c in "0123456789" for c in once)
    assert all(c in " '" or unicodedata.category(c)[0] in "LMN" for c in once)
    assert all(any(unicodedata.category(c)[0] in "LN" for c in word) for word in words(once))


@given(st.text("abz'  \t\n.-5’é", max_size=12) | st.from_regex(r"[a-z' ]{0,12}", fullmatch=True) | st.text(max_size=12))
def test_what_is_normal_already_is_seen_at_once_and_all_rules_would_leave_it_as_it_is(text: str) -> None:
    assert normalize(text) == text_module._normalize_query(text)


def test_plain_words_are_seen_to_be_normal_without_trying_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(text_module, "_normalize_query")
    assert normalize("don't stop the music") == "don't stop the music"


def test_whispers_english_normalizer_is_there_by_name_with_its_known_faults() -> None:
    assert normalize("five o'clock", "whisper-english") == "50 clock"
    assert normalize("Main St.", "whisper-english") == "main saint"


def test_whispers_basic_normalizer_keeps_digits_and_drops_marks() -> None:
    assert normalize("Hello, 5 o'clock!", "whisper-basic") == "hello 5 o clock"


def test_an_unknown_normalizer_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ParameterError, match="choose one of " + ", ".join(NORMALIZERS)):
        normalize("hello", "query-0")


def test_normalizing_queries_loads_neither_torch_nor_whisper() -> None:
    code = ("import sys; from workbench import text, scoring, intervals, slicing; text.normalize('hi 5'); "
            "assert not {'torch', 'whisper'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
