"""Typed queries: names that the model has not learned and that are typed more than before, read from dated lists."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import catalogue, terms, typed_queries
from workbench.errors import ManifestError

KNOWN = terms.phrases(catalogue.queries(3000, np.random.default_rng(0))["text"])


def typed(counts: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Type each query so often before and since the second day, among a thousand known ones a day."""
    rows = [(day, query, n) for query, both in {**counts, "play madonna": (1000, 1000)}.items()
            for day, n in zip(("2026-01-12", "2026-01-19"), both, strict=True) if n]
    return pd.DataFrame(rows, columns=["date", "query", "n"]).assign(date=lambda rows: pd.to_datetime(rows["date"]))


def test_a_name_that_is_typed_much_more_rises_and_one_as_frequent_as_before_does_not() -> None:
    found = typed_queries.rising(typed({"play olivia rodrigo": (0, 9), "olivia rodrigo tickets in boston": (0, 4),
                                        "best gnocchi in oslo": (10, 9)}), since="2026-01-19", known_words=KNOWN)
    assert found[["name", "n_typed", "n_before"]].to_numpy().tolist() == [["olivia rodrigo", 13, 0]]
    assert found["chance"][0] < 0.001


def test_chance_alone_lets_few_names_rise() -> None:
    rng = np.random.default_rng(1)
    names = ["".join(rng.choice(list("bcdfgklmnprst"), size=7)) for _ in range(1000)]
    steady = typed({f"play {name}": tuple(rng.poisson(6, size=2)) for name in names})
    assert len(typed_queries.rising(steady, since="2026-01-19", known_words=KNOWN)) <= 20  # the level, of a thousand


def test_nothing_typed_lets_nothing_rise() -> None:
    assert typed_queries.rising(typed({}), since="2026-01-19", known_words=KNOWN).empty


def test_a_file_is_read_with_and_without_counts(tmp_path: Path) -> None:
    path = tmp_path / "typed.csv"
    path.write_text("date,query,n\n2026-01-19,Play Lizzo!,3\n")
    assert typed_queries.read(path).to_numpy().tolist() == [[pd.Timestamp("2026-01-19"), "play lizzo", 3]]
    path.write_text("date,query\n2026-01-19,null\n")
    assert typed_queries.read(path).to_numpy().tolist() == [[pd.Timestamp("2026-01-19"), "null", 1]]


@pytest.mark.parametrize(("content", "what_to_do"), [
    ("day,query\n2026-01-19,play lizzo\n", "date is missing"),
    ("date,query,n\n2026-01-19,play lizzo,3\nyesterday,play lizzo,3\n", ":3: found .* wanted a date like"),
    ("date,query,n\n2026-01-19,play lizzo,0\n", ":2: found .* a count above 0"),
    ("", "no readable CSV"),
])
def test_a_file_that_cannot_be_read_says_what_to_mend(tmp_path: Path, content: str, what_to_do: str) -> None:
    path = tmp_path / "typed.csv"
    path.write_text(content)
    with pytest.raises(ManifestError, match=what_to_do):
        typed_queries.read(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no readable CSV"):
        typed_queries.read(tmp_path / "none.csv")
