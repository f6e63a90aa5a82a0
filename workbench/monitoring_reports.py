"""What a monitoring report says to people: one decision, tiles, days to mark, bands of normal days."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from workbench import expected_wer, verdicts
from workbench.cards import Tile, target_tile
from workbench.monitoring import Report, Rules, interval, of_people
from workbench.records import Decision, Interval

BAND_SIGMAS, MIN_BAND_DAYS = 3.0, 6
"""Source: NannyML's reference bands, mean +/- 3 standard deviations over at least 6 windows."""


def counted(report: Report, counts: pd.DataFrame) -> Report:
    """Give windows and days all queries that people asked in them, beside `n_judged`, those that were read.

    `counts` are `log_reading.Drawn.counts`.
    """
    windows, days = (table.assign(n_judged=table["n_queries"], n_queries=table[span].map(
        counts.groupby(span)["n_queries"].sum())) for span, table in (("window", report.windows), ("day", report.days)))
    return replace(report, windows=windows, days=days)


def conclude(report: Report) -> Decision:
    """Decide by the latest window: yes, all quiet; no, act, and where; or cannot tell yet."""
    number = int(report.last["window"])
    alarms = report.alarms[report.alarms["window"].eq(number)]
    if len(alarms):
        stages = " and ".join(dict.fromkeys(alarms["reopen"]))
        broken = ", ".join(alarms["rule"].str.removeprefix("drift: "))
        return Decision("no", f"Act: in window {number} more changed than chance explains and than may be ignored "
                              f"({broken}). First {alarms['evidence'].iloc[0]}. Reopen {stages}.")
    result = report.results[number]
    if result.outcome == "quiet":
        return Decision("yes", f"Quiet: in window {number} nothing moved by as much as would matter.")
    return Decision("cannot_tell", f"Window {number}: {result.sentence}")


def nobody_answers(version: str, run: str) -> Decision:
    """Say what to do where deploy shipped nothing and there was no champion before."""
    return Decision("waiting", f"No model answers yet: deploy did not ship version {version}, and there was no "
                    f"champion before. Improve it, or ship it all the same: workbench promote {version} --by NAME && "
                    f"workbench run --from deploy --force --run {run}")


def tiles(report: Report, rules: Rules) -> list[Tile]:
    """Give the latest window's numbers; an expectation has no verdict, for it is an estimate."""
    last = report.last
    audit = interval(last, "audited_wer")
    slow = last["latency_p95_ms"] > rules.max_latency_ms
    failed = verdicts.target_verdict(interval(last, "failed_share"), rules.max_failed, "<=")
    word = {"yes": "within", "no": "over"}.get(failed, "cannot tell:")
    shown = [Tile("Queries", f"{last['n_queries']:,}", f"{last['n_users']:,} users"),
             _expected_tile("Expected WER", interval(last, "expected_wer"), last["extrapolating"]),
             _expected_tile("Expected accuracy", interval(last, "expected_accuracy"), last["extrapolating"]),
             Tile("Latency p95", f"{last['latency_p95_ms']:,.0f} ms", f"p50 {last['latency_p50_ms']:,.0f}",
                  "no" if slow else "yes", f"{'over' if slow else 'within'} {rules.max_latency_ms:,.0f} ms"),
             Tile("Failed requests", f"{100 * last['failed_share']:.1f} %", f"{100 * last['refused_share']:.1f} % with "
                  "those refused", failed, f"{word} {100 * rules.max_failed:g} %"),
             Tile("Empty answers", f"{100 * last['empty_share']:.1f} %")]
    return shown if np.isnan(audit.value) else [*shown, target_tile("audited_wer", audit, rules.target)]


def _expected_tile(label: str, found: Interval, why: str) -> Tile:
    doubt = why.partition(":")[0] or expected_wer.ESTIMATE
    return Tile(label, f"{100 * found.value:.1f} %", f"{100 * found.low:.1f} – {100 * found.high:.1f}, {doubt}")


def metrics(report: Report) -> dict[str, Interval | float]:
    """Give the latest window's numbers for records, and how many windows alarmed."""
    last, found = report.last, dict[str, Interval | float]()
    for name in ("expected_wer", "expected_accuracy", "audited_wer"):
        if not np.isnan(last[name]):
            found[name] = interval(last, name)
    names = ("n_queries", "n_terms", "failed_share", "empty_share", "unseen_share", "latency_p95_ms")
    numbers = {name: float(last[name]) for name in names if not np.isnan(last[name])}
    return found | numbers | {"n_alarmed_windows": float(report.alarms["window"].nunique())}


def events(report: Report, rows: pd.DataFrame) -> pd.DataFrame:
    """List what days to mark: where a window that alarmed began, and where another model began to answer.

    Returns: day, kind ("alarm" or "model").
    """
    begins = report.days.groupby("window")["day"].min()
    alarms = [(begins[number], "alarm") for number in dict.fromkeys(report.alarms["window"])]
    first = of_people(rows).query("model_version != ''").groupby("model_version")["time_s"].min().sort_values().iloc[1:]
    models = [(report.days.loc[report.days["begins_s"].le(time_s), "day"].max(), "model") for time_s in first]
    return pd.DataFrame([*alarms, *models], columns=["day", "kind"])


def bands(days: pd.DataFrame, quiet: Collection[int], columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give each measure's band of normal days: mean +/- 3 standard deviations; none with fewer than 6 such days."""
    normal = days[days["window"].isin(set(quiet))]
    if len(normal) < MIN_BAND_DAYS:
        return {}
    return {name: (float(normal[name].mean() - BAND_SIGMAS * normal[name].std()),
                   float(normal[name].mean() + BAND_SIGMAS * normal[name].std()))
            for name in columns if normal[name].notna().all()}
