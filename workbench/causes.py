"""Why utterances failed, by the ear of people: causes counted, with intervals over the speakers they come from."""

import pandas as pd

from workbench import intervals
from workbench.records import Interval


def pareto(said: pd.DataFrame, listened: pd.DataFrame) -> pd.DataFrame:
    """Count the causes that people marked (`marks.latest("cause")`) on the recordings of a set, the commonest first.

    What people listen to is what failed worst, unless they drew it by chance: shares are of what was marked.
    Returns: cause, n, share, share_low, share_high, share_so_far; empty when nothing is marked.
    """
    marked = listened.merge(said[["audio_sha", "value"]], on="audio_sha", validate="many_to_one")
    rows = []
    for cause, n in marked["value"].value_counts().items():
        rate = intervals.rate_interval(marked["value"].eq(cause), [1.0] * len(marked), marked["speaker"])
        rows.append({"cause": cause, "n": int(n), "share": rate.value, "share_low": rate.low, "share_high": rate.high})
    table = pd.DataFrame(rows, columns=["cause", "n", "share", "share_low", "share_high"])
    return table.assign(share_so_far=table["share"].cumsum())


def sentence(found: pd.DataFrame) -> str:
    """Say what was found so far in a line."""
    if found.empty:
        return "Nobody has marked the cause of an error yet; the page of error analysis has buttons for it."
    first = found.iloc[0]
    share = Interval(first["share"], first["share_low"], first["share_high"]).percent(0)
    return f"Of {found['n'].sum()} errors that people listened to, the commonest cause is {first['cause']}: {share}."
