"""What production teaches: who may be learned from and who judges, the data, and whether the challenger may answer.

Those who judge are other users, on later days: nothing of theirs is ever trained on, so that what a model remembers of
a voice or a week is no merit. The base gate split stays as it was, and says what was forgotten.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import (
    audio,
    consented_audio,
    datasets,
    engines,
    improvement,
    labelling,
    looks,
    many_machines,
    model_registry,
    query_log,
    recognizers,
    reference_fit,
    rounds,
    scoring,
    verdicts,
)
from workbench.datasets import Dataset
from workbench.differences import ALPHA, PairedResult
from workbench.gates import Scope
from workbench.improvement import Arms
from workbench.looks import Look
from workbench.model_registry import ModelVersion
from workbench.records import Decision, Interval
from workbench.verdicts import Gate, Stakes, Verdict

SOURCE = "production"
SALT = "production-judges"
"""Changing it lets users who judged be learned from: what was measured with them would be void."""
SHARES: Mapping[str, float] = {"train": .69, "valid": .06, "judge": .25}
"""Of the users: who is learned from, who chooses the checkpoint, who judges, besides all who come later."""
DAY_S = 86_400.0
STAGE, ANSWERED = "retrain", 200


@dataclass(frozen=True, slots=True)
class Pools:
    """Request ids that may be learned from, and those that judge; `later_s` is when judging begins."""

    learned: frozenset[str]
    judged: frozenset[str]
    later_s: float


def pools(log: pd.DataFrame, *, n_later_days: float) -> Pools:
    """Divide consented queries: the last days judge, by users of whom nothing is learned; the days before teach.

    A quarter of the users are judges for ever, and so is who first called when judging had begun. The early queries of
    judges and the late ones of those learned from are left alone.
    """
    rows = labelling.askable(log)
    later_s = float(rows["time_s"].max()) - n_later_days * DAY_S if len(rows) else 0.0
    is_later, is_judge = rows["time_s"].ge(later_s), rows["user_hash"].map(split_of(rows["user_hash"])).eq("judge")
    is_new = ~rows["user_hash"].isin(set(rows.loc[~is_later, "user_hash"]))
    return Pools(frozenset(rows.loc[~is_judge & ~is_later, "request_id"]),
                 frozenset(rows.loc[is_later & (is_judge | is_new), "request_id"]), later_s)


def what_lacks(log: pd.DataFrame, pool: Pools, *, n_later_days: float, run: str) -> Decision | None:
    """Say what nobody can be asked without, or None: queries that teach, and later ones that judge."""
    if pool.learned and pool.judged:
        return None
    times = labelling.askable(log)["time_s"]
    days = (times.max() - times.min()) / DAY_S if len(times) else 0.0
    return Decision("waiting", f"Waiting for people to call: of {len(times):,} consented queries over {days:.1f} days, "
                    f"{len(pool.learned):,} may be learned from and {len(pool.judged):,} judge; it takes some of each. "
                    f"The last {n_later_days:g} days judge, those before teach. Afterwards: workbench run retrain "
                    f"--force --run {run}; or let fewer days judge: -p retrain.later_days={n_later_days / 2:g}.")


def split_of(users: pd.Series) -> dict[str, str]:
    """Give each user train, valid or judge, for ever, by salted hash."""
    return datasets.assign_splits(users, SALT, SHARES)


def replay(version: str, log: pd.DataFrame, ids: Collection[str]) -> dict[str, str]:
    """Let a released version answer consented recordings again; nothing where there is no such version ("").

    Returns: its answer by request_id.
    """
    rows = labelling.askable(log).query("request_id in @ids")
    if not version or rows.empty:
        return {}
    paths = [str(consented_audio.clip_path(sha)) for sha in rows["audio_sha"]]
    engine = partial(engines.FastRecognizer, model_registry.resolve(version).folder / "engine")
    heard = many_machines.decode(engine, rows.assign(utterance_id=rows["request_id"], audio_path=paths))
    return dict(zip(heard["utterance_id"], heard["hypothesis"], strict=True))


# --- the data --------------------------------------------------------------------------------------------------------


def learn(speech: Dataset, labels: pd.DataFrame, log: pd.DataFrame, pool: Pools) -> Dataset:
    """Make a dataset version that holds what people wrote down of production, by user in train or valid.

    Raises: ManifestError when no label is of a query that may be learned from.
    """
    said = _described(labels[labels["request_id"].isin(pool.learned)], log)
    return datasets.extend(speech, _with_sound(said), note=f"{len(said)} production queries, labelled")


def _described(labels: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """Put beside each label what the log knows of its query."""
    known = labelling.askable(log)[["request_id", "user_hash", "device", "app_version", "audio_sha", "duration_s",
                                    "level_dbfs", "time_s"]]
    rows = labels[["request_id", "reference"]].merge(known, on="request_id", validate="one_to_one")
    paths = [str(consented_audio.clip_path(sha)) for sha in rows["audio_sha"]]
    return rows.rename(columns={"request_id": "utterance_id", "user_hash": "speaker"}).assign(
        text=rows["reference"], source=SOURCE, audio_path=paths)


def _with_sound(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Give dataset rows with their sound, which a dataset keeps for itself: production's own is under a time limit."""
    splits = split_of(rows["speaker"])
    for row in rows.drop(columns="time_s").to_dict("records"):
        yield {**{str(name): value for name, value in row.items()}, "split": splits[row["speaker"]],
               "samples": audio.read(row["audio_path"])}


