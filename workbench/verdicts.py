"""Pass, fail, or cannot tell and what would settle it: the one place where numbers become verdicts.

What it takes comes from the difference that was planned for, never from the one seen, so it is always finite. Where the
plan's speech is in and shows neither, or where it would take more than anybody will label, it is a tie.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy import stats

from workbench import planning
from workbench.differences import ALPHA, PairedResult, noninferiority
from workbench.planning import POWER
from workbench.records import Decision, Interval, Outcome

MOST_LABELS = 10_000
"""Utterances that are labelled for one verdict at most: at a quarter of a minute each, a week of one person's work."""

WORDS = {"yes": "yes", "no": "no", "cannot_tell": "cannot tell", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class Stakes:
    """What a gate is held to: the gain worth finding, how much worse is too much (fractions), and at what risk.

    `is_last` says that the plan of the first look is in: all risk is spent, and looking again could hardly say yes.
    """

    planned: float
    margin: float
    most_labels: int = MOST_LABELS
    alpha: float = ALPHA
    is_last: bool = False

    def __post_init__(self) -> None:
        if not (self.planned > 0 and self.margin > 0):
            raise ValueError(f"planned is {self.planned} and margin {self.margin}; give fractions above 0")


@dataclass(frozen=True, slots=True)
class More:
    """What would settle a question: utterances (and the range a few speakers leave), new speakers, of what."""

    n_utterances: int
    n_low: int
    n_high: int
    n_speakers: int
    of: str
    sees: float

    def __str__(self) -> str:
        told = f" (90 % range {self.n_low:,} to {self.n_high:,})" if self.n_high > self.n_low else ""
        people = "speaker" if self.n_speakers == 1 else "speakers"
        return (f"label {self.n_utterances:,} more utterances{told} {self.of} from {self.n_speakers:,} new {people} to "
                f"tell {100 * self.sees:.1f} points")


@dataclass(frozen=True, slots=True)
class Verdict(Decision):
    """A decision and, where it cannot tell yet, what would settle it."""

    more: More | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One question about a model: is it better, is it no worse than the margin, or is it at least not shown to be?

    `kept` passes only when that is shown; `spared` stops a model only when harm is: a small slice alone can seldom show
    that there is none. `name` says where (`over all use`), `of` what more utterances would be of (`with noise car`).
    """

    name: str
    ask: Literal["better", "kept", "spared"]
    paired: PairedResult
    stakes: Stakes
    of: str = "in the mix of use"

    @property
    def title(self) -> str:
        """Name the question in a table."""
        return f"{self.name}: " + ("better" if self.ask == "better" else
                                   f"{'at most' if self.ask == 'kept' else 'not shown to be'} "
                                   f"{100 * self.stakes.margin:g} points worse")

    @property
    def verdict(self) -> Verdict:
        """Answer the question."""
        return _better(self) if self.ask == "better" else _no_worse(self)


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _better(gate: Gate) -> Verdict:
    paired, stakes, seen = gate.paired, gate.stakes, gate.paired.difference.points()
    if paired.p_better <= stakes.alpha:
        return Verdict("yes", f"{gate.name} the WER changed by {seen}, {_p(paired.p_better)}")
    if paired.p_worse <= stakes.alpha or noninferiority(paired, stakes.margin, stakes.alpha) is False:
        return Verdict("no", f"{gate.name} the WER got worse by {seen}, {_p(paired.p_worse)}")
    if paired.difference.low > -stakes.planned:
        return Verdict("no", f"{gate.name} the gain is below the {100 * stakes.planned:.1f} points planned for: {seen}")
    early = f" at the risk of {100 * stakes.alpha:.2g} % that this look may spend" if stakes.alpha < ALPHA else ""
    told = f"{gate.name} a change of {seen} does not tell better from worse{early}"
    if stakes.is_last:
        return Verdict("tie", f"{told}; a tie, for the speech that the plan takes is in: no risk is left to look again")
    return _unsettled(gate, stakes.planned, told)


def _no_worse(gate: Gate) -> Verdict:
    seen, points = gate.paired.difference.points(), f"{100 * gate.stakes.margin:g} points"
    shown = noninferiority(gate.paired, gate.stakes.margin, gate.stakes.alpha)
    if shown is None:
        return _unsettled(gate, gate.stakes.margin,
                          f"{gate.name} a change of {seen} does not tell whether it stays within {points}")
    if shown:
        return Verdict("yes", f"{gate.name} it stays within {points}: {seen}")
    return Verdict("no", f"{gate.name} it got worse by {seen}; the margin is {points}")


def _unsettled(gate: Gate, planned: float, seen: str) -> Verdict:
    more = missing(gate.paired, planned, gate.of)
    if more is None:
        return Verdict("tie", f"{seen}; a tie, for there was speech enough to tell {100 * planned:.1f} points")
    if more.n_utterances > gate.stakes.most_labels:
        return Verdict("tie", f"{seen}; a tie, for it would take {more.n_utterances:,} more utterances to tell "
                              f"{100 * planned:.1f} points, and {gate.stakes.most_labels:,} are the most", more)
    return Verdict("cannot_tell", f"{seen} yet; {more}", more)


def missing(paired: PairedResult, planned: float, of: str = "in the mix of use") -> More | None:
    """Say what is missing to see a planned difference, from speakers that speak as often as those there are.

    Sign flips of fewer than five speakers cannot reach 5 %, so that many there must be.
    Returns: None where there is as much as was planned.
    """
    told = planning.pilot(paired)
    needed, low, high = (planning.utterances(planned, v, POWER, ALPHA) for v in (told.variance, *told.range))
    n, each, n_new = paired.n_utterances, told.n_per_speaker, math.ceil(math.log2(1 / ALPHA)) - paired.n_blocks
    n_more, n_low, n_high = (max(wanted - n, math.ceil(n_new * each), 0) for wanted in (needed, low, high))
    return More(n_more, n_low, n_high, max(math.ceil((needed - n) / each), n_new), of, planned) if n_more else None


def conclude(gates: Sequence[Gate], *, yes: str, no: str, not_yet: str) -> Verdict:
    """Put the answers of several gates together: any no is a no, and whatever must be shown has to be.

    The words open the sentence. Of several noes a harm is told first. A yes tells what the spared slices leave open.
    """
    held = [(gate, gate.verdict) for gate in gates]
    for _, found in sorted(held, key=lambda pair: pair[0].ask == "better"):
        if found.outcome == "no":
            return Verdict("no", f"{no}: {found.sentence}.")
    for gate, found in held:
        if found.outcome != "yes" and gate.ask != "spared":
            return Verdict(found.outcome, f"{not_yet if found.outcome == 'cannot_tell' else no}: {found.sentence}.",
                           found.more)
    doubts = "".join(f" Not told: {found.sentence}." for _, found in held if found.outcome != "yes")
    return Verdict("yes", f"{yes}: {held[0][1].sentence}.{doubts}")


def table(gates: Sequence[Gate]) -> pd.DataFrame:
    """Tell gate by gate what was asked, of how much speech, and how it ended.

    Returns: gate, n_utterances, n_speakers, champion, challenger (WER), change, change_low, change_high, verdict, and
        what would settle it, n_more_utterances and n_more_speakers (0 where nothing is asked for).
    """
    rows = []
    for gate in gates:
        paired, found = gate.paired, gate.verdict
        more = found.more if found.outcome == "cannot_tell" else None
        rows.append({"gate": gate.title, "n_utterances": paired.n_utterances, "n_speakers": paired.n_blocks,
                     "champion": paired.rate_a, "challenger": paired.rate_b, "change": paired.difference.value,
                     "change_low": paired.difference.low, "change_high": paired.difference.high,
                     "verdict": WORDS[found.outcome], "n_more_utterances": more.n_utterances if more else 0,
                     "n_more_speakers": more.n_speakers if more else 0})
    return pd.DataFrame(rows)


def target_verdict(interval: Interval, target: float, sense: Literal["<=", ">="]) -> Outcome:
    """Say whether a target is met: yes or no only when the whole interval is on one side of it.

    Raises: ValueError for another sense.
    """
    if sense not in ("<=", ">="):
        raise ValueError(f"sense is {sense!r}; give '<=' or '>='")
    if (interval.high <= target) if sense == "<=" else (interval.low >= target):
        return "yes"
    return "no" if ((interval.low > target) if sense == "<=" else (interval.high < target)) else "cannot_tell"


def missing_for_target(interval: Interval, n_utterances: int, n_speakers: int, planned: float,
                       of: str = "in the mix of use") -> More | None:
    """Say what would tell a rate from its target if it lay `planned` away from it, four times out of five.

    The interval's half has to shrink to z_97.5 / (z_97.5 + z_80) of that. Returns: None where it is as small.
    """
    z = float(stats.norm.ppf(0.975))
    wanted = planned * z / (z + float(stats.norm.ppf(POWER)))
    half = (interval.high - interval.low) / 2
    n_more = math.ceil(n_utterances * ((half / wanted) ** 2 - 1)) if math.isfinite(half) else 0
    if n_more <= 0:
        return None
    return More(n_more, n_more, n_more, math.ceil(n_more * n_speakers / n_utterances), of, planned)
