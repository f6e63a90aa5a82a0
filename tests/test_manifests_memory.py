"""Memory grows with the rows of a manifest, and no faster than docs/large-corpora.md says."""

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SMALL, LARGE = 10_000, 50_000
"""Rows: what a step holds of both alike, the libraries and its own parts, falls out of the difference."""
BYTES_A_ROW = 2_000
"""What the page says of a million rows. Source: docs/large-corpora.md, MB at 1,000,000 less those at 100,000."""
MARGIN = 2.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_step_from_manifest_to_training_takes_more_memory_a_row_than_the_page_says(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))  # where it lies when it runs as a program
    from benchmarks import manifests as benchmark

    peaks_mb = {}
    for n in (SMALL, LARGE):
        rows = benchmark.of_size(tmp_path / str(n), n, ("read", "collect", "card", "start", "grow"))
        peaks_mb[n] = {str(row["step"]): float(str(row["peak_mb"])) for row in rows}
    a_row = {step: (most_mb - peaks_mb[SMALL][step]) * 1e6 / (LARGE - SMALL)
             for step, most_mb in peaks_mb[LARGE].items()}
    assert {"read parquet", "heard before", "save", "data card", "load", "order", "extend", "correct"} <= set(a_row)
    assert not {step: n_bytes for step, n_bytes in a_row.items() if n_bytes > MARGIN * BYTES_A_ROW}, a_row
    assert max(a_row.values()) > BYTES_A_ROW / MARGIN / 2, "the page says too much"
