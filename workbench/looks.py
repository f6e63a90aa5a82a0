"""The ledger of looks at growing data: "cannot tell, label more" asks to look again, and each look spends some risk."""

import json
from dataclasses import dataclass
from typing import Any

from workbench import planning, spending, storage
from workbench.differences import PairedResult


@dataclass(frozen=True, slots=True)
class Look:
    """One look: how much of the planned data is in, the risk it may spend, and how many models asked the question."""

    number: int
    fraction: float
    alpha: float
    n_models: int

    @property
    def is_last(self) -> bool:
        """Whether the speech of the plan is in, so that all risk is spent."""
        return self.fraction >= 1

    @property
    def sentence(self) -> str:
        """Say it in words."""
        models = f", {self.n_models} models tried" if self.n_models > 1 else ""
        return (f"Look {self.number}, with {100 * min(self.fraction, 1):.0f} % of the speech that the plan takes"
                f"{models}: better has to show at a risk of {100 * self.alpha:.2g} %.")


def take(question: str, model: str, paired: PairedResult, planned: float) -> Look:
    """Note a look and say what it may spend; the same model on as much data is the same look again.

    The plan is made at a question's first look. Only data that grows makes another look: a second model on the same
    data is a claim of its own, and is counted. Where an earlier look was at another model, the looks share the risk
    without counting on their likeness.
    """
    path = storage.data_folder() / "datasets" / "looks.json"
    ledger: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    mine, n = [entry for entry in ledger if entry["question"] == question], paired.n_utterances
    wanted = mine[0]["planned"] if mine else planning.utterances(planned, planning.pilot(paired).variance)
    look = {"question": question, "model": model, "n_utterances": n, "planned": wanted}
    if look not in mine:
        storage.write_json(path, [*ledger, look])
        mine.append(look)
    earlier = [entry for entry in mine if entry["n_utterances"] < n]
    fractions = [size / wanted for size in sorted({entry["n_utterances"] for entry in earlier} | {n})]
    level = spending.look_level if {entry["model"] for entry in earlier} <= {model} else spending.another_level
    return Look(len(fractions), fractions[-1], level(fractions), len({entry["model"] for entry in mine}))
