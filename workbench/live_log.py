"""The running log as a page holds it: everything counted, and the rows of some users of the latest windows.

It is read on from the last row that was seen. What is counted stays true when users are forgotten, so it is kept in
`data/cache/monitoring` too; rows and words are held in memory alone.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from workbench import log_reading, storage
from workbench.log_reading import ALL, COUNTED, DAY_S, HOUR_S, N_SAMPLED, LogReader

N_WINDOWS = 8
"""Windows whose rows are held; older ones are counted only."""
LAST = "\uffff"  # behind every name
KEEP_EVERY = 20_000
"""Rows beyond those kept on the disk before they are kept again: half a second to count."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The log at a moment: counts (log_reading.COUNTED and n), rows (with `window`), and how many users were drawn.

    `shares` gives, by window, the share of users whose rows are here; `start_s` is when the first window begins.
    """

    counts: pd.DataFrame
    rows: pd.DataFrame
    shares: "pd.Series[float]"
    start_s: float
    last_row: int
    read_s: float

    @property
    def last_s(self) -> float:
        """The hour of the last query, or when it was asked where its row is here."""
        hours = _timely(self.counts, _end_s(self.counts, self.read_s))["hour"]
        return float(max(self.rows["time_s"].max(), hours.max() * HOUR_S))


class LiveLog:
    """Follows one log; `refresh` reads on."""

    def __init__(self, url: str = "", *, width_s: float = 7 * DAY_S, n_sampled: int = N_SAMPLED) -> None:
        """Point at a log. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self.reader, self._width_s, self._n_sampled = LogReader(url), width_s, n_sampled
        self._reading = Reading(_no_counts(), pd.DataFrame(), pd.Series(dtype=float), 0.0, 0, 0.0)

    @property
    def reading(self) -> Reading:
        """What was read last."""
        return self._reading

    def refresh(self) -> bool:
        """Read on. Returns: whether there was anything new. Raises: QueryLogError when the log does not answer."""
        before, last = self._reading, self.reader.last_row() if self.reader.is_there else 0
        if last == before.last_row:
            self._reading = replace(before, read_s=time.time())
            return False
        counts, seen = (before.counts, before.last_row) if before.last_row else self._kept(last)
        counts = _added(counts, self.reader.counts(seen, last)) if last > seen else counts
        if last - seen > KEEP_EVERY:
            self._keep(counts, last)
        self._reading = self._read(counts, last) if len(counts) else replace(before, read_s=time.time())
        return True

    def forget(self) -> None:
        """Begin anew, as when somebody was forgotten whose words are held here."""
        self._reading = Reading(_no_counts(), pd.DataFrame(), pd.Series(dtype=float), 0.0, 0, 0.0)

    def close(self) -> None:
        """Let go of the database."""
        self.reader.close()

    def _read(self, counts: pd.DataFrame, last: int) -> Reading:
        before, read_s = self._reading, time.time()
        end_s = _end_s(counts, read_s)
        timely = _timely(counts, end_s)
        start_s = before.start_s or timely["hour"].min() * HOUR_S // DAY_S * DAY_S
        sizes = timely["n"].groupby(((timely["hour"] * HOUR_S - start_s) // self._width_s).astype(int) + 1).sum()
        sizes = sizes[sizes.index > sizes.index.max() - N_WINDOWS]
        drawn = log_reading.n_drawn(sizes, self._n_sampled)
        read = self._first if before.rows.empty else self._next
        return Reading(counts, read(drawn, start_s, end_s, last), drawn / ALL, start_s, last, read_s)

    def _first(self, drawn: "pd.Series[int]", start_s: float, end_s: float, last: int) -> pd.DataFrame:
        """Read each window with its own share of users."""
        begins = [start_s + (window - 1) * self._width_s for window in drawn.index]
        parts = [self.reader.rows(up_to_row=last, since_s=begin, until_s=min(begin + self._width_s, end_s), n_of_all=n)
                 for begin, n in zip(begins, drawn, strict=True)]
        return self._numbered(pd.concat(parts, ignore_index=True), start_s)

    def _next(self, drawn: "pd.Series[int]", start_s: float, end_s: float, last: int) -> pd.DataFrame:
        """Read on, and thin windows that have grown too large."""
        before = self._reading
        fresh = self.reader.rows(after_row=before.last_row, up_to_row=last, until_s=end_s, n_of_all=int(drawn.max()))
        rows = pd.concat([before.rows, self._numbered(fresh, start_s)], ignore_index=True)
        limits = rows["window"].map(drawn).fillna(0)
        if (limits == ALL).all():
            return rows
        names = rows["user_hash"].where(rows["user_hash"].ne(""), rows["request_id"]).str[:4]
        limits = limits.astype(int).map(lambda n: LAST if n == ALL else f"{n:04x}")
        return rows[names < limits].reset_index(drop=True)

    def _numbered(self, rows: pd.DataFrame, start_s: float) -> pd.DataFrame:
        window = ((rows["time_s"] - start_s) // self._width_s).astype(int) + 1
        return rows.assign(window=window)

    # --- what is kept --------------------------------------------------------------------------------------------

    def _kept(self, last: int) -> tuple[pd.DataFrame, int]:
        """Find what was counted before. Returns: counts, and the last row that is in them."""
        path = self._path
        if not path.is_file():
            return _no_counts(), 0
        table = pd.read_parquet(path)
        seen = int(table["up_to_row"].iloc[0]) if len(table) else 0
        return (table.drop(columns="up_to_row"), seen) if 0 < seen <= last else (_no_counts(), 0)

    def _keep(self, counts: pd.DataFrame, last: int) -> None:
        storage.write_table(self._path, counts.assign(up_to_row=last))

    @property
    def _path(self) -> Path:
        named = storage.hash_value([self.reader.name, log_reading.COUNTED])[:16]
        return storage.cache_folder("monitoring") / f"{named}.parquet"


def _end_s(counts: pd.DataFrame, now_s: float) -> float:
    return log_reading.timely_until(counts["hour"].min() * HOUR_S, now_s)


def _timely(counts: pd.DataFrame, end_s: float) -> pd.DataFrame:
    return counts[counts["hour"] * HOUR_S < end_s]


def _no_counts() -> pd.DataFrame:
    return pd.DataFrame(columns=[*COUNTED, "n"]).astype({
        "hour": "int64", "model_version": "str", "error": "str", "is_empty": "int64", "latency_ms": "float64",
        "n": "int64"})


def _added(counts: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Add counts of further rows: an hour that is counted already grows."""
    if counts.empty or fresh.empty:
        return fresh if counts.empty else counts
    is_touched = counts["hour"].isin(set(fresh["hour"]))
    again = pd.concat([counts[is_touched], fresh]).groupby(list(COUNTED), as_index=False)["n"].sum()
    return pd.concat([counts[~is_touched], again], ignore_index=True)
