"""Queries that were asked again: the surest sign, without any label, that an answer was of no use."""

import numpy as np
import pandas as pd

from workbench import terms

WITHIN_S = 30.0
"""A user who asks again so soon is still after the same thing."""
ALIKE_FROM = 0.5
"""From this likeness by spelling and sound on, two answers are to the same question, heard twice."""


def rephrased(rows: pd.DataFrame) -> pd.Series:
    """Say which queries their user asked again: within 30 s, and what was heard then is much like what was heard first.

    `rows` holds user_hash, time_s, hypothesis, error, compression_ratio (0 of an empty answer). An empty answer or an
    error that is followed by any query of the same user counts too: the user got nothing.
    Returns: 1.0, 0.0, or nan where it cannot be known (no user, or words that were dropped), on the index of `rows`.
    """
    rows = rows.sort_values(["user_hash", "time_s"], kind="stable")
    following = rows.shift(-1)
    is_soon = following["user_hash"].eq(rows["user_hash"]) & (following["time_s"] - rows["time_s"]).le(WITHIN_S)
    got_nothing = rows["error"].ne("") | rows["compression_ratio"].eq(0)
    is_known = rows["user_hash"].ne("") & (rows["hypothesis"].ne("") | got_nothing)
    found = pd.Series(np.where(is_known, 0.0, np.nan), index=rows.index)
    for at in rows.index[is_soon & is_known]:
        first, second = str(rows.at[at, "hypothesis"]), str(following.at[at, "hypothesis"])
        is_alike = bool(first and second) and terms.likeness([first], [second])[0, 0] >= ALIKE_FROM
        found[at] = float(got_nothing[at] or is_alike)
    return found.sort_index()
