"""The workbench's score of its own predictions: what rounds of all runs were to bring, and what they brought."""

import pandas as pd

from workbench import opportunities, storage
from workbench.opportunities import Realization

COLUMNS = ["run", "request", *(f"{name}{end}" for name in ("ceiling", "predicted", "achieved")
                               for end in ("", "_low", "_high"))]


def rounds(just_now: pd.DataFrame | None = None, *, before: str = "") -> pd.DataFrame:
    """List the judged rounds of every run that had a prediction, and then those of `just_now`, each once.

    The run `before` is left out: a stage that comes before its improve finds the same when it is run again.
    Returns: run, request, then ceiling (what closing the whole gap would win), predicted and achieved (beyond the
        control), each with _low and _high: WER over all use, fractions.
    """
    found = []
    for folder in sorted((storage.data_folder() / "runs").glob("*/")):
        record = storage.read_record(folder.name, "improve") if folder.name != before else None
        if record is not None and "predictions.parquet" in record.content["outputs"]:
            found.append(_with_ceilings(record.table("predictions")).assign(run=folder.name))
    if just_now is not None and len(just_now):
        found.append(just_now.assign(run="this run"))
    table = pd.concat(found, ignore_index=True).reindex(columns=COLUMNS) if found else pd.DataFrame(columns=COLUMNS)
    return table[table["ceiling"].notna()].drop_duplicates(["request", "ceiling", "achieved"], ignore_index=True)


def _with_ceilings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Read predictions of old as what they were: they expected the whole gap to close."""
    if predictions.empty or "ceiling" in predictions:
        return predictions
    return predictions.assign(**{f"ceiling{end}": predictions[f"predicted{end}"] for end in ("", "_low", "_high")})


def realization() -> Realization:
    """Learn from all rounds so far which part of a ceiling comes true."""
    return opportunities.realized(rounds())


def is_within(table: pd.DataFrame) -> pd.Series:
    """Whether the two intervals, of what was predicted and of what came, touch at all; missing without a prediction."""
    touch = table["achieved_low"].le(table["predicted_high"]) & table["achieved_high"].ge(table["predicted_low"])
    return touch.astype("boolean").mask(table["predicted"].isna())
