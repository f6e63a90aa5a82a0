"""What scope promised and later stages read: targets, shares of use, protected slices, and the verdicts on them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench import planning, scoring, shared_runs, storage, verdicts
from workbench.differences import ALPHA, paired_difference
from workbench.errors import ParameterError, ScoringError
from workbench.planning import Pilot
from workbench.records import Interval, Outcome, spoken
from workbench.verdicts import Stakes

METRICS = ("wer", "cer", "query_accuracy", "entity_accuracy", "same_result")
PLANNED_DIFFERENCE = 0.02
"""Of the WER, where scope named none: two points are a fifth of the errors at a WER of 10 %."""

SENSES: Mapping[str, Literal["<=", ">="]] = {"at most": "<=", "at least": ">="}


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: a metric, a sense and a value (fractions)."""

    metric: str
    sense: Literal["<=", ">="]
    value: float

    def verdict(self, interval: Interval) -> Outcome:
        """Say yes only when the whole interval keeps the promise, no when none of it does."""
        return verdicts.target_verdict(interval, self.value, self.sense)

    def __str__(self) -> str:
        return f"{spoken(self.metric)} {'≤' if self.sense == '<=' else '≥'} {100 * self.value:g} %"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the scope stage left for gates: targets, the mix of use, and the slices that must not get worse."""

    targets: tuple[Target, ...]
    use_column: str
    use_shares: Mapping[str, float]
    protected: tuple[str, ...]
    margin: float
    planned_difference: float = PLANNED_DIFFERENCE
    most_labels: int = verdicts.MOST_LABELS

    def stakes(self, planned: float = 0.0, margin: float = 0.0, alpha: float = ALPHA, is_last: bool = False) -> Stakes:
        """Say what a gate is held to, as scope planned it unless another difference or margin is named."""
        return Stakes(planned or self.planned_difference, margin or self.margin, self.most_labels, alpha, is_last)

    def target(self, metric: str) -> Target | None:
        """Find the promise on a metric."""
        return next((t for t in self.targets if t.metric == metric), None)

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        """Weight utterances to the declared mix of use; all alike where the data knows none of its values.

        An utterance of a value that nobody declared is no part of use and has no weight; one whose value is missing
        stands for itself.
        Returns: one weight an utterance, 1 on average.
        """
        is_declared, is_missing = self._placed(table)
        if not is_declared.any():
            return np.ones(len(table))
        weights = is_missing.astype(float)
        declared = poststratification_weights(table.loc[is_declared, self.use_column], self.use_shares)
        weights[is_declared] = declared * (len(table) - is_missing.sum()) / len(declared)
        return weights

    def n_left_out(self, table: pd.DataFrame) -> int:
        """Count the utterances that have no weight, for nobody declared how often such are asked."""
        is_declared, is_missing = self._placed(table)
        return int((~is_declared & ~is_missing).sum()) if is_declared.any() else 0

    def _placed(self, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Say of each utterance whether its value is declared, and whether it has none."""
        values = table.get(self.use_column, pd.Series(None, table.index, dtype=object))
        return values.isin(list(self.use_shares)).to_numpy(bool), (values.isna() | values.eq("")).to_numpy(bool)


def parse_target(line: str) -> Target:
    """Read `wer at most 0.10`. Raises: ParameterError that names the metrics."""
    metric, _, rest = line.strip().partition(" ")
    sense, _, value = rest.strip().rpartition(" ")
    if metric in METRICS and sense in SENSES:
        try:
            return Target(metric, SENSES[sense], float(value))
        except ValueError:
            pass
    raise ParameterError(
        f"target is {line!r}; write `METRIC at most VALUE` or `METRIC at least VALUE`, "
        f"METRIC one of {', '.join(METRICS)}, VALUE a fraction such as 0.10"
    )


def parse_shares(lines: Sequence[str]) -> dict[str, float]:
    """Read `["quiet 0.4", "car 0.2", ...]`. Raises: ParameterError unless the shares add up to one."""
    try:
        shares = {name: float(share) for name, share in (line.rsplit(maxsplit=1) for line in lines)}
    except ValueError as error:
        raise ParameterError(f"use_shares is {list(lines)}; write each as `NAME SHARE`, such as `car 0.2`") from error
    if shares and abs(sum(shares.values()) - 1) > 0.005:
        raise ParameterError(f"use_shares add up to {sum(shares.values()):g}; they must add up to 1")
    return shares


def save_fields(
    targets: Sequence[str], use_column: str, use_shares: Sequence[str], protected: Sequence[str], margin: float,
    planned_difference: float = PLANNED_DIFFERENCE, most_labels: int = verdicts.MOST_LABELS,
) -> dict[str, Any]:
    """Give scope's promises in the form that `read` takes back."""
    return {
        "targets": [asdict(parse_target(line)) for line in targets],
        "use_column": use_column,
        "use_shares": parse_shares(use_shares),
        "protected": list(protected),
        "margin": margin,
        "planned_difference": planned_difference,
        "most_labels": most_labels,
    }


def read(fields: Mapping[str, Any]) -> Scope:
    """Read what scope left."""
    return Scope(
        tuple(Target(**t) for t in fields["targets"]),
        fields["use_column"],
        fields["use_shares"],
        tuple(fields["protected"]),
        fields["margin"],
        fields.get("planned_difference", PLANNED_DIFFERENCE),
        fields.get("most_labels", verdicts.MOST_LABELS),
    )


def pilot(run: str) -> Pilot:
    """Take from an earlier run how much two models of one family differ: the arms of its last round, on dev.

    Raises: ParameterError where that run has no such arms.
    """
    shared_runs.bring(run)
    record = storage.read_record(run, "improve")
    if record is None or "listened.parquet" not in record.content["outputs"]:
        raise ParameterError(f"pilot is {run!r}, which has no answers of improve's arms; name a run whose improve "
                             'compared some, or "" to assume how much models differ')
    heard = record.table("listened")
    control, treated = (scoring.score(part, part["hypothesis"].tolist())
                        for arm in ("control", "treated") for part in [heard[heard["arm"].eq(arm)]])
    return planning.pilot(paired_difference(control["n_errors"], treated["n_errors"], control["n_words"],
                                            control["speaker"]))


def poststratification_weights(values: pd.Series, shares: Mapping[str, float]) -> np.ndarray:
    """Weigh utterances so that each value counts as in use: its share of use / its share of the set; the mean is 1.

    Declared values that the set lacks cannot be weighted up; the others keep their proportions.
    Raises: ScoringError when the set holds values without a share.
    """
    found = values.value_counts(dropna=False)
    strange = ["(missing)" if pd.isna(value) else str(value) for value in found.index if value not in shares]
    if strange:
        raise ScoringError(f"no share of use for {values.name} = {', '.join(strange)}; declared are "
                           f"{', '.join(shares)}: add them to the use shares, or leave those utterances out")
    present = {value: shares[value] for value in found.index}
    if sum(present.values()) <= 0:
        raise ScoringError(f"all use shares of {', '.join(map(str, present))} are 0; declare one above 0")
    weights = {value: share / sum(present.values()) * len(values) / found[value] for value, share in present.items()}
    return values.map(weights).to_numpy(float)