def judging_set(labels: pd.DataFrame, log: pd.DataFrame, pool: Pools) -> pd.DataFrame:
    """Give the audited queries of users and days that nothing is learned from; a table of its own, in no dataset.

    Returns: utterance_id, speaker, reference, text, audio_path, audio_sha, device, duration_s, ..., in order of time.
    """
    audited = labels[labels["kind"].eq(labelling.AUDIT) & labels["request_id"].isin(pool.judged)]
    return _described(audited, log).sort_values(["time_s", "utterance_id"], ignore_index=True)


def replayed(grown: Dataset, *, base_share: float) -> pd.DataFrame:
    """Give what the challenger learns from: all of the base training split, and production, repeated to be heard.

    Production is repeated whole times until base clips are at most `base_share` of all, so that one pass teaches what
    is new without forgetting what is old.
    Raises: ValueError for a share that is not between 0 and 1.
    """
    if not 0 < base_share < 1:
        raise ValueError(f"base_share is {base_share}; give a fraction between 0 and 1")
    is_new = grown.train["source"].eq(SOURCE)
    base, new = grown.train[~is_new], grown.train[is_new]
    n_times = max(1, int(np.ceil(len(base) * (1 - base_share) / base_share / max(1, len(new)))))
    return pd.concat([base, *[new] * n_times], ignore_index=True)


def elsewhere(sent: pd.DataFrame, grown: Dataset, version: str) -> pd.DataFrame:
    """Give what a version answered to users of whom nothing was learned: the demo world examines from outside.

    These need not have consented, for their recordings never leave the phones' side of the simulation.
    """
    users = sent["user"].map({user: query_log.user_hash(str(user)) for user in sent["user"].unique()})
    is_free = ~users.isin(set(grown.table["speaker"])) & sent["status"].eq(ANSWERED) & sent["model_version"].eq(version)
    return sent.assign(speaker=users)[is_free].reset_index(drop=True)


# --- the models ------------------------------------------------------------------------------------------------------


def reigning(run: str) -> ModelVersion:
    """Find the champion that a run's challenger is held against; a rerun finds the one from before its own promotion.

    Raises: RegistryError when there is no champion.
    """
    champion = model_registry.resolve("champion")
    is_own = (champion.tags.get("run"), champion.tags.get("stage")) == (run, STAGE)
    return model_registry.resolve("previous") if is_own else champion


# --- the verdict -----------------------------------------------------------------------------------------------------


def compare(champion: Path, challenger: Path, utterances: pd.DataFrame) -> Arms:
    """Let both models hear the same recordings."""
    checkpoints = {"before": champion, "treated": challenger}
    heard = {arm: recognizers.transcribe(path, utterances)["hypothesis"] for arm, path in checkpoints.items()}
    return Arms(checkpoints, {arm: scoring.score(utterances, said.tolist()) for arm, said in heard.items()})


@dataclass(frozen=True, slots=True)
class Trial:
    """Both models on the base gate split and on production that judges; how much may be forgotten, as a fraction.

    `alpha` is the risk that this look at production may spend, `is_last` whether it spends all that is left.
    """

    base: Arms
    production: Arms
    scope: Scope
    budget: float
    alpha: float = ALPHA
    is_last: bool = False


def listened(challenger: Path, speech: Dataset, *, is_accepted: bool) -> pd.DataFrame:
    """Let the challenger listen to dev, which is open for browsing.

    Returns: the columns of train's `listened`, then arm and is_accepted; no row where speakers are too few for a dev.
    """
    if speech.dev.empty:
        return speech.dev
    heard = improvement.in_order(speech.dev, reference_fit.listen(challenger, speech.dev))
    return heard.assign(arm="challenger", is_accepted=is_accepted)


