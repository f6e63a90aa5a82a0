"""What holds now, in words: quiet, watch or act, and by which rule; what became of each alarm; the tiles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench import auditing, blocks, drift, expected_wer, intervals, timelines, verdicts
from workbench.cards import Tile, rate_tile
from workbench.log_reading import ALL
from workbench.monitoring import DISAGREES, OUR_FAULTS, Report, Rules
from workbench.records import Interval, Outcome
from workbench.watching import Scene

State = Literal["quiet", "watch", "act"]
OUTCOMES: Mapping[State, Outcome] = {"quiet": "yes", "watch": "cannot_tell", "act": "no"}
PLANNED_HALF = 0.02
"""An audit that tells a target from what is two points beside it is worth its labels."""
N_JUDGED = 6_000

CAUSES: Mapping[str, tuple[str, str]] = {
    "snr_db": ("queries come from noisier places", "queries come from quieter places"),
    "bandwidth_hz": ("more phones cut the sound short", "phones hear wider than before"),
    "has_unseen": ("people say fewer new names", "people say names it never learned"),
    "level_dbfs": ("people are recorded more softly", "people are recorded louder"),
    "duration_s": ("queries are shorter", "queries are longer"),
}
EFFECTS: Mapping[str, tuple[str, str]] = {
    "avg_logprob": ("the model is less sure", "the model is surer"),
    "ctc_gap": ("its answers fit the letters better", "its answers fit the letters it hears less"),
    "no_speech_prob": ("less sounds like no speech", "more sounds like no speech"),
    "is_empty": ("fewer answers are empty", "more answers are empty"),
}
"""What a feature's move means to people, downwards and upwards: what came in, and what the model made of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds now: the state, its sentence, and the rule behind it."""

    state: State
    sentence: str
    rule: str


# --- alarms ----------------------------------------------------------------------------------------------------------


def alarm_id(version: str, window: int, rule: str) -> str:
    """Name an alarm so that a mark can be about it."""
    return f"version {version}, window {window}, {rule}"


def alarms(scene: Scene) -> pd.DataFrame:
    """List all alarms, those that hold now first.

    Returns: alarm_id, time_s, version, window, rule, evidence, reopen, state, by. `state` is open, acknowledged (by
        whom), resolved (by which later model), still so (that model breaks the same rule), passed (not so in a later
        window) or went on (into it).
    """
    said = scene.marks[scene.marks["kind"].eq("alarm")]
    who = dict(zip(said["value"], said["by"], strict=True))
    rows = [_with_state(dict(alarm), version, scene, who) for version, report in scene.reports.items()
            for alarm in report.alarms.to_dict("records")]
    columns = ["alarm_id", "time_s", "version", "window", "rule", "evidence", "reopen", "state", "by", "is_now"]
    table = pd.DataFrame(rows, columns=columns).astype({"is_now": bool})
    return table.sort_values(["is_now", "time_s"], ascending=False, kind="stable", ignore_index=True)


def _with_state(alarm: dict[str, Any], version: str, scene: Scene, who: Mapping[str, str]) -> dict[str, Any]:
    name, report = alarm_id(version, alarm["window"], alarm["rule"]), scene.reports[version]
    last = int(report.last["window"])
    if alarm["window"] < last:
        goes_on = alarm["rule"] in set(report.alarms.loc[report.alarms["window"].gt(alarm["window"]), "rule"])
        state, by = ("went on", "") if goes_on else ("passed", f"window {last}")
    elif version != scene.version:
        state, by = _after(alarm["rule"], scene)
    else:
        state, by = ("acknowledged", who[name]) if name in who else ("open", "")
    return {**alarm, "alarm_id": name, "version": version, "state": state, "by": by,
            "is_now": state in ("open", "acknowledged")}


