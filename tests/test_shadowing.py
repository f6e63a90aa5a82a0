"""Champion and challenger on the same queries, by hand."""

import pandas as pd
import pytest

from workbench import shadowing

PAIRS = pd.DataFrame([
    ("a", "u1", "1", "play adele", "2", "Play Adele!"),  # the same, once written alike
    ("b", "u1", "1", "play a dell", "2", "play adele"),  # the challenger is right
    ("c", "u2", "1", "call mum", "2", "call tom"),  # the champion is right
    ("d", "u3", "1", "best tacos", "2", "best talk"),  # both are wrong
    ("e", "u4", "1", "green park", "2", "queen park"),  # nobody knows
    ("f", "u5", "1", "news", "9", "noon"),  # another challenger, before this one
], columns=["request_id", "user_hash", "model_version", "hypothesis", "shadow_version", "shadow_hypothesis"])
LABELLED = pd.DataFrame({"request_id": ["a", "b", "c", "d"],
                         "reference": ["play adele", "play adele", "call mum", "west tacos"]})


def test_won_and_lost_are_told_where_somebody_wrote_down_what_was_said() -> None:
    found = shadowing.compare(PAIRS, LABELLED)
    assert found is not None and (found.version, found.shadow_version, found.n_queries) == ("1", "2", 5)
    assert dict(zip(found.differing["request_id"], found.differing["outcome"], strict=True)) == {
        "b": "won", "c": "lost", "d": "both wrong", "e": "differs"}
    assert found.agreement.value == pytest.approx(0.2) and found.agreement.low < 0.2 < found.agreement.high
    assert "20.0 %" in shadowing.sentence(found) and "won 1 and lost 1" in shadowing.sentence(found)


def test_without_labels_nobody_has_won() -> None:
    found = shadowing.compare(PAIRS, LABELLED.head(0))
    assert found is not None and set(found.differing["outcome"]) == {"differs"}
    assert "not known" in shadowing.sentence(found)


def test_without_a_challenger_there_is_nothing_to_compare() -> None:
    assert shadowing.compare(PAIRS.head(0), LABELLED) is None
