"""Rounds of improvement: the model as it was, one trained on with the requested data, one without; who is better?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from workbench import (
    cross_fitting,
    data_requests,
    differences,
    opportunities,
    recognizers,
    reference_fit,
    scoring,
    settings,
    side_by_side,
    slicing,
    starting,
    training,
    verdicts,
    whisper_model,
)
from workbench.blocks import LEVEL
from workbench.data_requests import Request
from workbench.datasets import Dataset
from workbench.differences import ALPHA, PairedResult
from workbench.gates import Scope
from workbench.opportunities import NO_ROUNDS, Realization
from workbench.recipes import Recipe
from workbench.records import Decision
from workbench.verdicts import Gate, Verdict


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same from round to round."""

    run: str
    scope: Scope
    recipe: Recipe
    size: str
    seed: int
    n_steps: int
    n_rounds: int = 1
    """Rounds that may be asked on the same gate: they share the risk of keeping a model that is no better."""


@dataclass(frozen=True, slots=True)
class Arms:
    """Three checkpoints, `before`, `control` and `treated`, and how each scores on the same utterances, in order.

    Raises: ValueError when arms are scored on other utterances or other references than the first.
    """

    checkpoints: Mapping[str, Path]
    scores: Mapping[str, pd.DataFrame]

    def __post_init__(self) -> None:
        first, *others = ([scores[name].tolist() for name in ("utterance_id", "reference") if name in scores]
                          for scores in self.scores.values())
        if any(said != first for said in others):
            raise ValueError(f"{', '.join(self.scores)} are scored on different references; score all of them on one "
                             "version of the dataset, in its order")


@dataclass(frozen=True, slots=True)
class Round:
    """One request answered: what was brought, the arms, and what was decided."""

    request: Request
    data: Dataset
    arms: Arms
    decision: Decision

    @property
    def best(self) -> Path:
        """Give the checkpoint that goes on."""
        return self.arms.checkpoints["treated" if self.decision.outcome == "yes" else "before"]

    @property
    def best_scores(self) -> pd.DataFrame:
        """Give the gate scores of the checkpoint that goes on."""
        return self.arms.scores["treated" if self.decision.outcome == "yes" else "before"]


def steps_of_a_round(speech: Dataset, size: str) -> int:
    """Say how long each arm trains: on from the best model, or from nothing once a speaker left out."""
    amounts = settings.amounts(size)
    return amounts.n_fold_steps if speech.is_few_speakers else amounts.n_round_steps


def in_order(utterances: pd.DataFrame, heard: pd.DataFrame) -> pd.DataFrame:
    """Put hypotheses beside their utterances, in the utterances' order; a column that both have is what was heard."""
    own = utterances.drop(columns=[name for name in heard if name != "utterance_id"], errors="ignore")
    return own.merge(heard, on="utterance_id", how="left", validate="one_to_one")


def go_round(best: Path, speech: Dataset, grown: Dataset, request: Request, plan: Plan) -> Round:
    """Train on with and without what was brought, score all on the gate split, and decide."""
    arms = _fold_arms(best, speech, grown, plan) if speech.is_few_speakers else _arms(best, speech, grown, plan)
    return Round(request, grown, arms, decide(arms, plan.scope, alpha=ALPHA / plan.n_rounds))


def _arms(best: Path, speech: Dataset, grown: Dataset, plan: Plan) -> Arms:
    def train_on(data: Dataset, title: str) -> Path:
        return training.fit(
            whisper_model.load(best),
            data.train,
            valid=speech.valid,
            recipe=plan.recipe,
            n_steps=plan.n_steps,
            seed=plan.seed,
            is_finetuning=True,
            title=title,
        ).checkpoint

    control, treated = side_by_side.run(
        [partial(train_on, speech, "control"), partial(train_on, grown, "with the request")])
    checkpoints = {"before": best, "control": control, "treated": treated}
    heard = {arm: recognizers.transcribe(checkpoint, speech.gate) for arm, checkpoint in checkpoints.items()}
    return Arms(checkpoints, {arm: scoring.score(speech.gate, table["hypothesis"]) for arm, table in heard.items()})


def _fold_arms(best: Path, speech: Dataset, grown: Dataset, plan: Plan) -> Arms:
    """Compare with fewer than ten speakers, where there is no gate split.

    Both arms are trained from the recipe's base once a speaker left out; `before` is the control, and the treated
    checkpoint is trained on all.
    """

    def model() -> whisper_model.SpeechModel:
        return starting.build(plan.recipe.base, plan.size, recipe=plan.recipe, seed=plan.seed)

    extra = grown.table[~grown.table["utterance_id"].isin(set(speech.table["utterance_id"]))]
    arms = {
        arm: in_order(
            speech.table,
            cross_fitting.fit_folds(
                model, speech.table, recipe=plan.recipe, n_steps=plan.n_steps, seed=plan.seed, extra=added,
                is_finetuning=bool(plan.recipe.base)
            ),
        )
        for arm, added in (("control", None), ("treated", extra))
    }
    final = training.fit(
        model(),
        grown.table,
        valid=None,
        recipe=plan.recipe,
        seed=plan.seed,
        n_steps=settings.amounts(plan.size).n_few_steps,
        is_finetuning=bool(plan.recipe.base),
    )
    scores = {arm: scoring.score(heard, heard["hypothesis"]) for arm, heard in arms.items()}
    return Arms({"before": best, "control": best, "treated": final.checkpoint}, {"before": scores["control"], **scores})


