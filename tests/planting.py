"""Dev sets in which one slice is planted: three times as much to win there as in any other, by seed.

The features are those of the demo world's plan; errors come by chance, in bunches, and some speakers are worse.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from workbench import demo_world, exploring, opportunities, slicing

N_UTTERANCES, N_SPEAKERS = 3_000, 100
ACCENT, LONG_S = "en-gb-scotland", 3.0
CEILING, BASE_WER, TIMES = 0.01, 0.05, 3.0
"""What closing another gap would take off the overall WER, the WER elsewhere, and how much more the planted offers."""
NARROW_SHARE = 0.25
PLANTED: Mapping[str, tuple[str, ...]] = {
    "car": ("noise = car",), "accent": (f"accent = {ACCENT}",), "phone": ("device = narrow",),
    "long queries": ("duration_band = 3-4 s", "duration_band = >4 s"),
}
"""What is planted, and the names under which it may come first."""
COLUMNS = ("noise", "snr_band", "accent", "gender", "device", "duration_band", "entity_type", "intent")

SPEAKER_SD = 0.5
"""Of the logarithm of a speaker's WER; sets of the default run spread as much."""
SHARE_WRONG = 0.45
"""Of an utterance's words, once any is wrong: errors come in bunches."""


@lru_cache(maxsize=2)
def features(seed: int) -> pd.DataFrame:
    """Plan a dev set of 100 speakers, a quarter of them with a band-limited phone."""
    n_voices = round(N_SPEAKERS / demo_world.SPLITS["train"])
    plan = demo_world.plan(demo_world.world(seed % 8), split="train", n=round(N_UTTERANCES / 0.97), seed=seed,
                           mix=demo_world.USE_SHARES, n_voices=n_voices)
    rng, plan = np.random.default_rng(seed), plan[plan["text"].ne("")].head(N_UTTERANCES).reset_index(drop=True)
    people = plan["speaker"].unique()
    is_narrow = plan["speaker"].isin(set(rng.choice(people, round(NARROW_SHARE * len(people)), replace=False)))
    # Seconds by letters, as a line through the default run's dev set has it.
    seconds = 0.63 + 0.055 * plan["text"].str.len() + rng.normal(0, 0.29, len(plan))
    words = plan["text"].str.split().str.len()
    return slicing.bands(plan.assign(device=plan["device"].mask(is_narrow, "narrow"),
                                     duration_s=seconds.clip(lower=0.5), n_words=words, n_chars=plan["text"].str.len()))


def members(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Say who is in each slice that can be planted."""
    return {"car": table["noise"].eq("car").to_numpy(), "accent": table["accent"].eq(ACCENT).to_numpy(),
            "phone": table["device"].eq("narrow").to_numpy(), "long queries": table["duration_s"].ge(LONG_S).to_numpy()}


def wers(table: pd.DataFrame, planted: str, shares: Mapping[str, float] | None = None, *,
         times: float = TIMES) -> np.ndarray:
    """Give the WER at which each utterance is heard: share x gap is a point in the others, `times` it where planted.

    A share is one of words; `shares` are those of use, where the table's own are not.
    """
    rates = np.full(len(table), BASE_WER)
    for name, is_in in members(table).items():
        share = (shares or {}).get(name, float(np.average(is_in, weights=table["n_words"])))
        rates += is_in * (times if name == planted else 1.0) * CEILING / share
    return np.minimum(rates, 0.9)


def scores(seed: int, planted: str) -> pd.DataFrame:
    """Draw a scored dev set with a planted slice."""
    table, rng = features(seed), np.random.default_rng([seed, 1])
    people, codes = np.unique(table["speaker"], return_inverse=True)
    skill = np.exp(rng.normal(0, SPEAKER_SD, len(people)) - SPEAKER_SD**2 / 2)[codes]
    rates = np.minimum(wers(table, planted) * skill, 0.9)
    n_words, share = table["n_words"].to_numpy(), SHARE_WRONG * (1 + rates)
    is_wrong = rng.random(len(table)) < rates / share
    more = rng.binomial(n_words - 1, np.clip((share * n_words - 1) / np.maximum(n_words - 1, 1), 0, 1))
    errors = np.where(is_wrong, 1 + more, 0)
    return table.assign(n_errors=errors, n_char_errors=4 * errors, is_exact=errors == 0)


def ranked(scored: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """Rank the slices as the page does, whose numbers are analyze's and come fast."""
    silent = scored.assign(reference="", hypothesis="", speaker=scored["speaker"].astype("category"))
    nothing = pd.DataFrame(columns=["utterance_id", "kind", "reference_word", "hypothesis_word"], dtype=str)
    columns = [column for column in slicing.slice_columns(scored) if column in COLUMNS]
    explored = exploring.Explored(silent, nothing, weights=np.ones(len(scored)), columns=columns)
    return opportunities.rank(explored.slices(np.ones(len(scored), bool)), **how)
