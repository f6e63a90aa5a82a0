"""Whether a model ships: its gate against scope's targets and the champion, and the audit's ledger of openings."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import (
    blocks,
    datasets,
    improvement,
    looks,
    model_registry,
    recognizers,
    scoring,
    storage,
    verdicts,
    whisper_model,
)
from workbench.differences import ALPHA
from workbench.errors import ManifestError, OvertakenError
from workbench.gates import Scope, Target
from workbench.improvement import Arms
from workbench.looks import Look
from workbench.model_registry import ModelVersion
from workbench.records import Decision, Interval

VERDICTS = {"yes": "met", "no": "missed", "cannot_tell": "cannot tell"}
ROLLBACK = "workbench rollback --by NAME"
PROMOTE = "workbench promote {version} --by NAME"
NO_BASE = ("", "demo")
"""What a model starts from when it is no checkpoint."""


def promises(scores: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Hold a scored set against scope's targets.

    Returns: metric, value, low, high, target, verdict, to_tell (what would settle it); a row a target.
    """
    found = scoring.summary(scores, scope.weights(scores))
    rows = [_promise(target, found[target.metric], scores, scope) for target in scope.targets if target.metric in found]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "target", "verdict", "to_tell"])


def _promise(target: Target, found: Interval, scores: pd.DataFrame, scope: Scope) -> dict[str, Any]:
    outcome, n_speakers = target.verdict(found), int(blocks.number(scores["speaker"], len(scores))[0].max()) + 1
    more = verdicts.missing_for_target(found, len(scores), n_speakers, scope.planned_difference)
    is_tie = more is None or more.n_utterances > scope.most_labels
    to_tell = "" if outcome != "cannot_tell" else "too close to tell: a tie" if is_tie else str(more)
    return {"metric": target.metric, "value": found.value, "low": found.low, "high": found.high, "target": str(target),
            "verdict": VERDICTS[outcome], "to_tell": to_tell}


@dataclass(frozen=True, slots=True)
class Rival:
    """The model that a candidate must hold against: a champion, which it must better, or the base that it came from.

    No comparison tells anything with a champion that is the candidate itself, or was trained on what judges.
    """

    name: str
    checkpoint: Path
    is_base: bool
    is_same: bool = False
    was_taught: bool = False

    def answers(self, utterances: pd.DataFrame) -> list[str]:
        """Decode utterances with it."""
        return list(recognizers.transcribe(self.checkpoint, utterances)["hypothesis"])


def rival(champion: str, base: str, *, model: str = "", unsplit: pd.DataFrame | None = None) -> Rival | None:
    """Name a candidate's rival: the champion; before there is one, the published model that it was fine-tuned from.

    That one hears every clip in thirty seconds: the speed of a short context is only taken where accuracy holds.
    `model` begins the candidate's hash; `unsplit` is what judges it where speakers are too few for a gate split.
    Raises: RegistryError for a champion that is not there, CheckpointError for a base that is lost.
    """
    if champion:
        found = model_registry.resolve(champion)
        is_same = bool(model) and str(found.facts["checkpoint"]).startswith(model)
        return Rival(f"version {champion}", found.folder / "model.pt", is_base=False, is_same=is_same,
                     was_taught=unsplit is not None and _was_taught(found, unsplit))
    path = whisper_model.find(base) if base not in NO_BASE else None
    is_published = path is not None and not whisper_model.notes(path)
    return Rival(f"{base}, padded", path, is_base=True) if path and is_published else None


def _was_taught(released: ModelVersion, judged: pd.DataFrame) -> bool:
    """Whether a version is known to be trained on recordings that judge."""
    with suppress(ManifestError):  # a colleague's dataset may not be here: the comparison then favours the champion
        learned = datasets.load(released.tags.get("dataset", ""), needs_audio=False).split("train", ["audio_sha"])
        return bool(judged["audio_sha"].isin(learned["audio_sha"]).any())
    return False


def look(candidate: pd.DataFrame, champion: pd.DataFrame | None, scope: Scope, *, model: str,
         rival: Rival | None) -> Look | None:
    """Note that a model is looked at on the gate split; None without a champion, where nothing is spent."""
    if champion is None or rival is None or rival.is_base or rival.is_same or rival.was_taught:
        return None
    seen = improvement.compare(Arms({}, {"before": champion, "treated": candidate}), scope)
    return looks.take(f"better than {rival.name} on gate", model, candidate["utterance_id"], seen,
                      scope.planned_difference)


