"""Production watched window by window: what came in, how it was answered, what moved, and which stage should reopen.

Tables of the query log in, a report out. Nothing here knows what people said, but for labels that came in; words never
leave for a page, but for terms that several users said. No torch, so that the dashboard stays light.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workbench import auditing, drift, expected_wer, intervals, new_names, terms, typed_queries
from workbench.datasets import Dataset
from workbench.drift import DriftResult
from workbench.errors import ServiceError
from workbench.expected_wer import Calibration
from workbench.gates import Target
from workbench.log_reading import LOAD_TEST as LOAD_TEST  # what deploy's own queries carry
from workbench.records import Decision, Interval

DAY_S, WEEK_S = 86_400.0, 7 * 86_400.0
NORMAL_S = WEEK_S
"""So much production must have been quiet before it takes the place of dev as the reference."""
NARROW_HZ = 4_000.0
"""A telephone's band ends at 3,400 Hz, a cheap phone's at 5,000."""
OUR_FAULTS = frozenset({"internal_error", "model_error", "not_ready", "queue_full", "log_unavailable",
                        "keys_unreadable"})
"""Kinds of errors that a server answers for; the rest are requests that no server could answer."""

REOPENS: Mapping[str, str] = {
    "snr_db": "collect", "bandwidth_hz": "collect", "level_dbfs": "collect", "duration_s": "collect",
    "avg_logprob": "retrain", "ctc_gap": "retrain", "no_speech_prob": "retrain", "has_unseen": "retrain",
    "is_empty": "analyze", "failed": "deploy", "latency": "deploy", "audited_wer": "retrain",
    "disagreement": "retrain",
}
"""What moved, and the stage that can do something about it."""

DISAGREES = "audit against expectation"
ALARM_COLUMNS = ["window", "time_s", "rule", "evidence", "reopen"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What was known when the model went live: dev as it heard it, what it may mean, and what its confidence meant."""

    rows: pd.DataFrame
    known: Collection[str]
    calibration: Calibration
    catalogue: Sequence[str] = ()
    typed: pd.DataFrame | None = None

    @property
    def gap_limit(self) -> float:
        """The gap beyond which a query's letters and its answer are thought apart."""
        return terms.gap_limit(self.rows)


@dataclass(frozen=True, slots=True)
class Rules:
    """When to alarm, and over what: `level` is a window's risk of an alarm over nothing.

    The first `n_accepted` windows are normal because people say so; further ones when they are quiet.
    """

    width_s: float = WEEK_S
    level: float = drift.LEVEL
    max_latency_ms: float = 1_000.0
    max_failed: float = 0.01
    target: Target | None = None
    min_users: int = 3
    n_accepted: int = 0
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for a JSON record."""
        return asdict(self)


def read_rules(fields: Mapping[str, Any]) -> Rules:
    """Read rules out of a record."""
    target = fields.get("target")
    return Rules(**{**fields, "target": Target(**target) if target else None})


@dataclass(frozen=True, slots=True)
class Report:
    """All that was seen: a row a window, a row a day, a row a window and feature, terms, and alarms."""

    windows: pd.DataFrame
    days: pd.DataFrame
    drift: pd.DataFrame
    terms: pd.DataFrame
    alarms: pd.DataFrame
    results: Mapping[int, DriftResult] = field(default_factory=dict)

    @property
    def last(self) -> Mapping[str, Any]:
        """The latest window."""
        return dict(self.windows.iloc[-1])

    @property
    def calm(self) -> frozenset[int]:
        """The windows in which no rule was broken: too few queries to call them quiet, perhaps, but nothing to see."""
        return frozenset(self.windows["window"]) - frozenset(self.alarms["window"])

    @property
    def labelled(self) -> pd.DataFrame:
        """Windows that an audit has measured, on their first day. Returns: day, audited_wer and its ends."""
        known = self.windows[self.windows["audited_wer"].notna()]
        return known.assign(day=known["window"].map(self.days.groupby("window")["day"].min()))[
            ["day", "audited_wer", "audited_wer_low", "audited_wer_high"]]


# --- from the log ----------------------------------------------------------------------------------------------------


def what_lacks(speech: Dataset, rows: pd.DataFrame, *, run: str) -> Decision | None:
    """Say what production cannot be watched without, or None: queries of people, and speech to hold them against."""
    if speech.is_few_speakers:
        return Decision("waiting", "Waiting for speech of ten speakers: with fewer, nothing is left over to hold "
                                   "production against.")
    if not is_of_people(rows).any():
        return Decision("waiting", "Waiting for people to call: the query log holds no query of theirs since this "
                                   f"model went live. Afterwards: workbench run monitor --force --run {run}.")
    return None


def is_of_people(rows: pd.DataFrame) -> pd.Series:
    """Tell people's queries from what nobody saw (a shadow's answers) and nobody asked (load tests)."""
    return rows["role"].ne("shadow") & rows["app_version"].ne(LOAD_TEST)


def of_people(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out all but people's queries. Raises: ServiceError when nothing is left."""
    found = rows[is_of_people(rows)]
    if found.empty:
        raise ServiceError("the query log holds no query of people; send some (`workbench simulate`), or give log_url")
    return found


