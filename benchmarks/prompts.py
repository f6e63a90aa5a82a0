"""What do prompts trained in, and several hypotheses, do for a list of names? Two fits of one model, side by side.

    python benchmarks/prompts.py --run default
    python benchmarks/prompts.py --run default --choose      # the bonus, chosen on people of valid

The run's model goes on for the same steps over the same clips, without lists and with a list for half of the
utterances; the fits are kept. Dev then hears each utterance with a list of ten names: its own among them, others only,
and none. Wanted: with the right list more names and a lower WER than the letters alone get; with others only, and with
none, no more than half a point of WER lost. The tables go to reports/benchmarks/prompts.md.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import biasing as lists
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import (
    audio,
    catalogue,
    datasets,
    differences,
    engines,
    intervals,
    probes,
    progress,
    recipes,
    scoring,
    settings,
    storage,
    training,
    whisper_model,
)
from workbench.biasing import LETTERS_WEIGHT, NAME_BONUS, BiasingList, Rules

N_LISTED, N_BEST, SHARE = 10, 5, 0.5
NAMES = tuple(name for group in catalogue.ENTITIES.values() for name in group if len(name) >= 4)
NEW_CLIPS = 15
LETTERS_ALONE = Rules()
NOTHING = Rules(margin=np.inf)
"""Rules under which no letters are ever believed: what a prompt does by itself."""
BEAM, BEAM_ALONE = replace(LETTERS_ALONE, n_best=N_BEST), replace(NOTHING, n_best=N_BEST)


def fit(run: str, n_steps: int, share: float) -> Path:
    """Go on from the run's improved model, with lists for a share of the utterances. Returns: its engine."""
    made, speech = storage.run_folder(run) / "05_improve" / "model.pt", _speech(run)
    recipe = recipes.load("default")
    recipe = replace(recipe, fit=replace(recipe.fit, prompt_share=share, n_validations=2))
    began_s = time.monotonic()
    done = training.fit(whisper_model.load(made), speech.train, valid=speech.valid, recipe=recipe, n_steps=n_steps,
                        is_finetuning=True, title=f"prompt_share {share:g}")
    print(f"prompt_share {share:g}: {n_steps:,} steps, {done.wall_time_s / n_steps:.3f} s each, best at "
          f"{done.best_step:,}; this call {time.monotonic() - began_s:.0f} s")
    return engines.export(done.checkpoint, storage.cache_folder("prompts") / done.key)


def _speech(run: str) -> datasets.Dataset:
    record = storage.read_record(run, "improve")
    assert record is not None, f"run {run} has not been improved: workbench run --to improve"
    return datasets.load(record.json("dataset")["version"])


# --- lists -----------------------------------------------------------------------------------------------------------


def own_lists(said: pd.DataFrame, *, is_right: bool, seed: int = 0) -> list[list[str]]:
    """Give each utterance a list of ten: the name it is about and nine that it does not say, or ten of these."""
    rng, found = np.random.default_rng(seed), []
    for text, entity in said[["text", "entity"]].fillna("").to_numpy():
        own = [entity] if is_right and len(entity) >= 4 else []
        others = [name for name in NAMES if f" {name} " not in f" {text} "]
        names = [*own, *rng.choice(others, N_LISTED - len(own), replace=False).tolist()]
        found.append([names[i] for i in rng.permutation(len(names))])
    return found


def hear(engine: Path, said: pd.DataFrame, listed: Sequence[Sequence[str]], rules: Rules) -> pd.DataFrame:
    """Hear each utterance with its own list, alone, once. Returns: hypothesis, and ms of processor time each."""
    key = storage.hash_value([engines.facts(engine)["files"], said["audio_sha"].tolist(), listed, asdict(rules)])[:16]
    kept = storage.cache_folder("prompts") / f"{key}.parquet"
    if not kept.is_file():
        storage.write_table(kept, _heard(engine, said, listed, rules))
    return pd.read_parquet(kept)


def _heard(engine: Path, said: pd.DataFrame, listed: Sequence[Sequence[str]], rules: Rules) -> pd.DataFrame:
    recognizer, answers = engines.FastRecognizer(engine, n_threads=1), []
    began_s = time.process_time()
    for path, names in progress.track(zip(said["audio_path"], listed, strict=True), "hearing", total=len(said)):
        biased = recognizer.biased(BiasingList(dict.fromkeys(names, ""), rules))
        answers += [h.text for h in biased.transcribe([audio.read(path)])]
    return pd.DataFrame({"hypothesis": answers, "ms": 1e3 * (time.process_time() - began_s) / len(said)})


# --- what comes out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to answer: which fit, with what lists, under which rules."""

    fit: str
    listed: str
    by: str
    rules: Rules


NO_LIST = Way("without prompts", "none", "", NOTHING)
WAYS = (NO_LIST, *(Way(fit, listed, by, rules) for listed in ("right", "others") for fit, by, rules in (
            ("without prompts", "letters", LETTERS_ALONE), ("without prompts", f"{N_BEST} best", BEAM_ALONE),
            ("without prompts", f"{N_BEST} best and letters", BEAM), ("with prompts", "prompt", NOTHING),
            ("with prompts", "prompt and letters", LETTERS_ALONE),
            ("with prompts", f"prompt, {N_BEST} best and letters", BEAM))),
        Way("with prompts", "none", "", NOTHING))


