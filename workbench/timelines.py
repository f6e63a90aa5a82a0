"""Production over time at any step: what is counted of all queries, and what is measured on the rows at hand."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench import auditing, monitoring_figures
from workbench.log_reading import HOUR_S
from workbench.monitoring import NARROW_HZ, OUR_FAULTS, Basis
from workbench.monitoring_figures import OverTime
from workbench.watching import Scene

DAY_S = 86_400.0
QUANTILES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
MEDIANS = ("snr_db", "bandwidth_hz", "level_dbfs", "duration_s", "ctc_gap", "no_speech_prob", "avg_logprob")
BAND_SIGMAS, MIN_BAND_STEPS = 3.0, 6
"""Source: NannyML's reference bands, mean +/- 3 standard deviations over at least 6 windows."""


def lines(counts: pd.DataFrame, rows: pd.DataFrame, bases: Mapping[str, Basis], *, step_s: float) -> pd.DataFrame:
    """Measure each step of time. Returns: begins_s, window, counts, shares (fractions), medians, expected_wer.

    `counts` are `log_reading.COUNTED` and n; `rows` have window, version, features and is_again.
    """
    whole = counted(counts, step_s)
    measured = _measured(rows.assign(step=(rows["time_s"] // step_s).astype(int)), bases)
    table = whole.join(measured, how="left").reset_index()
    return table.assign(begins_s=table["step"] * step_s)


def counted(counts: pd.DataFrame, step_s: float) -> pd.DataFrame:
    """Add up counts by step, or all when it is infinite.

    Returns: n_queries, n_failed, n_refused (which no server could answer), latency quantiles (ms), and failed_share,
        refused_share, empty_share (fractions).
    """
    step = (counts["hour"] * HOUR_S // step_s).astype(int) if math.isfinite(step_s) else 0
    counts = counts.assign(step=step, is_ours=counts["error"].isin(OUR_FAULTS))
    answered, n = counts[counts["error"].eq("")], counts.groupby("step")["n"].sum()
    sums = {"n_queries": n, "n_failed": counts[counts["is_ours"]].groupby("step")["n"].sum(),
            "n_refused": counts[counts["error"].ne("") & ~counts["is_ours"]].groupby("step")["n"].sum(),
            "n_answered": answered.groupby("step")["n"].sum(),
            "n_empty": answered[answered["is_empty"].eq(1)].groupby("step")["n"].sum()}
    table = pd.DataFrame(sums).reindex(n.index).fillna(0)
    table = table.join(_latencies(answered[answered["latency_ms"].ge(0)]))
    answers = table["n_answered"].where(table["n_answered"] > 0)
    return table.assign(failed_share=table["n_failed"] / table["n_queries"], empty_share=table["n_empty"] / answers,
                        refused_share=table["n_refused"] / table["n_queries"])


def _latencies(answered: pd.DataFrame) -> pd.DataFrame:
    """Give the quantiles of each step out of how often each latency occurred."""
    by = answered.groupby(["step", "latency_ms"])["n"].sum().reset_index()
    reached = by.groupby("step")["n"].cumsum() / by.groupby("step")["n"].transform("sum")
    return pd.DataFrame({name: by[reached >= q].groupby("step")["latency_ms"].first() for name, q in QUANTILES.items()})


def _measured(rows: pd.DataFrame, bases: Mapping[str, Basis]) -> pd.DataFrame:
    answered = rows[rows["error"].eq("")]
    by = answered.groupby("step")
    table = by[list(MEDIANS)].median()
    shares = answered.assign(narrow=answered["bandwidth_hz"].lt(NARROW_HZ).astype(float)).groupby("step")[
        ["narrow", "has_unseen", "is_again"]].mean()
    return table.assign(confidence=np.exp(table["avg_logprob"]), narrow_share=shares["narrow"],
                        unseen_share=shares["has_unseen"], again_share=shares["is_again"],
                        expected_wer=_expected(answered, bases), window=by["window"].first())


def _expected(answered: pd.DataFrame, bases: Mapping[str, Basis]) -> "pd.Series[float]":
    """Divide the errors to expect by the words, each query by the basis of the model that answered it."""
    parts = [part.assign(wrong=basis.calibration.errors(part), words=basis.calibration.words(part))
             for version, basis in bases.items() for part in [answered[answered["version"].eq(version)]] if len(part)]
    if not parts:
        return pd.Series(dtype=float)
    sums = pd.concat(parts).groupby("step")[["wrong", "words"]].sum()
    return sums["wrong"] / sums["words"]


def over_time(scene: Scene, *, step_s: float) -> OverTime:
    """Put together what the time lines are drawn from."""
    table = lines(scene.reading.counts, scene.rows, scene.bases, step_s=step_s)
    columns = [line.columns[0] for line in monitoring_figures.TIME_LINES]
    return OverTime(table, bands(table, calm_windows(scene), columns), events(scene), audits(scene.labelled))


def calm_windows(scene: Scene) -> set[int]:
    """Name the windows in which no model broke a rule."""
    alarmed = {int(number) for report in scene.reports.values() for number in report.alarms["window"]}
    return {int(number) for report in scene.reports.values() for number in report.windows["window"]} - alarmed


def events(scene: Scene) -> pd.DataFrame:
    """List where a window that alarmed began, and where a model began to answer. Returns: begins_s, kind."""
    alarms = {float(time_s) for report in scene.reports.values() for time_s in report.alarms["time_s"]}
    first = scene.rows.groupby("version")["time_s"].min().sort_values().iloc[1:]
    found = [(time_s, "alarm") for time_s in sorted(alarms)] + [(float(time_s), "model") for time_s in first]
    return pd.DataFrame(found, columns=["begins_s", "kind"])


def bands(table: pd.DataFrame, calm: Collection[int], columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give each measure's band of steps in calm windows: mean +/- 3 standard deviations; none with fewer than six.

    Steps with few queries, as a day that has just begun, would widen it and are left out.
    """
    normal = table[table["window"].isin(set(calm))]
    normal = normal[normal["n_queries"].ge(normal["n_queries"].median() / 2)]
    found = {name: normal[name].dropna() for name in columns}
    ends = {name: (values.mean() - BAND_SIGMAS * values.std(), values.mean() + BAND_SIGMAS * values.std())
            for name, values in found.items() if len(values) >= MIN_BAND_STEPS}
    return {name: (float(max(low, 0.0) if found[name].min() >= 0 else low), float(high))
            for name, (low, high) in ends.items()}


def audits(labelled: pd.DataFrame) -> pd.DataFrame:
    """Measure each window's audit. Returns: begins_s, audited_wer, _low, _high; windows with 30 audited or more."""
    rows: list[dict[str, Any]] = []
    fair = labelled[labelled["kind"].eq("audit") & labelled["error"].eq("")]
    for _, part in fair.groupby("window"):
        queries = part.drop(columns=["reference", "labeller", "kind"])
        found = auditing.audited_wer(auditing.audited(queries, part))
        rows.append({"begins_s": float(part["time_s"].median()), "audited_wer": found.value,
                     "audited_wer_low": found.low, "audited_wer_high": found.high})
    table = pd.DataFrame(rows, columns=["begins_s", "audited_wer", "audited_wer_low", "audited_wer_high"])
    return table.dropna(subset=["audited_wer"])