def _after(rule: str, scene: Scene) -> tuple[str, str]:
    """Say what became of an alarm of an earlier model under the one whose windows hold now."""
    report = scene.report
    if report is None or (report.last["outcome"] == "cannot_tell" and rule.startswith("drift")):
        return "passed", f"version {scene.version} not asked enough to tell"
    holds = rule in set(report.alarms.loc[report.alarms["window"].eq(report.last["window"]), "rule"])
    return ("still so" if holds else "resolved"), f"version {scene.version}"


# --- the sentence ----------------------------------------------------------------------------------------------------


def stand(scene: Scene) -> Standing:
    """Say how production stands.

    Act: a rule is broken now and nobody has acknowledged it. Watch: all that is broken is acknowledged, or a new model
    answers that nobody has asked, or too little was asked to tell. Quiet: judged, and nothing moved.
    """
    report = scene.report
    if report is None:
        return Standing("watch", f"Version {scene.version} cannot be held against anything: it was released without a "
                        "basis. Only traffic, latency and failures are watched.",
                        "With speech of ten speakers or more, release it again: workbench run deploy --force --run "
                        f"{scene.released[scene.version].tags.get('run', 'RUN')}.")
    told, listed = _what_moved(report), alarms(scene)
    now = listed[listed["is_now"]]
    if scene.version != scene.lineup["champion"]:
        return Standing("watch", f"Version {scene.lineup['champion']} answers now, and nobody has asked it yet. "
                        + (f"Under version {scene.version} {_lower(told)}." if told else ""), _rule(scene, now))
    if now["state"].eq("open").any():
        return Standing("act", f"{told}. {_wer(report)} Reopen {_listed(now['reopen'])}.", _rule(scene, now))
    if len(now):
        return Standing("watch", f"{told}. {_wer(report)} {_listed(now['by'])} knows.", _rule(scene, now))
    result = report.results[int(report.last["window"])]
    if result.outcome == "cannot_tell":
        n = int(report.last["n_queries"])
        return Standing("watch", f"Nothing moved yet, but it is too early to tell: window {int(report.last['window'])} "
                        f"holds {n:,} queries, {drift.would_do(n, result.n_needed)}.", _rule(scene, now))
    return Standing("quiet", f"People ask as before: in window {int(report.last['window'])} nothing moved by as much "
                    "as would matter.", _rule(scene, now))


def _what_moved(report: Report) -> str:
    """Say what moved in the latest window, what came in first."""
    number = int(report.last["window"])
    moved = {row["feature"]: _way(row) for row in report.results[number].table.query("is_alarm").to_dict("records")}
    told = [words[moved[name]] for group in (CAUSES, EFFECTS) for name, words in group.items() if name in moved]
    told = told[:3] if set(moved) & set(CAUSES) else told[:2]
    broken = report.alarms[report.alarms["window"].eq(number)]
    others = broken.loc[~broken["rule"].str.startswith("drift"), "rule"]
    told += [{"failed requests": "too many requests fail", "latency": "answers come too late",
              "audited WER": "the audit finds more errors than promised",
              DISAGREES: "the audit finds other errors than confidence let one expect"}[rule] for rule in others]
    sentence = _listed(pd.Series(told, dtype=object))
    return sentence[:1].upper() + sentence[1:]


def _way(row: Mapping[Any, Any]) -> int:
    """Give 0 for downwards and 1 for upwards."""
    is_up = row["window"] > row["reference"] if row["kind"] == "share" else row["below_window"] < row["below_reference"]
    return int(is_up)


def _listed(words: "pd.Series[Any]") -> str:
    found = [str(word) for word in dict.fromkeys(words)]
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + f" and {found[-1]}" if found else ""


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def _wer(report: Report) -> str:
    """Say what WER may be expected now, and what before."""
    calm = report.windows[report.windows["window"].isin(report.calm)]["expected_wer"]
    now = report.last["expected_wer"]
    if np.isnan(now):
        return ""
    before = ""
    if len(calm):
        then = f"{100 * calm.iloc[-1]:.0f}"
        before = " as before" if then == f"{100 * now:.0f}" else f" where it was {then}"
    doubt = ", which extrapolates" if report.last["extrapolating"] else ""
    return f"Expect a WER of {100 * now:.0f} %{before}, by confidence alone{doubt}."