def compare(heard: Mapping[Way, pd.DataFrame], said: pd.DataFrame) -> pd.DataFrame:
    """Say what each way gets wrong and which names it writes, beside the control without a list, by speaker."""
    named = said["entity"].fillna("").str.len().ge(4).to_numpy()
    scored = {way: scoring.score(said, answers["hypothesis"].tolist()) for way, answers in heard.items()}
    found = {way: probes.has_name(answers["hypothesis"], said["entity"].fillna("")).to_numpy()[named].astype(float)
             for way, answers in heard.items()}
    speakers, ones = said["speaker"], np.ones(named.sum())
    rows = []
    for way, scores in scored.items():
        wer = intervals.rate_interval(scores["n_errors"], scores["n_words"], speakers)
        recall = intervals.rate_interval(found[way], ones, speakers[named])
        row = {"fit": way.fit, "list": way.listed, "by": way.by or "decoder", "WER": wer.percent(2),
               "change": "", "names": recall.percent(1), "more names": "", "ms": f"{heard[way]['ms'].iloc[0]:.0f}"}
        if way != NO_LIST:
            row["change"] = differences.paired_difference(scored[NO_LIST]["n_errors"], scores["n_errors"],
                                                          scores["n_words"], speakers).difference.points(2)
            row["more names"] = differences.paired_difference(found[NO_LIST], found[way], ones,
                                                              speakers[named]).difference.points(1)
        rows.append(row)
    return pd.DataFrame(rows)


def known_names(fits: Mapping[str, Path], run: str, n_clips: int) -> dict[str, pd.DataFrame]:
    """Hear dev, whose names were all taught, each utterance with its own list."""
    said = _speech(run).dev.head(n_clips).reset_index(drop=True)
    of: dict[str, list[list[str]]] = {"none": [[]] * len(said), "right": own_lists(said, is_right=True),
                                      "others": own_lists(said, is_right=False)}
    heard = {way: hear(fits[way.fit], said, of[way.listed], way.rules) for way in WAYS}
    in_car = said["noise"].eq("car").to_numpy()
    part = {way: answers[in_car].reset_index(drop=True) for way, answers in heard.items()}
    return {f"{len(said)} utterances of dev, a list each": compare(heard, said),
            f"the {in_car.sum()} of them in a car": compare(part, said[in_car].reset_index(drop=True))}


def new_names(fits: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """Hear names that neither fit has learned, all with one list of them, or of others as new."""
    said = probes.clips(lists.NEW, n_clips=NEW_CLIPS).rename(columns={"name": "entity_"})
    said = said.assign(entity=said["entity_"], reference=said["text"])
    of: dict[str, Sequence[str]] = {"none": (), "right": lists.NEW, "others": lists.OTHERS[: len(lists.NEW)]}
    heard = {way: hear(fits[way.fit], said, [of[way.listed]] * len(said), way.rules) for way in WAYS}
    return {f"{len(said)} clips of {len(lists.NEW)} names that nobody taught, one list": compare(heard, said)}


# --- choosing --------------------------------------------------------------------------------------------------------


class Recorder(engines.FastRecognizer):
    """An engine that keeps the hypotheses and letters of the clip that it heard last."""

    kept: tuple[list[str], list[float], NDArray[np.floating]]

    def _chosen(self, best, texts, scores, heard):  # type: ignore[no-untyped-def]
        self.kept = list(texts), list(scores), heard
        return best


def choose(engine: Path, run: str) -> dict[str, pd.DataFrame]:
    """Try bonuses, and weights of the letters, on valid, with the right lists and with others."""
    recorder = Recorder(engine, n_threads=1).biased(BiasingList({"nobody": ""}, BEAM_ALONE))
    said, kept, rows = _speech(run).valid, [], []
    for path in progress.track(said["audio_path"], "hearing"):
        recorder.transcribe([audio.read(path)])
        kept.append(recorder.kept)
    for bonus, weight in sorted({(NAME_BONUS, LETTERS_WEIGHT), *((b, w) for b in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
                                                                for w in (0.0, 0.3, 1.0))}):
        tried: dict[str, object] = {"bonus": bonus, "letters": weight,
                                    "in force": "<-" if (bonus, weight) == (NAME_BONUS, LETTERS_WEIGHT) else ""}
        for listed in ("right", "others"):
            tried |= _after(said, kept, own_lists(said, is_right=listed == "right"), bonus, weight, listed)
        rows.append(tried)
    return {"Bonuses, on people of valid": pd.DataFrame(rows)}


def _after(said: pd.DataFrame, kept: Sequence[tuple[list[str], list[float], NDArray[np.floating]]],
           listed: Sequence[Sequence[str]], bonus: float, weight: float, title: str) -> dict[str, object]:
    rules = Rules(n_best=N_BEST, name_bonus=bonus, letters_weight=weight)
    made = [BiasingList(dict.fromkeys(names, ""), rules) for names in listed]
    picked = [names.chosen(*each) for names, each in zip(made, kept, strict=True)]
    before, after = (scoring.score(said, [texts[i] for (texts, _, _), i in zip(kept, which, strict=True)])
                     for which in ([0] * len(kept), picked))
    paired = differences.paired_difference(before["n_errors"], after["n_errors"], before["n_words"], said["speaker"])
    return {f"{title}: changed": sum(i > 0 for i in picked), f"{title}: WER": paired.difference.points(2)}


def main() -> None:
    """Print the tables and write them to reports/benchmarks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", default="default")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--clips", type=int, default=400, help="utterances of dev")
    parser.add_argument("--fit", action="store_true", help="only make the two fits")
    parser.add_argument("--choose", action="store_true", help="try bonuses for several hypotheses")
    given = parser.parse_args()
    without = fit(given.run, given.steps, 0.0)
    if given.choose:
        found = choose(without, given.run)
    else:
        fits = {"without prompts": without, "with prompts": fit(given.run, given.steps, SHARE)}
        found = {} if given.fit else {**known_names(fits, given.run, given.clips), **new_names(fits)}
    written = lists.tables(found)
    print(written)
    if found:
        path = settings.root() / "reports" / "benchmarks" / f"prompts{'-choose' if given.choose else ''}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
