"""What rounds of improvement came to: by slice, by round, predicted and achieved; tables and one decision."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench import differences, improvement, intervals, opportunities, scoring, slicing, track_record
from workbench.data_requests import Request
from workbench.gates import Scope
from workbench.improvement import Arms, Plan, Round
from workbench.records import Decision, Interval


def by_slice(arms: Arms, scope: Scope, columns: Sequence[str]) -> pd.DataFrame:
    """Lay the arms side by side for every slice, with the paired changes.

    Returns: name, n_utterances, before, control, treated (WER); change, change_low, change_high (treated - before);
    beyond, beyond_low, beyond_high (treated - control); q and verdict of the change (better, worse, cannot tell), with
    false discoveries over all slices kept to 5 %.
    """
    banded, rows, held = slicing.bands(arms.scores["before"]), [], []
    for column in columns:
        for value in sorted(banded[column].dropna().unique()):
            picked = banded[column].eq(value).to_numpy()
            if not banded.loc[picked, "n_words"].sum():
                continue
            found, control = (improvement.compare(arms, scope, first=a, picked=picked) for a in ("before", "control"))
            held.append(found)
            wers = {
                arm: s.loc[picked, "n_errors"].sum() / s.loc[picked, "n_words"].sum() for arm, s in arms.scores.items()
            }
            rows.append(
                {
                    "name": f"{column} = {value}",
                    "n_utterances": int(picked.sum()),
                    **wers,
                    **_spread("change", found.difference),
                    **_spread("beyond", control.difference),
                }
            )
    q, words = differences.changed([one.p for one in held], [one.difference.value for one in held])
    return pd.DataFrame(rows).assign(q=q, verdict=words)


def _spread(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _asked_slice(last: Round) -> np.ndarray:
    """Mask what was asked for, as far as the gate split knows its columns; all where it holds no word of it."""
    banded = slicing.bands(last.arms.scores["before"])
    picked = np.ones(len(banded), bool)
    for column, value in last.request.where.items():
        if column in banded:
            picked &= banded[column].astype(str).eq(value).to_numpy()
    return picked if banded.loc[picked, "n_words"].sum() else np.ones(len(banded), bool)


def story(rounds: Sequence[Round], scope: Scope) -> pd.DataFrame:
    """Tell each round in a row: who asked what, its cost, that slice before and after, the gain beyond the control."""
    rows = []
    for number, last in enumerate(rounds, 1):
        picked = _asked_slice(last)
        wer = {
            arm: s.loc[picked, "n_errors"].sum() / max(1, s.loc[picked, "n_words"].sum())
            for arm, s in last.arms.scores.items()
        }
        beyond = improvement.compare(last.arms, scope, first="control", picked=picked).difference
        rows.append(
            {
                "round": number,
                "asked": last.request.title,
                "by": last.request.by or "analyze",
                "n_clips": last.request.n_utterances,
                "n_judged": int(picked.sum()),
                **wer,
                **_spread("change", improvement.compare(last.arms, scope, picked=picked).difference),
                **_spread("beyond", beyond),
                "decision": last.decision.outcome,
            }
        )
    return pd.DataFrame(rows)


def predictions(rounds: Sequence[Round], scope: Scope) -> pd.DataFrame:
    """Lay what requests were to win (WER over all use) beside what they bought beyond the control.

    Returns: request, then ceiling (the whole gap closed), predicted and achieved, each with _low and _high; is_within:
        whether the intervals of predicted and achieved touch.
    """
    rows = []
    for last in rounds:
        bought = improvement.compare(last.arms, scope, first="control").difference
        rows.append(
            {
                "request": last.request.title,
                **_spread("ceiling", last.request.ceiling),
                **_spread("predicted", last.request.gain),
                "achieved": -bought.value,
                "achieved_low": -bought.high,
                "achieved_high": -bought.low,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(is_within=track_record.is_within(table)) if rows else table


def ask_again(done: Sequence[Round], plan: Plan) -> list[Request]:
    """Ask for what stands out now, expecting of it the part of a ceiling that all rounds so far let expect."""
    so_far = track_record.rounds(predictions(done, plan.scope))
    return improvement.next_requests(done[-1], plan, opportunities.realized(so_far))


def metrics(rounds: Sequence[Round], scope: Scope) -> dict[str, Interval]:
    """Give the numbers of the last round, and the best model's scores on the gate split."""
    last = rounds[-1]
    picked = _asked_slice(last)
    found = scoring.summary(last.best_scores, scope.weights(last.best_scores))
    found["requested_slice_change"] = improvement.compare(last.arms, scope, picked=picked).difference
    found["requested_slice_beyond_control"] = improvement.compare(
        last.arms, scope, first="control", picked=picked
    ).difference
    found["requested_slice_relative_change"] = relative_change(last.arms, picked)
    for name, mask in improvement.protected(last.arms, scope).items():
        found[f"{name.replace(' ', '_')}_change"] = improvement.compare(last.arms, scope, picked=mask).difference
    return found


def relative_change(arms: Arms, picked: np.ndarray) -> Interval:
    """Give treated over before, minus one, of a selection. Returns: a fraction, -0.33 where a third of errors went."""
    before, after = (arms.scores[arm].loc[picked, "n_errors"] for arm in ("before", "treated"))
    return intervals.relative_change(before, after, arms.scores["before"].loc[picked, "speaker"])


def conclude(rounds: Sequence[Round]) -> Decision:
    """Say what the rounds came to: the last kept one, or why none was."""
    kept = [last for last in rounds if last.decision.outcome == "yes"]
    if not kept:
        return rounds[-1].decision
    last = kept[-1]
    picked = _asked_slice(last)
    change = relative_change(last.arms, picked)
    told = f"its errors there changed by {change.percent(0)}"
    if math.isnan(change.value):
        told = "errors came where there were none"
    return Decision("yes", f"{last.decision.sentence} With {last.request.title} {told}.")
