"""Champion and challenger on the same queries: how often they agree, and who was right where people wrote them down.

Tables in, tables and intervals out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench import intervals, text
from workbench.records import Interval

WON, LOST, BOTH_WRONG, DIFFERS = "won", "lost", "both wrong", "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models answered the same queries: `agreement` (fraction), and a row a query where they differ.

    `differing` has request_id, outcome (won or lost by the challenger, both wrong, or differs where nobody wrote down
    what was said), hypothesis, shadow_hypothesis, reference, and the query's own columns.
    """

    n_queries: int
    agreement: Interval
    differing: pd.DataFrame
    version: str
    shadow_version: str


def compare(pairs: pd.DataFrame, labelled: pd.DataFrame) -> Comparison | None:
    """Compare the answers of the latest champion and challenger; None where no query has both.

    `pairs` is `LogReader.pairs`'s, the latest first; `labelled` has request_id and reference.
    """
    if pairs.empty:
        return None
    version, shadow_version = pairs.iloc[0][["model_version", "shadow_version"]]
    both = pairs[pairs["model_version"].eq(version) & pairs["shadow_version"].eq(shadow_version)]
    said, shadow_said = (both[name].map(text.normalize) for name in ("hypothesis", "shadow_hypothesis"))
    differs = said.ne(shadow_said)
    users = both["user_hash"].where(both["user_hash"].ne(""), both["request_id"])
    agreement = intervals.rate_interval(~differs, np.ones(len(both)), users)
    true = both["request_id"].map(labelled.drop_duplicates("request_id").set_index("request_id")["reference"])
    outcome = np.select([true.isna(), said.eq(true), shadow_said.eq(true)], [DIFFERS, LOST, WON], BOTH_WRONG)
    differing = both.assign(outcome=outcome, reference=true.fillna(""))[differs].reset_index(drop=True)
    return Comparison(len(both), agreement, differing, str(version), str(shadow_version))


def sentence(found: Comparison) -> str:
    """Say how both compare."""
    counts = found.differing["outcome"].value_counts()
    told = f"Version {found.shadow_version} answers as version {found.version} in {found.agreement.percent()} of " \
           f"{found.n_queries:,} queries"
    n_won, n_lost = int(counts.get(WON, 0)), int(counts.get(LOST, 0))
    if not n_won + n_lost:
        return f"{told}. Who is right where they differ is not known: nobody has written those queries down."
    return f"{told}; of those written down it won {n_won} and lost {n_lost}."
