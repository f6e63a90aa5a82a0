"""Whether an answer finds what its query would have found."""

import pandas as pd

from workbench import finding
from workbench.finding import Index


def test_the_nearest_entry_shares_the_rarest_words() -> None:
    index = Index(["weather in oslo today", "weather in rome today", "songs by adele", "songs by adele"])
    assert len(index.entries) == 3
    assert index.find(["the weather in oslo", "adele", "songs", "xyz"]) == [
        "weather in oslo today", "songs by adele", "songs by adele", ""]


def test_the_order_of_words_tells_entries_apart() -> None:
    index = Index(["flights from oslo to rome", "flights from rome to oslo"])
    assert index.find(["flight from rome to oslo"]) == ["flights from rome to oslo"]


def scored(rows: list[tuple[str, str]], **more: list[bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["reference", "hypothesis"]).assign(**more)


def test_a_harmless_mistake_finds_the_same_and_another_name_does_not() -> None:
    table = scored([("is there a bakery open today", "is there bakery open today"), ("play adele", "play adele"),
                    ("weather in oslo today", "weather in austin today"), ("play adele", ""), ("", "")])
    assert finding.finds_same(table).tolist() == [True, True, False, False, True]


def test_a_wrong_name_finds_something_else_even_where_the_index_knows_nothing_nearer() -> None:
    table = scored([("ring up zanzibar now", "ring up zanzi now")], is_entity_right=[False])
    assert finding.finds_same(table.drop(columns="is_entity_right")).tolist() == [True]
    assert finding.finds_same(table).tolist() == [False]
