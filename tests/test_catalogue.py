"""The queries of the demo world: enough forms and words, entities where they belong, texts as normalized."""

import numpy as np
import pandas as pd
import pytest

from workbench import catalogue, text


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    return catalogue.queries(3_000, np.random.default_rng(0))


def test_there_are_twenty_forms_and_a_small_vocabulary() -> None:
    assert sum(map(len, catalogue.TEMPLATES.values())) == 20
    assert 200 <= len(catalogue.vocabulary()) <= 230


def test_every_word_of_the_vocabulary_is_said_sooner_or_later(drawn: pd.DataFrame) -> None:
    assert {word for query in drawn["text"] for word in query.split()} == set(catalogue.vocabulary())


def test_the_same_seed_asks_the_same(drawn: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(drawn, catalogue.queries(3_000, np.random.default_rng(0)))


def test_the_entity_is_in_the_query_and_of_its_type(drawn: pd.DataFrame) -> None:
    for row in drawn.itertuples():
        assert f" {row.entity} " in f" {row.text} "
        assert row.entity in catalogue.ENTITIES[str(row.entity_type)]


def test_texts_are_what_the_normalizer_would_leave(drawn: pd.DataFrame) -> None:
    assert [text.normalize(query) for query in drawn["text"]] == list(drawn["text"])


def test_nobody_flies_from_a_city_to_itself(drawn: pd.DataFrame) -> None:
    flights = drawn["text"].str.extract(r"flights from (.+) to (.+)").dropna()
    assert len(flights) > 50
    assert (flights[0] != flights[1]).all()


def test_every_form_is_about_equally_frequent(drawn: pd.DataFrame) -> None:
    share = drawn["intent"].value_counts(normalize=True)
    for intent, forms in catalogue.TEMPLATES.items():
        assert share[intent] == pytest.approx(len(forms) / 20, abs=0.03)


def test_new_names_can_enter_the_catalogue() -> None:
    week_three = {**catalogue.ENTITIES, "artist": ("nova lune",)}
    asked = catalogue.queries(500, np.random.default_rng(0), entities=week_three)
    assert set(asked.loc[asked["entity_type"] == "artist", "entity"]) == {"nova lune"}
    assert "lune" in catalogue.vocabulary(week_three) and "adele" not in catalogue.vocabulary(week_three)


def test_no_word_of_the_new_names_is_known_before() -> None:
    words = [word for names in catalogue.NEW_ENTITIES.values() for name in names for word in name.split()]
    assert sum(map(len, catalogue.NEW_ENTITIES.values())) == 12
    assert len(set(words)) == len(words) and not set(words) & set(catalogue.vocabulary())
    assert [text.normalize(word) for word in words] == words


def test_queries_about_a_type_have_it_for_their_entity() -> None:
    drawn = catalogue.queries(200, np.random.default_rng(0), about={"artist", "food"})
    assert set(drawn["entity_type"]) == {"artist", "food"}
