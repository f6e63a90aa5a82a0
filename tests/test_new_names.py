"""New names are found by how they sound, from letters alone, and what several users did not say stays unlisted."""

import numpy as np
import pandas as pd
import pytest
from simulated_log import week

from workbench import catalogue, new_names, terms

KNOWN = terms.phrases(catalogue.queries(3000, np.random.default_rng(0))["text"])
NAMES = [name for group in catalogue.NEW_ENTITIES.values() for name in group]


def correct(table: pd.DataFrame, window: pd.DataFrame) -> "pd.Series[str]":
    """Name for each listed term the new name that most of its queries held, "" where most held none."""
    said = window.set_index("request_id")["reference"]
    named = said.map(lambda text: next((name for name in NAMES if name in text), ""))
    return table["example_ids"].map(lambda ids: named.loc[list(ids)].mode()[0])


@pytest.mark.parametrize("seed", range(3))
def test_at_least_half_of_the_new_names_are_listed_and_at_most_a_third_is_wrong(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    before, now = week(rng, 1200), week(rng, 600, new_share=0.15)
    found = new_names.new_terms(now, reference=before, known_words=KNOWN)
    names = correct(found, now)
    assert names[names.ne("")].nunique() >= len(NAMES) / 2
    assert names.eq("").sum() <= len(found) / 3


@pytest.mark.slow
def test_pooled_over_weeks_three_of_four_names_are_listed_and_three_of_four_listed_are_right() -> None:
    n_found = n_listed = n_wrong = 0
    for seed in range(4):
        rng = np.random.default_rng([seed, 2])
        before, now = week(rng, 4_000), week(rng, 1_500, new_share=0.15)
        found = new_names.new_terms(now, reference=before, known_words=KNOWN)
        names = correct(found, now)
        n_found, n_listed, n_wrong = n_found + names[names.ne("")].nunique(), n_listed + len(found), n_wrong + sum(
            names.eq(""))
    assert n_found >= 0.75 * 4 * len(NAMES)
    assert n_wrong <= 0.25 * n_listed


def test_a_quiet_week_lists_next_to_nothing() -> None:
    rng = np.random.default_rng(2)
    assert len(new_names.new_terms(week(rng, 600), reference=week(rng, 1200), known_words=KNOWN)) <= 1


def test_a_catalogue_says_which_name_is_meant() -> None:
    rng = np.random.default_rng(3)
    now = week(rng, 600, new_share=0.15)
    found = new_names.new_terms(now, reference=week(rng, 1200), known_words=KNOWN, catalogue=NAMES)
    named = found["nearest"].ne("")
    assert named.mean() > 0.5
    assert (found["nearest"] == correct(found, now))[named].mean() > 0.9


def a_week_of(letters: list[str], users: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"request_id": [f"q{i}" for i in range(len(letters))], "user_hash": users, "ctc_gap": 0.9,
                         "hypothesis": "play elton john", "heard_letters": letters})


def test_a_term_that_few_users_said_is_not_listed() -> None:
    letters = ["play olivia rodrigo", "play olivea rodrego", "play olevia rodrigo", "play oliviya rodrigo"]
    quiet = week(np.random.default_rng(4), 100)
    two = new_names.new_terms(a_week_of(letters, ["a", "a", "b", ""]), reference=quiet, known_words=KNOWN)
    three = new_names.new_terms(a_week_of(letters, ["a", "b", "c", ""]), reference=quiet, known_words=KNOWN)
    assert two.empty
    assert three[["n_queries", "n_users", "n_reference"]].to_numpy().tolist() == [[4, 3, 0]]
    assert three["example_ids"][0] == ["q0", "q1", "q2", "q3"]


def test_a_term_that_was_as_frequent_before_is_not_new() -> None:
    said, rng = a_week_of(["play olivia rodrigo"] * 6, list("abcdef")), np.random.default_rng(5)
    now, before = pd.concat([said, week(rng, 60)]), pd.concat([said.assign(user_hash=list("uvwxyz")), week(rng, 60)])
    assert new_names.new_terms(now, reference=before, known_words=KNOWN, min_gap=0.5).empty
    assert len(new_names.new_terms(now, reference=before.iloc[5:], known_words=KNOWN, min_gap=0.5)) == 1


def test_what_is_typed_makes_what_is_heard_of_it_surer_and_alone_lists_nothing() -> None:
    letters = ["play olivia rodrigo", "play olivea rodrego", "play olevia rodrigo"]
    now, quiet = a_week_of(letters, ["a", "b", "c"]), week(np.random.default_rng(7), 100)
    typed = pd.DataFrame({"name": ["olivia rodrigo", "billie eilish"], "n_typed": [40, 90], "chance": 1e-6})
    unaided = new_names.new_terms(now, reference=quiet, known_words=KNOWN)
    aided = new_names.new_terms(now, reference=quiet, known_words=KNOWN, typed=typed)
    assert aided[["nearest", "n_typed", "n_users"]].to_numpy().tolist() == [["olivia rodrigo", 40, 3]]
    assert aided["chance"][0] < unaided["chance"][0]


def test_a_list_at_a_stricter_level_is_the_surer_part_of_the_same_list() -> None:
    rng = np.random.default_rng(8)
    before, now = week(rng, 1200), week(rng, 600, new_share=0.15)
    loose = new_names.new_terms(now, reference=before, known_words=KNOWN, level=0.1)
    strict = new_names.new_terms(now, reference=before, known_words=KNOWN, level=0.001)
    assert 0 < len(strict) < len(loose)
    assert set(strict["request_id"]) == set(loose.loc[loose["chance"] <= 0.001, "request_id"])


def test_a_rate_that_only_doubled_is_rarely_called_new() -> None:
    rng = np.random.default_rng(9)
    rates = rng.gamma(0.5, 1 / 2_000, size=20_000)  # as the prior says
    before, now = rng.poisson(rates * 3_000), rng.poisson(2 * rates * 1_500)
    assert (new_names.chance(now, before, (1_500, 3_000)) <= new_names.LEVEL).mean() <= new_names.LEVEL


@pytest.mark.parametrize(("nearest", "sentence"), [
    ("olivia rodrigo", "heard “onleverodryo” 37 times from 21 users, perhaps Olivia Rodrigo"),
    ("", "heard “onleverodryo” 37 times from 21 users, like nothing in the catalogue")])
def test_a_proposal_reads_as_a_sentence(nearest: str, sentence: str) -> None:
    term = {"term": "onleverodryo", "n_queries": 37, "n_users": 21, "nearest": nearest}
    assert new_names.describe(term) == sentence


def test_dropped_words_leave_nothing_to_find() -> None:
    rng = np.random.default_rng(6)
    now = week(rng, 300, new_share=0.2).assign(hypothesis="", heard_letters="")
    assert new_names.new_terms(now, reference=week(rng, 300), known_words=KNOWN).empty