def _rule(scene: Scene, now: pd.DataFrame) -> str:
    report = scene.report
    assert report is not None
    last, rules = report.last, scene.rules
    drawn = f" (judged on the {scene.share:.1%} of users drawn)" if scene.share < 1 else ""
    judged = (f"Window {int(last['window'])}: {int(last['n_queries']):,} queries of {int(last['n_users']):,} users"
              f"{drawn} against {'dev as the model heard it' if last['reference'] == 'dev' else last['reference']}")
    broken = f"rules broken: {', '.join(now['rule'].str.removeprefix('drift: '))}" if len(now) else "no rule broken"
    why = f" The expected WER is {last['extrapolating']}." if last["extrapolating"] else ""
    return (f"{judged}; {broken}. Drift counts when it is beyond chance (risk {100 * rules.level:g} % a window) and "
            f"beyond the least that matters.{why}")


# --- tiles -----------------------------------------------------------------------------------------------------------


def tiles(scene: Scene, since_s: float) -> list[Tile]:
    """Give the numbers since a time; an expectation has no verdict, and an audit says among whom it was held."""
    counts = scene.reading.counts[scene.reading.counts["hour"] * 3600 >= since_s - 3599]
    rows = scene.rows[scene.rows["time_s"].ge(since_s)]
    whole = timelines.counted(counts, math.inf).iloc[0] if len(counts) else pd.Series(dtype=float)
    if whole.empty:
        return [Tile("Queries", "0", "none in this time")]
    answered = rows[rows["error"].eq("")]
    return [Tile("Queries", f"{int(whole['n_queries']):,}", f"{_n_users(rows, scene):,.0f} users"),
            _expected_tile(scene, answered), _audit_tile(scene, since_s), _latency_tile(whole, scene.rules),
            _failed_tile(whole, rows, scene.rules),
            _share_tile("Empty answers", answered["is_empty"], answered),
            _share_tile("Asked again within 30 s", rows["is_again"], rows),
            Tile("Consented clips", f"{scene.clips['n_clips']:,}", f"{_share(scene.clips)} of users; 21 days")]


def _n_users(rows: pd.DataFrame, scene: Scene) -> float:
    """Estimate how many users asked, from those who would have been drawn in each of the windows."""
    share = float(scene.reading.shares.reindex(rows["window"].unique()).min()) if len(rows) else 1.0
    is_drawn = rows["block"].str[:4].lt(f"{round(share * ALL):04x}") | (share == 1)
    return rows.loc[is_drawn, "block"].nunique() / share


def _share(clips: Mapping[str, int]) -> str:
    return f"{100 * clips['n_users'] / max(clips['n_all'], 1):.0f} %"


def _expected_tile(scene: Scene, answered: pd.DataFrame) -> Tile:
    basis, label = scene.bases.get(scene.version), "Expected WER, an estimate"
    theirs = answered[answered["version"].eq(scene.version)]
    if basis is None or theirs.empty:
        return Tile(label, "–", "no answer to judge by", "done", "from confidence, no labels")
    found = expected_wer.expect(theirs.tail(N_JUDGED), basis.calibration)
    why = str(scene.report.last["extrapolating"]) if scene.report is not None else ""
    return Tile(label, f"{100 * found.value:.1f} %", f"{100 * found.low:.1f} – {100 * found.high:.1f}", "done",
                f"from confidence, no labels{', ' * bool(why)}{why.partition(':')[0]}")


def audit(scene: Scene) -> tuple[Interval, pd.DataFrame]:
    """Measure the WER that the random audit found of the model that holds now. Returns: it, and the audited rows."""
    fair = scene.labelled[scene.labelled["kind"].eq("audit") & scene.labelled["version"].eq(scene.version)
                          & scene.labelled["error"].eq("")]
    rows = fair.drop(columns=["reference", "labeller", "kind"])
    return auditing.audited_wer(auditing.audited(rows, fair)), fair