def questions(trial: Trial) -> list[Gate]:
    """Ask whether production is heard better, the base gate kept within the budget, and protected slices spared."""
    production, base = (improvement.compare(arms, trial.scope) for arms in (trial.production, trial.base))
    return [Gate("on production", "better", production, _a_third(trial, production), of="of production"),
            Gate("on the base gate", "kept", base, trial.scope.stakes(margin=trial.budget)),
            *improvement.spared(trial.base, trial.scope)]


def look(trial: Trial, *, champion: str, challenger: str) -> tuple[Trial, Look]:
    """Note that a challenger is looked at on production: what this look may spend goes with the trial."""
    production, judged = improvement.compare(trial.production, trial.scope), trial.production.scores["before"]
    taken = looks.take(f"better than version {champion} on production", challenger, judged["utterance_id"], production,
                       _a_third(trial, production).planned)
    return replace(trial, alpha=taken.alpha, is_last=taken.is_last), taken


def _a_third(trial: Trial, production: PairedResult) -> Stakes:
    return trial.scope.stakes(planned=production.rate_a / 3, alpha=trial.alpha, is_last=trial.is_last)


def gates(trial: Trial) -> pd.DataFrame:
    """Hold the challenger against the champion gate by gate. Returns: what `verdicts.table` does."""
    return verdicts.table(questions(trial))


def decide(trial: Trial) -> Verdict:
    """Let the challenger answer only if production is heard better and nothing that counts is lost.

    The base gate must be shown to stay within the budget, and no protected slice may be shown to be worse. Where
    production does not tell, the sentence says what it takes to see a third of the errors go.
    """
    return verdicts.conclude(questions(trial), yes="The challenger is better where people use it",
                             no="The challenger may not answer", not_yet="The challenger may not answer yet")


def answered(first: pd.DataFrame, second: pd.DataFrame) -> Arms:
    """Put the live server's answers to the same recordings, then and now, side by side; what failed now is left out."""
    now = second[second["status"].eq(ANSWERED)].set_index("utterance_id")["text"]
    both = first[first["utterance_id"].isin(now.index)].reset_index(drop=True)
    heard = {"before": both["hypothesis"], "treated": both["utterance_id"].map(now)}
    said = both.drop(columns="hypothesis")
    return Arms({}, {arm: scoring.score(said, answers.tolist()) for arm, answers in heard.items()})


def won_back(arms: Arms) -> dict[str, Interval]:
    """Measure the same clips through both models. Returns: wer_champion, wer_challenger, relative_change."""
    everything = np.ones(len(arms.scores["before"]), bool)
    return {"wer_champion": scoring.summary(arms.scores["before"])["wer"],
            "wer_challenger": scoring.summary(arms.scores["treated"])["wer"],
            "relative_change": rounds.relative_change(arms, everything)}


def measures(trial: Trial) -> dict[str, Interval]:
    """Give the trial's numbers for records: production of both models and its changes, and the base gate's change."""
    change, base = (improvement.compare(arms, trial.scope).difference for arms in (trial.production, trial.base))
    return {**{f"production_{name}": value for name, value in won_back(trial.production).items()},
            "production_change": change, "base_gate_change": base}


def model_card(run: str, decision: Decision, held: pd.DataFrame) -> str:
    """Write what a person must know before promoting a challenger; no words of production are in it."""
    lines = [f"# Challenger of run {run}", "", decision.sentence, "", "## Gates", ""]
    for row in held.to_dict("records"):
        change = Interval(row["change"], row["change_low"], row["change_high"]).points()
        lines.append(f"- {row['gate']}: {row['verdict']}; WER {100 * row['champion']:.1f} % to "
                     f"{100 * row['challenger']:.1f} %, {change}, {row['n_utterances']} utterances of "
                     f"{row['n_speakers']} speakers")
    return "\n".join(lines) + "\n"


def by_device(arms: Arms, scope: Scope) -> pd.DataFrame:
    """Lay both models side by side for each phone; columns as `rounds.by_slice` gives them, without a control."""
    with_control = Arms(arms.checkpoints, {**arms.scores, "control": arms.scores["before"]})
    table = rounds.by_slice(with_control, scope, ["device"])
    return table.drop(columns=[name for name in table if name == "control" or str(name).startswith("beyond")])


def without_words(arms: Arms) -> pd.DataFrame:
    """Give a row a judged query with counts alone: request_id, speaker, device, n_words, and the errors of both."""
    first, second = arms.scores["before"], arms.scores["treated"]
    return pd.DataFrame({"request_id": first["utterance_id"], "speaker": first["speaker"], "device": first["device"],
                         "n_words": first["n_words"], "n_errors_champion": first["n_errors"],
                         "n_errors_challenger": second["n_errors"]})
