"""Queries that were asked again, by hand."""

import math

import pandas as pd

from workbench import rephrasing

ROWS = pd.DataFrame([
    ("ada", 0.0, "play a dell", "", 0.8, 1.0),  # asked again after 20 s, much alike
    ("ada", 20.0, "play adele", "", 0.8, 0.0),  # what follows is too late
    ("ada", 90.0, "play adele", "", 0.8, 0.0),  # what follows is something else
    ("ada", 100.0, "weather in oslo today", "", 0.8, 0.0),
    ("ben", 5.0, "", "", 0.0, 1.0),  # an empty answer, and a query after it
    ("ben", 15.0, "", "model_error", math.nan, 1.0),  # an error, and a query after it
    ("ben", 30.0, "pizza near me", "", 0.8, 0.0),  # another user's query follows
    ("cyd", 31.0, "pizza near me", "", 0.8, 0.0),
    ("", 40.0, "best tacos", "", 0.8, math.nan),  # nobody knows whose it is
    ("", 41.0, "best tacos", "", 0.8, math.nan),
    ("dan", 50.0, "", "", 0.8, math.nan),  # its words were dropped
    ("dan", 55.0, "best tacos", "", 0.8, 0.0),
], columns=["user_hash", "time_s", "hypothesis", "error", "compression_ratio", "expected"])


def test_a_query_is_asked_again_when_its_user_soon_asks_much_the_same_or_got_nothing() -> None:
    pd.testing.assert_series_equal(rephrasing.rephrased(ROWS), ROWS["expected"], check_names=False)


def test_the_order_of_rows_is_irrelevant() -> None:
    mixed = ROWS.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(rephrasing.rephrased(mixed), ROWS["expected"], check_names=False)