def with_features(rows: pd.DataFrame, known: Collection[str], gap_limit: float) -> pd.DataFrame:
    """Add what drift watches: block, is_empty and has_unseen; unknown (nan) where the query or its words are gone.

    `piece` is what of the letters heard is like nothing known ("" for nothing).
    An empty answer has a compression ratio of 0, also when words were dropped since; a query without a user is a
    block of its own.
    """
    is_answered = rows["error"].eq("")
    is_empty = rows["compression_ratio"].eq(0)
    has_words = is_answered & (rows["hypothesis"].ne("") | is_empty)
    piece = terms.pieces(rows, known, gap_limit)
    return rows.assign(block=rows["user_hash"].where(rows["user_hash"].ne(""), rows["request_id"]),
                       is_empty=is_empty.astype(float).where(is_answered),
                       piece=piece, has_unseen=piece.ne("").astype(float).where(has_words))


def in_windows(rows: pd.DataFrame, width_s: float, start_s: float | None = None) -> pd.DataFrame:
    """Number windows from 1 and days from 1, the first beginning at midnight (UTC) before the first query."""
    begin = (rows["time_s"].min() // DAY_S) * DAY_S if start_s is None else start_s
    since = rows["time_s"] - begin
    return rows.assign(window=(since // width_s).astype(int) + 1, day=(since // DAY_S).astype(int) + 1)


# --- what a window says ----------------------------------------------------------------------------------------------


def summarize(rows: pd.DataFrame, calibration: Calibration) -> dict[str, Any]:
    """Measure a window or a day. Returns: counts, shares (fractions), medians, latencies, what is expected."""
    answered = rows[rows["error"].eq("")]
    expected, right = (f(answered, calibration) for f in (expected_wer.expect, expected_wer.expect_accuracy))
    p50, p95, p99 = answered["latency_ms"].quantile([0.5, 0.95, 0.99]) if "latency_ms" in rows else (np.nan,) * 3
    return {
        "begins_s": float(rows["time_s"].min()), "n_queries": len(rows), "n_users": int(rows["block"].nunique()),
        "failed_share": float(rows["error"].isin(OUR_FAULTS).mean()),
        "refused_share": float(rows["error"].ne("").mean()),
        "latency_p50_ms": float(p50), "latency_p95_ms": float(p95), "latency_p99_ms": float(p99),
        "empty_share": float(answered["is_empty"].mean()), "unseen_share": float(answered["has_unseen"].mean()),
        "confidence": float(np.exp(answered["avg_logprob"]).median()), "snr_db": float(answered["snr_db"].median()),
        "narrow_share": float(answered["bandwidth_hz"].lt(NARROW_HZ).mean()),
        "duration_s": float(answered["duration_s"].median()), **_ends("expected_wer", expected),
        **_ends("expected_accuracy", right)}


def watch(rows: pd.DataFrame, basis: Basis, *, labels: pd.DataFrame, rules: Rules | None = None,
          start_s: float | None = None) -> Report:
    """Go through the log's windows in order and report what each says against what was normal before it.

    Normal is dev as the model heard it, until quiet or accepted windows add up to seven days; then they are.
    Raises: ServiceError when no query of people is in the log.
    """
    rules = rules or Rules()
    seen = in_windows(of_people(rows), rules.width_s, start_s)
    seen = with_features(seen, basis.known, basis.gap_limit)
    days = [{"day": day, "window": part["window"].iloc[0], **summarize(part, basis.calibration)}
            for day, part in seen.groupby("day")]
    return report_of(look_through(seen, basis, labels=labels, rules=rules), pd.DataFrame(days), rules)


def look_through(seen: pd.DataFrame, basis: Basis, *, labels: pd.DataFrame, rules: Rules,
                 memory: "dict[tuple[int, ...], Look] | None" = None, slack: float = 0.0) -> "list[Look]":
    """Look at each window in turn; `seen` has window and the features. What `memory` holds is not looked at again.

    A window is known by its number, its rows, those it is held against, and the labels; one that has grown by less
    than `slack` (a fraction) since it was looked at counts as known.
    """
    dev = with_features(basis.rows, basis.known, basis.gap_limit) if "piece" not in basis.rows else basis.rows
    normal, looks, memory = list[pd.DataFrame](), list["Look"](), {} if memory is None else memory
    for number, window in seen.groupby("window"):
        is_known = len(normal) * rules.width_s >= NORMAL_S
        reference = pd.concat(normal) if is_known else dev
        key = (int(number), len(reference), len(labels), len(window))
        look = _known(memory, key, slack) or memory.setdefault(key, _look(window, reference, basis, labels, rules))
        look.row["reference"] = f"{len(normal)} normal window{'s' * (len(normal) > 1)}" if is_known else "dev"
        is_normal = look.result.outcome == "quiet" or look.row["window"] <= rules.n_accepted
        normal += [window[window["error"].eq("")]] if is_normal else []
        looks.append(look)
    return looks


def _known(memory: "Mapping[tuple[int, ...], Look]", key: tuple[int, ...], slack: float) -> "Look | None":
    return next((look for known, look in memory.items() if known[:3] == key[:3]
                 and known[3] <= key[3] <= known[3] * (1 + slack)), None)


def report_of(looks: "Sequence[Look]", days: pd.DataFrame, rules: Rules) -> Report:
    """Put what was seen in windows together, with the alarms of each."""
    alarms = [alarm for look in looks for alarm in _alarms(look, rules)]
    return Report(pd.DataFrame([look.row for look in looks]), days,
                  pd.concat([look.result.table.assign(window=look.row["window"]) for look in looks]),
                  pd.concat([look.rising.assign(window=look.row["window"]) for look in looks], ignore_index=True),
                  pd.DataFrame(alarms, columns=ALARM_COLUMNS), {look.row["window"]: look.result for look in looks})


@dataclass(frozen=True, slots=True)
class Look:
    """One window as it was seen: its measures, what moved, and which terms rise."""

    row: dict[str, Any]
    result: DriftResult
    rising: pd.DataFrame


def _look(window: pd.DataFrame, reference: pd.DataFrame, basis: Basis, labels: pd.DataFrame, rules: Rules) -> Look:
    answered = window[window["error"].eq("")]
    costed = (rows.assign(errors=basis.calibration.errors(rows), words=basis.calibration.words(rows))
              for rows in (reference, answered))  # so that what moved can be ranked by the errors to expect
    result = drift.compare(*costed, user="block", level=rules.level, seed=rules.seed)
    since, until = (pd.to_datetime(time_s // DAY_S * DAY_S, unit="s")
                    for time_s in (window["time_s"].min(), window["time_s"].max() + DAY_S))
    typed = None if basis.typed is None else typed_queries.rising(
        basis.typed[basis.typed["date"].lt(until)], since=since, known_words=basis.known)
    rising = new_names.new_terms(answered, reference=reference, known_words=basis.known, min_gap=basis.gap_limit,
                                 catalogue=basis.catalogue, typed=typed, min_users=rules.min_users)
    scores = auditing.audited(answered, labels)
    row = {"window": int(window["window"].iloc[0]), **summarize(window, basis.calibration), "outcome": result.outcome,
           "n_terms": len(rising), "extrapolating": expected_wer.extrapolation(answered, reference, basis.calibration),
           "n_audited": len(scores), **_ends("audited_wer", auditing.combine(answered, scores, basis.calibration)),
           **_ends("disagreement", auditing.disagreement(scores, basis.calibration, level=1 - rules.level)),
           **_ends("failed_share", intervals.rate_interval(window["error"].isin(OUR_FAULTS), np.ones(len(window)),
                                                           window["block"]))}
    return Look(row, result, rising)


def _alarms(look: Look, rules: Rules) -> list[dict[str, Any]]:
    """Write an alarm for each rule that a window breaks."""
    row, table = look.row, look.result.table
    told = [("drift: " + drift.WORDS[moved["feature"]][0], drift.describe(moved) + _names(moved, look.rising),
             REOPENS[moved["feature"]]) for moved in table[table["is_alarm"]].to_dict("records")]
    failed = interval(look.row, "failed_share")
    if failed.low > rules.max_failed:
        told.append(("failed requests", f"{failed.percent()}, at most {100 * rules.max_failed:g} %", REOPENS["failed"]))
    if row["latency_p95_ms"] > rules.max_latency_ms:
        slow = f"latency p95 {row['latency_p95_ms']:,.0f} ms, at most {rules.max_latency_ms:,.0f}"
        told.append(("latency", slow, REOPENS["latency"]))
    audit, off = interval(row, "audited_wer"), interval(row, "disagreement")
    if rules.target is not None and rules.target.verdict(audit) == "no":
        told.append(("audited WER", f"{audit.percent()} by audit and expectation together, target {rules.target}",
                     REOPENS["audited_wer"]))
    if auditing.is_disagreeing(off):
        told.append((DISAGREES, f"{row['n_audited']:,} audited queries hold {off.points()} of WER against what "
                     "confidence let one expect", REOPENS["disagreement"]))
    return [{"window": row["window"], "time_s": row["begins_s"], "rule": rule, "evidence": evidence, "reopen": stage}
            for rule, evidence, stage in told]


def _names(moved: Mapping[Any, Any], rising: pd.DataFrame) -> str:
    if moved["feature"] != "has_unseen" or rising.empty:
        return ""
    return f"; {len(rising)} terms that several users said, in {rising['n_queries'].sum()} queries"


def _ends(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def interval(row: Mapping[str, Any], name: str) -> Interval:
    """Read a measure and its ends out of a window's row."""
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
