"""What an answer leaves unexplained is cut out of the letters heard, and known phrases are known when blurred."""

import numpy as np
import pytest

from workbench import catalogue, terms

KNOWN = terms.phrases(catalogue.queries(3000, np.random.default_rng(0))["text"])


@pytest.mark.parametrize(("letters", "answer", "piece"), [
    ("play onleverodryo", "play elton john", "onleverodryo"),
    ("best shak shuka in lundon", "best sushi in london", "shak shuka"),
    ("dua lepa tickets in paris", "adele tickets in paris", "dua lepa"),
    ("ply madona", "play madonna", ""),
    ("bs e", "best curry in dublin", ""),
    ("", "play madonna", ""),
    ("play something", "", ""),
])
def test_what_the_answer_does_not_explain_is_cut_out(letters: str, answer: str, piece: str) -> None:
    assert terms.unexplained(letters, answer) == piece


def test_one_name_spelled_in_many_ways_sounds_alike_and_others_do_not() -> None:
    ways = ["olivia rodrigo", "oliveea rodreego", "aliviarodrygo", "oleviya rodrego"]
    assert terms.likeness(ways, ways).min() > 0.5
    assert terms.likeness(["olivia rodrigo"], ["hazelbrook mall", "tiramisu", "bob marley"]).max() < 0.4


def test_phrases_are_all_runs_of_up_to_three_words() -> None:
    assert terms.phrases(["play bob marley now"]) == {
        "play", "bob", "marley", "now", "play bob", "bob marley", "marley now", "play bob marley", "bob marley now"}


