"""Is "better" right as often as it says: equal systems, many looks, planned power, pilots, and many slices at once?

    python -m benchmarks.comparisons --sets 10000

Two systems whose labels are swapped at random, speaker by speaker, are equal whatever they are: wanted are at most
5.5 % false "better" at one look and at five, with data that grows by speakers or by what the same speakers say. Power
is wanted within five points of the plan from 50 speakers on, when the world's variance is known; the range that a pilot
promises should hold what it really takes nine times out of ten. Of slices called changed, 5 % may be wrong. Of models
that are worse by the whole margin 5 % may be kept, whether speakers are many or few and say as much or not: told is how
many are, beside those that the interval's own t would keep. Tables are printed and kept in
reports/benchmarks/comparisons*.csv.
"""

import argparse
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks import simulated_errors
from benchmarks.simulated_errors import Pairs
from workbench import differences, planning, spending
from workbench.differences import ALPHA, PairedResult
from workbench.planning import POWER

SPEAKERS = (10, 20, 50, 200)
N_LOOKS = 5
N_FLIPS = 1_999
"""A test by sign flips is as honest with fewer; these are enough for levels of a thousandth."""

SETS_A_FLIP = 100
WORLD_SPEAKERS = 200_000
SLICES = {"noise": 5, "accent": 6, "device": 3, "gender": 2}
"""Values of each column; accent and gender belong to a speaker, noise and device to an utterance."""

TALK = {"2 of 12 say most": (400,) * 2 + (40,) * 10, "1 of 12 says most": (800,) + (40,) * 11,
        "12 of all sorts": (400, 290, 200, 150, 110, 80, 60, 44, 32, 24, 16, 12),
        **{f"{n} alike": (80,) * n for n in (8, 12, 20, 50, 200)}, "one alone": (400,)}
"""Words of each speaker, where few say most and where all say as many."""

HARM = 0.2
"""Share of errors that a harmful model adds; it is as much worse than the margin allows."""

Growth = Literal["speakers", "queries"]
Rule = Literal["spending", "another model", "naive"]


def p_better(pairs: Pairs, seed: int) -> NDArray[np.float64]:
    """Test every set; a hundred share the same flips, which no set's own test can tell."""
    totals = (pairs.n_errors_b - pairs.n_errors_a).T.astype(float)
    return np.concatenate([differences.sign_flips(totals[:, i : i + SETS_A_FLIP], N_FLIPS, seed + i)[0]
                           for i in range(0, totals.shape[1], SETS_A_FLIP)])


def levels(n_looks: int, rule: Rule) -> list[float]:
    """Give each look its level: what spending leaves to one comparison, or to a new model each time, or 5 % each."""
    fractions = [(look + 1) / n_looks for look in range(n_looks)]
    level = {"spending": spending.look_level, "another model": spending.another_level}.get(rule, lambda _: ALPHA)
    return [level(fractions[: look + 1]) for look in range(n_looks)]