def _audit_tile(scene: Scene, since_s: float) -> Tile:
    found, rows = audit(scene)
    label, target = "Audited WER, consenting users", scene.rules.target
    if np.isnan(found.value):
        wanted = labels_needed(scene.rules.target.value if scene.rules.target else 0.1, scene)
        return Tile(label, "–", f"{len(rows)} labels", "cannot_tell", f"label {wanted:,} more")
    ages = (scene.reading.last_s - rows["time_s"]) / timelines.DAY_S
    label = f"Audited WER, {len(rows)} of consenting users, {ages.min():.0f}–{ages.max():.0f} days old"
    if target is None:
        return rate_tile(label, found, "done", "scope set no target")
    outcome = target.verdict(found)
    words = {"yes": "met: target", "no": "missed: target"}.get(outcome, "target")
    return rate_tile(label, found, outcome, f"{words} {'≤' if target.sense == '<=' else '≥'} {100 * target.value:g} %"
                     + (_to_tell(found, rows) if outcome == "cannot_tell" else ""))


def _to_tell(found: Interval, rows: pd.DataFrame) -> str:
    """Say what would tell an audit from its target: labels by the rule of all targets, or nothing."""
    more = verdicts.missing_for_target(found, len(rows), rows["block"].nunique(), PLANNED_HALF)
    return f": label {more.n_utterances:,} more" if more else ": too close to tell"


def labels_needed(rate: float, scene: Scene, half: float = PLANNED_HALF) -> int:
    """Say how many labels give a WER of `rate` a 95 % interval of +/- `half`, users asking as they do."""
    rows = scene.rows
    n_words = max(float(rows["hypothesis"].str.split().str.len().replace(0, np.nan).mean()), 1.0)
    effect = blocks.design_effect(max(len(rows) / max(rows["block"].nunique(), 1), 1.0))
    return math.ceil(1.96**2 * rate * (1 - rate) * effect / n_words / half**2)


def _latency_tile(whole: "pd.Series[Any]", rules: Rules) -> Tile:
    if np.isnan(whole["latency_p95_ms"]):
        return Tile("Latency p95", "–", "no answer")
    is_slow = whole["latency_p95_ms"] > rules.max_latency_ms
    return Tile("Latency p95", f"{whole['latency_p95_ms']:,.0f} ms", f"p99 {whole['latency_p99_ms']:,.0f} ms",
                "no" if is_slow else "yes", f"{'over' if is_slow else 'within'} {rules.max_latency_ms:,.0f} ms")


def _failed_tile(whole: "pd.Series[Any]", rows: pd.DataFrame, rules: Rules) -> Tile:
    """Judge failures with their interval: a yes or no only when it lies on one side of the limit."""
    outcome: Outcome = "cannot_tell"
    if len(rows):
        found = intervals.rate_interval(rows["error"].isin(OUR_FAULTS), np.ones(len(rows)), rows["block"])
        outcome = verdicts.target_verdict(found, rules.max_failed, "<=")
    word = {"yes": "within", "no": "over"}.get(outcome, "cannot tell:")
    return Tile("Failed requests", f"{100 * whole['failed_share']:.2f} %",
                f"{int(whole['n_failed']):,} of {int(whole['n_queries']):,}; {int(whole['n_refused']):,} refused",
                outcome, f"{word} {100 * rules.max_failed:g} %")


def _share_tile(label: str, values: "pd.Series[float]", rows: pd.DataFrame) -> Tile:
    known = values.notna()
    if not known.any():
        return Tile(label, "–", "not known")
    found = intervals.rate_interval(values[known], np.ones(int(known.sum())), rows.loc[known, "block"])
    return Tile(label, f"{100 * found.value:.1f} %", f"{100 * found.low:.1f} – {100 * found.high:.1f}")


def drift_name(feature: str) -> str:
    """Call a feature as people do."""
    name = drift.WORDS.get(feature, (feature, ""))[0]
    return name[:1].upper() + name[1:]