def listened(last: Round) -> pd.DataFrame:
    """Let the arms of a round listen to dev, which is open for browsing; gate only gives verdicts.

    Returns: the columns of train's `listened`, then arm (control, treated) and is_accepted.
    """
    if last.data.is_few_speakers:  # no splits: what the arms that left each speaker out heard is open as it is
        heard = {arm: last.arms.scores[arm] for arm in ("control", "treated")}
    else:
        heard = {arm: in_order(last.data.dev, reference_fit.listen(last.arms.checkpoints[arm], last.data.dev))
                 for arm in ("control", "treated")}
    is_kept = last.decision.outcome == "yes"
    return pd.concat([table.assign(arm=arm, is_accepted=is_kept and arm == "treated") for arm, table in heard.items()],
                     ignore_index=True)


def compare(
    arms: Arms, scope: Scope, *, first: str = "before", second: str = "treated", picked: np.ndarray | None = None
) -> PairedResult:
    """Compare two arms on the same utterances, paired and blocked by speaker.

    All utterances are weighted to use; those of a slice, `picked` by a mask, count alike.
    """
    a, b = arms.scores[first], arms.scores[second]
    weights = scope.weights(a) if picked is None else None
    rows = np.ones(len(a), bool) if picked is None else picked
    errors_a, errors_b, totals, speakers = (
        s[rows].to_numpy() for s in (a["n_errors"], b["n_errors"], a["n_words"], a["speaker"])
    )
    return differences.paired_difference(errors_a, errors_b, totals, speakers, weights=weights)


def protected(arms: Arms, scope: Scope) -> dict[str, np.ndarray]:
    """Give the mask of each protected slice (`column value`) that the data knows."""
    table, masks = slicing.bands(arms.scores["before"]), {}
    for name in scope.protected:
        column, _, value = (part.strip() for part in name.partition(" "))
        if column in table and table[column].eq(value).any():
            masks[name] = table[column].eq(value).to_numpy()
    return masks


def questions(arms: Arms, scope: Scope, *, alpha: float = ALPHA, is_last: bool = False,
              ask: Literal["better", "kept"] = "better") -> list[Gate]:
    """Ask what a new model is asked everywhere: better over all use, and no protected slice shown to be worse.

    A model that wins something else, such as speed, is asked to be `kept`: no worse than the margin.
    """
    return [Gate("over all use", ask, compare(arms, scope), scope.stakes(alpha=alpha, is_last=is_last)),
            *spared(arms, scope)]


def spared(arms: Arms, scope: Scope) -> list[Gate]:
    """Ask whether each protected slice is spared: harm is shown when the whole interval lies beyond the margin."""
    stakes = scope.stakes(alpha=(1 - LEVEL) / 2)
    return [Gate(f"with {name}", "spared", compare(arms, scope, picked=picked), stakes, of=f"with {name}")
            for name, picked in protected(arms, scope).items()]


def decide(arms: Arms, scope: Scope, *, alpha: float = ALPHA) -> Verdict:
    """Keep the treated model only when it is better over all use and no protected slice is shown to get worse."""
    return verdicts.conclude(questions(arms, scope, alpha=alpha), yes="Kept", no="Not kept", not_yet="Not kept yet")


def next_requests(last: Round, plan: Plan, realization: Realization = NO_ROUNDS) -> list[Request]:
    """Ask again, from what the best model now hears on dev; for nothing when the target is met or nothing stands out.

    Returns: one request or none.
    """
    target = plan.scope.target("wer")
    reached = scoring.summary(last.best_scores, plan.scope.weights(last.best_scores))["wer"]
    if last.data.is_few_speakers or (target is not None and target.verdict(reached) == "yes"):
        return []
    heard = in_order(last.data.dev, recognizers.transcribe(last.best, last.data.dev))
    scores = slicing.bands(scoring.score(heard, heard["hypothesis"]))
    slices = slicing.slice_table(
        scores, slicing.slice_columns(scores), expressions=plan.recipe.slices, weights=plan.scope.weights(scores)
    )
    ranked = opportunities.rank(slices, realization=realization, max_clips=settings.amounts(plan.size).n_request)
    first = opportunities.first(ranked)
    return [data_requests.ask(plan.run, first, dataset_version=last.data.version)] if first else []