def grown(pairs: Pairs, look: int, n_looks: int, growth: Growth) -> Pairs:
    """Give what is there at a look: some of the speakers, or some of what each says."""
    if growth == "queries":
        return Pairs(*(counts[: look + 1].sum(axis=0) for counts in pairs))
    return Pairs(*(counts[:, : -(-counts.shape[1] * (look + 1) // n_looks)] for counts in pairs))


def false_betters(n_speakers: int, *, n_sets: int, seed: int, n_looks: int = 1, growth: Growth = "speakers",
                  rule: Rule = "spending") -> dict[str, Any]:
    """Count sets in which equal systems are called better at any look."""
    rng, is_better = np.random.default_rng(seed), np.zeros(n_sets, bool)
    n_parts = n_looks if growth == "queries" else 1

    def draw() -> Pairs:
        return simulated_errors.swapped(rng, simulated_errors.draw_pairs(rng, (n_sets, n_speakers), 0.10, 0.05, 0.2,
                                                                         n_parts=n_parts))

    pairs = draw()
    for look, level in enumerate(levels(n_looks, rule)):
        pairs = draw() if rule == "another model" and look else pairs
        is_better |= p_better(grown(pairs, look, n_looks, growth), seed + look * n_sets) <= level
    share = float(is_better.mean())
    return {"n_speakers": n_speakers, "n_looks": n_looks, "growth": growth if n_looks > 1 else "", "rule": rule,
            "n_sets": n_sets, "false_better": share, "mc_error": simulated_errors.monte_carlo_error(share, n_sets)}


def power(n_speakers: int, wer: float, correlation: float, *, n_sets: int, seed: int) -> dict[str, Any]:
    """Plan for the gain that so many speakers should show, and count how often they do."""
    rng = np.random.default_rng(seed)
    gain, variance = _gain_for(rng, n_speakers, wer, correlation)
    planned = planning.utterances(gain * wer, variance)
    pairs = simulated_errors.draw_pairs(rng, (n_sets, n_speakers), wer, correlation, gain)
    share = float((p_better(pairs, seed) <= ALPHA).mean())
    return {"n_speakers": n_speakers, "wer": wer, "correlation": correlation, "difference": gain * wer,
            "n_utterances": planned, "n_sets": n_sets, "planned_power": POWER, "power": share,
            "mc_error": simulated_errors.monte_carlo_error(share, n_sets)}


def _gain_for(rng: np.random.Generator, n_speakers: int, wer: float, correlation: float) -> tuple[float, float]:
    """Find the gain (a share of errors) whose plan asks for so many speakers, and the world's variance there."""
    low, high, variance = 0.0, simulated_errors.SHARED, 0.0
    for _ in range(10):
        gain = (low + high) / 2
        world = simulated_errors.draw_pairs(rng, (1, WORLD_SPEAKERS), wer, correlation, gain)
        variance = simulated_errors.variance(world)
        is_enough = planning.utterances(gain * wer, variance) <= n_speakers * np.mean(simulated_errors.QUERIES)
        low, high = (low, gain) if is_enough else (gain, high)
    return gain, variance


def pilots(n_speakers: int, wer: float, correlation: float, *, n_sets: int, seed: int) -> dict[str, Any]:
    """Plan from pilots: how often does the range hold what it takes, and what power does the plan itself have?"""
    rng = np.random.default_rng(seed)
    world = simulated_errors.draw_pairs(rng, (1, WORLD_SPEAKERS), wer, correlation, 0.1)
    true = simulated_errors.variance(world)
    pairs = simulated_errors.draw_pairs(rng, (n_sets, n_speakers), wer, correlation, 0.1)
    speakers = pd.Categorical.from_codes(np.arange(n_speakers), np.arange(n_speakers))
    told = [planning.Pilot(one.se**2 * n.sum() / simulated_errors.WORDS, one.se_df, 1.0)
            for a, b, n in zip(*pairs, strict=True)
            for one in [differences.paired_difference(a, b, n, speakers, n_resamples=1)]]
    ranges, variances = np.array([one.range for one in told]), np.array([one.variance for one in told])
    holds = float(((ranges[:, 0] <= true) & (true <= ranges[:, 1])).mean())
    z = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(POWER)
    real = stats.norm.cdf(z * np.sqrt(np.quantile(variances, (0.05, 0.95)) / true) - stats.norm.ppf(1 - ALPHA))
    return {"n_speakers": n_speakers, "wer": wer, "correlation": correlation, "n_sets": n_sets,
            "promised": planning.SURE_OF_RANGE, "holds": holds,
            "mc_error": simulated_errors.monte_carlo_error(holds, n_sets),
            "too_low": float((ranges[:, 1] < true).mean()),
            "high_over_low": float(np.median(ranges[:, 1] / ranges[:, 0])), "power_from": real[0], "power_to": real[1]}


def discoveries(gain: float, *, n_sets: int, seed: int, n_speakers: int = 60, n_each: int = 12) -> dict[str, Any]:
    """Look at sixteen overlapping slices, one of which (a noise) may gain; count those that are called for nothing.

    A slice that crosses the one that gains does gain; false are calls of other noises, and of all where nothing gains.
    """
    rng, wrong, found = np.random.default_rng(seed), [], []
    for i in range(n_sets):
        slices = _slices(rng, n_speakers, n_each, gain, i)
        _, words = differences.changed(*zip(*((one.p, one.difference.value) for _, one in slices), strict=True))
        called = [name for (name, _), word in zip(slices, words, strict=True) if word != "cannot tell"]
        false = [name for name in called if not gain or (name[0] == "noise" and name[1] > 0)]
        wrong.append(len(false) / max(len(called), 1))
        found.append(("noise", 0) in called)
    rate = float(np.mean(wrong))
    return {"gain": gain, "n_slices": sum(SLICES.values()), "n_sets": n_sets, "false_discovery_rate": rate,
            "mc_error": float(np.std(wrong) / np.sqrt(n_sets)), "found_the_slice": float(np.mean(found))}


def _slices(rng: np.random.Generator, n_speakers: int, n_each: int, gain: float,
            seed: int) -> Sequence[tuple[tuple[str, int], PairedResult]]:
    speakers = np.repeat(np.arange(n_speakers), n_each)
    of = {name: rng.integers(n, size=n_speakers)[speakers] if name in ("accent", "gender")
          else rng.integers(n, size=len(speakers)) for name, n in SLICES.items()}
    rates = rng.beta(0.1 * 19, 0.9 * 19, n_speakers)[speakers]  # WER 10 %, correlation .05
    a, b = rng.binomial(4, rates), rng.binomial(4, rates * np.where(of["noise"] == 0, 1 - gain, 1.0))
    is_swapped = (rng.random(n_speakers) < 0.5)[speakers] & (gain == 0)
    a, b = np.where(is_swapped, b, a), np.where(is_swapped, a, b)
    return [((name, value), differences.paired_difference(a[is_in], b[is_in], np.full(int(is_in.sum()), 4.0),
                                                          speakers[is_in], n_resamples=N_FLIPS, seed=seed))
            for name, n in SLICES.items() for value in range(n) for is_in in [of[name] == value] if is_in.any()]


def kept(talk: str, wer: float, correlation: float, *, n_sets: int, seed: int) -> dict[str, Any]:
    """Count the models that are kept though they are worse by the whole margin, and those that are no worse at all.

    The last two columns tell it of the plain t of the interval.
    """
    margin, words = HARM * wer, TALK[talk]
    speakers = pd.Categorical.from_codes(np.arange(len(words)), np.arange(len(words)))
    row: dict[str, Any] = {"talk": talk, "wer": wer, "correlation": correlation, "n_sets": n_sets}
    for name, harm in (("false_kept", HARM), ("kept", 0.0)):
        found = [differences.paired_difference(a, b, n, speakers, n_resamples=1)
                 for a, b, n in zip(*_talked(words, n_sets, wer, correlation, harm, seed), strict=True)]
        row[name] = float(np.mean([differences.noninferiority(one, margin) is True for one in found]))
        row[f"{name}_plain"] = float(np.mean([one.difference.value + stats.t.ppf(1 - ALPHA, one.df) * one.se < margin
                                              for one in found]))
    return row | {"mc_error": simulated_errors.monte_carlo_error(row["false_kept"], n_sets)}


def _talked(words: Sequence[int], n_sets: int, wer: float, correlation: float, harm: float, seed: int) -> Pairs:
    """Draw two systems as `simulated_errors.draw_pairs` does, of speakers who say so many words."""
    rng, k = np.random.default_rng(seed), 1 / correlation - 1
    n_words = np.tile(np.array(words), (n_sets, 1))
    rates = rng.beta(wer * k, (1 - wer) * k, n_words.shape)
    own = 1 - simulated_errors.SHARED
    taste = np.maximum((own + harm) * (1 + simulated_errors.TASTE * rng.standard_normal(n_words.shape)), 0)
    both, a_alone = (rng.binomial(n_words, part * rates) for part in (simulated_errors.SHARED, own))
    return Pairs(both + a_alone, both + rng.binomial(n_words, np.minimum(taste * rates, 1)), n_words)


def main() -> None:
    """Run the benchmark and print what the claims ask for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sets", type=int, default=10_000, help="drawn sets a cell")
    parser.add_argument("--seed", type=int, default=5000)
    options = parser.parse_args()
    n, seed = options.sets, options.seed

    def report(title: str, rows: list[dict[str, Any]], name: str) -> None:
        simulated_errors.report(title, pd.DataFrame(rows).round(4), name)

    report("Equal systems, one look", [false_betters(g, n_sets=n, seed=seed) for g in SPEAKERS], "comparisons")
    looks: list[tuple[Growth, Rule]] = [("speakers", "spending"), ("queries", "spending"),
                                        ("speakers", "another model"), ("speakers", "naive")]
    report("Equal systems, five looks", [
        false_betters(g, n_sets=n, seed=seed + 1, n_looks=N_LOOKS, growth=growth, rule=rule)
        for growth, rule in looks for g in SPEAKERS], "comparisons_looks")
    worlds = [(0.10, 0.05), (0.10, 0.02), (0.02, 0.05), (0.40, 0.05)]
    report("Power, planned with the world's variance", [
        power(g, wer, c, n_sets=n, seed=seed + 2) for wer, c in worlds for g in (20, 50, 100, 200)],
        "comparisons_power")
    report("What a pilot promises", [
        pilots(g, wer, c, n_sets=n // 2, seed=seed + 3) for wer, c in worlds for g in SPEAKERS], "comparisons_pilots")
    report("Sixteen slices at once", [discoveries(gain, n_sets=n // 10, seed=seed + 4) for gain in (0.0, 0.5)],
           "comparisons_slices")
    report("Kept: no worse than the margin", [
        kept(talk, wer, c, n_sets=n // 2, seed=seed + 5)
        for wer, c in ((0.10, 0.05), (0.10, 0.10), (0.10, 0.20), (0.03, 0.10)) for talk in TALK], "comparisons_kept")


if __name__ == "__main__":
    main()