def gate(candidate: pd.DataFrame, champion: pd.DataFrame | None, scope: Scope, *,
         look: Look | None = None, rival: Rival | None = None) -> Decision:
    """Decide whether a candidate ships, from both models' scores on the same gate utterances.

    With a champion only a yes of the comparison ships: better over all use, no protected slice shown to be worse.
    Without one it ships as a pilot, and the sentence says which targets are met; where it was fine-tuned from a
    published model, only when it is no worse than that by more than scope's margin. What reigns already ships again;
    where the champion learned what judges, a person has to decide.
    """
    kept = promises(candidate, scope)
    told = "; ".join(f"{row.target}: {row.verdict}" for row in kept.itertuples()) or "no target is set"
    if champion is None:
        wer = scoring.summary(candidate, scope.weights(candidate))["wer"].percent()
        return Decision("yes", f"Ships as a pilot, there is no champion yet: WER {wer} on gate ({told}).")
    if rival is not None and rival.is_same:
        return Decision("yes", f"Goes on answering: {rival.name} is this model ({told}).")
    if rival is not None and rival.was_taught:
        return Decision("cannot_tell", f"Does not ship by itself: {rival.name} was trained on what judges, while each "
                        "answer of the candidate is by a model that left the speaker out. If improve says it is "
                        f"better: {PROMOTE.format(version='VERSION')} ({told})")
    arms = Arms({}, {"before": champion, "treated": candidate})
    is_pilot = rival is not None and rival.is_base
    asked = improvement.questions(arms, scope, alpha=look.alpha if look else ALPHA,
                                  is_last=look is not None and look.is_last, ask="kept" if is_pilot else "better")
    found = verdicts.conclude(asked, yes=f"Ships as a pilot beside {rival.name}" if rival and is_pilot else "Ships",
                              no="Does not ship", not_yet="Does not ship yet")
    return Decision(found.outcome, f"{found.sentence} ({told})")


def release(version: str, decision: Decision, *, over: str) -> Decision:
    """Let a judged version answer: all users after a yes, nobody but beside the champion where nothing can be told.

    `over` is the champion ("" for none) that it was judged against.
    Returns: the decision, or that nothing is told when another version became champion meanwhile, or a person rolled
        this one back: then a person lets it answer again.
    """
    if model_registry.reigns(version):  # a challenger beside it, and who promoted it, stay as they are
        return decision
    if decision.outcome == "yes" and (by := model_registry.rolled_back_by(version)):
        return Decision("cannot_tell", f"Not released: this model was rolled back by {by}; to let it answer again: "
                        f"{PROMOTE.format(version=version)}.")
    if decision.outcome == "yes":
        try:
            model_registry.promote(version, by="deploy", over=over)
        except OvertakenError as error:
            return Decision("cannot_tell", f"Not released: {error}.")
    elif decision.outcome == "cannot_tell":
        model_registry.set_challenger(version, "shadow")
    return decision


def open_test(test: pd.DataFrame, *, run: str, model: str) -> pd.DataFrame:
    """Note in the ledger that a model is shown the frozen test set; the same model again is the same opening.

    Returns: the ledger of this test set (run, model, opened), the latest opening last.
    """
    path = storage.data_folder() / "datasets" / "test_openings.json"
    ledger: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    which = storage.hash_value(sorted(test["audio_sha"]))[:12]
    if not any(entry["test"] == which and entry["model"] == model for entry in ledger):
        opened = pd.Timestamp.now("UTC").strftime("%Y-%m-%d %H:%M")
        ledger.append({"test": which, "run": run, "model": model, "opened": opened})
        storage.write_json(path, ledger)
    return pd.DataFrame([entry for entry in ledger if entry["test"] == which])


def load_test(sent: pd.DataFrame) -> dict[str, Interval | float]:
    """Sum up a load test from one row a request (status, latency_ms, duration_s, started_s).

    Returns: requests_per_s, latency p50_ms, p95_ms, p99_ms of answered requests, real_time_factor (seconds of work a
    second of speech), n_failed.
    """
    answered = sent[sent["status"].eq(200)]
    wall_time_s = float((sent["started_s"] + sent["latency_ms"] / 1000).max() - sent["started_s"].min())
    p50, p95, p99 = answered["latency_ms"].quantile([0.5, 0.95, 0.99])
    return {
        "requests_per_s": len(answered) / wall_time_s, "p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99),
        "real_time_factor": wall_time_s / float(answered["duration_s"].sum()),
        "n_failed": float(len(sent) - len(answered)),
    }


def model_card(run: str, decision: Decision, metrics: Mapping[str, Interval], slices: pd.DataFrame, *,
               language: str = "english", noise: Sequence[str] = ()) -> str:
    """Write what a person must know before relying on a model: what it is for, how it does, and where it is worst.

    `language` is the name of the language that it hears; `noise` credits the recordings that it was trained with.
    """
    lines = [f"# Model of run {run}", "", decision.sentence, "", f"For short spoken queries in {language.title()}.", ""]
    lines += ["## Measured", ""]
    lines += [f"- {name.replace('_', ' ')}: {metric.percent()}" for name, metric in metrics.items()]
    worst = slices[slices["column"] != "speaker"].sort_values("wer", ascending=False).head(5)
    lines += ["", "## Where it is worst (test set)", ""]
    lines += [f"- {r.name}: WER {Interval(r.wer, r.wer_low, r.wer_high).percent()}, {r.n_utterances} utterances"
              for r in worst.itertuples(index=False)]
    return "\n".join(lines) + "\n" + credits(noise)


def credits(noise: Sequence[str]) -> str:
    """Write a card's section on the recordings of noise that a model was trained with; none, no section."""
    lines = ["", "## Noise it was trained with", "", *(f"- {credit}" for credit in noise), ""]
    return "\n".join(lines) if noise else ""


def rollback_rule(metrics: Sequence[str], previous: str) -> str:
    """Say in words when to go back, and how."""
    to = f"version {previous}" if previous else "no earlier version yet: the rule holds from the next release on"
    return (f"Go back to {to} when monitor says act, when answered requests fall below 99 %, or when the audited "
            f"{' or '.join(metrics)} is shown to be worse than on gate: {ROLLBACK}. The live server follows within "
            "seconds, and nothing it has acknowledged is lost.")
