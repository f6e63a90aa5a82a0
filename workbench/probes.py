"""What the biasing list is worth: clips of its names that the demo world's voices say, and dev, through a model.

A name is probed when it is put on the list and with every new model. A model that no longer needs it is told to the
list, which then serves it to older models alone.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from workbench import (
    audio,
    biasing,
    catalogue,
    datasets,
    demo_world,
    differences,
    engines,
    model_registry,
    recognizers,
    scoring,
    storage,
    synthesis,
    text,
)
from workbench.biasing import BiasingList
from workbench.errors import SynthesisError
from workbench.name_list import Entry, NameList, Probe, keep
from workbench.recognizers import ShortContextRecognizer
from workbench.records import Interval

N_CLIPS = 20
"""Clips of a name: enough to see whether it is recognized at all, in some seconds."""
N_SETTLING = 60
"""Clips of a name that decide whether a new model needs it no longer: one that only the list wins may be among them."""
MAX_WON, ALPHA = 0.10, 0.05
"""A model has learned a name when, beyond doubt at this level, the list would win at most this share of its clips, and
it recognizes half of them by itself."""
FRAMES = tuple(form for group in catalogue.TEMPLATES.values() for form in group
               if len(catalogue.SLOT.findall(form)) == 1)
"""What a name is said in, whatever it is a name of: the first words, the last ones, and both."""
SPLIT = "dev"
"""Whose voices and places are heard: no model has learned from them."""


def plan(name: str, *, n_clips: int = N_CLIPS, seed: int = 0, split: str = SPLIT) -> pd.DataFrame:
    """Plan clips of a name in the mix of use, by people of its own. Returns: `demo_world.plan`'s columns and name."""
    world = demo_world.world(0)
    drawn = demo_world.plan(world, split=split, n=2 * n_clips, mix=demo_world.USE_SHARES,  # a few of them are silent
                            seed=seed + zlib.crc32(name.encode()), n_voices=len(world.speakers))
    spoken = drawn[drawn["text"].ne("")].head(n_clips).reset_index(drop=True)
    texts = [catalogue.SLOT.sub(name, form) for form in np.resize(FRAMES, n_clips)]
    return spoken.assign(name=name, text=texts)


def clips(names: Sequence[str], *, n_clips: int = N_CLIPS, seed: int = 0) -> pd.DataFrame:
    """Speak clips of names, once. Returns: what `plan` does, with audio_path (absolute) and audio_sha.

    Raises: SynthesisError when espeak-ng is not installed.
    """
    planned = pd.concat([plan(name, n_clips=n_clips, seed=seed) for name in names], ignore_index=True)
    planned = planned.assign(utterance_id=[f"probe-{i:05d}" for i in range(len(planned))])
    folder = storage.cache_folder("probes")
    spoken = folder / f"{storage.hash_value([storage.hash_table(planned), FRAMES])[:16]}.parquet"
    if not spoken.is_file():
        storage.write_table(spoken, synthesis.render(planned, store=partial(_store, folder / "audio")))
    rows = pd.read_parquet(spoken)
    return rows.assign(audio_path=[str(folder / "audio" / path) for path in rows["audio_path"]])


def _store(folder: Path, samples: audio.Samples) -> dict[str, Any]:
    """Keep a clip apart from those that datasets are made of."""
    measured = datasets.measure(samples)
    with storage.replacing(folder / f"{measured['audio_sha']}.wav") as temporary:
        audio.write(temporary, samples)
    return {"audio_path": f"{measured['audio_sha']}.wav", **measured}


def hear(recognizer: ShortContextRecognizer, utterances: pd.DataFrame, listed: BiasingList) -> pd.DataFrame:
    """Decode utterances held against a list. Returns: their columns, and before and after (what is written).

    A decoder that is shown the list, or searches longer for it, hears them without it first.
    """
    heard = recognizers.decode(recognizer.biased(listed), utterances)
    after = heard["hypothesis"].to_numpy()
    if recognizer.n_prompt_names or listed.n_best > 1:
        before = recognizers.decode(recognizer.biased(BiasingList()), utterances)["hypothesis"].to_numpy()
    else:
        before = np.where(heard["biased_from"].ne("").to_numpy(), heard["biased_from"], after)
    return utterances.reset_index(drop=True).assign(before=before, after=after)


def has_name(answers: pd.Series, names: pd.Series) -> "pd.Series[bool]":
    """Say of each answer whether its name stands in it, word for word."""
    written = [f" {text.normalize(name)} " in f" {text.normalize(answer)} "
               for answer, name in zip(answers, names, strict=True)]
    return pd.Series(written, index=answers.index)


def probe(names: Sequence[str], recognizer: ShortContextRecognizer, version: str, *, listed: Mapping[str, str],
          n_clips: int = N_CLIPS) -> list[Probe]:
    """Let a model hear clips of names, held against all that is listed, and keep what it made of each.

    Raises: SynthesisError when espeak-ng is not installed.
    """
    if not names:
        return []
    heard = hear(recognizer, clips(names, n_clips=n_clips), biasing.served(listed))
    heard = heard.assign(before=has_name(heard["before"], heard["name"]), after=has_name(heard["after"], heard["name"]))
    found = [Probe(str(name), version, len(of), int(of["before"].sum()), int(of["after"].sum()),
                   int((of["after"] & ~of["before"]).sum())) for name, of in heard.groupby("name", sort=False)]
    for each in found:
        keep(each)
    return found


@dataclass(frozen=True, slots=True)
class Harm:
    """What a list does to queries that have none of its names: answers changed, right ones among them, and WER."""

    n_utterances: int
    n_changed: int
    n_spoiled: int
    wer_difference: Interval

    def __str__(self) -> str:
        return (f"on {self.n_utterances:,} queries of dev it changes {self.n_changed} answers, {self.n_spoiled} of "
                f"them right ones; WER by {self.wer_difference.points(2)}")


def harm(heard: pd.DataFrame) -> Harm:
    """Measure what a list did to utterances that were heard with it (`hear`), by speaker."""
    before, after = (scoring.score(heard, heard[name].tolist()) for name in ("before", "after"))
    is_changed = heard["before"].ne(heard["after"]).to_numpy()
    is_right = before["n_errors"].eq(0).to_numpy()
    paired = differences.paired_difference(before["n_errors"], after["n_errors"], before["n_words"], heard["speaker"])
    return Harm(len(heard), int(is_changed.sum()), int((is_changed & is_right).sum()), paired.difference)


def of_champion(listed: NameList, names: Sequence[str] = ()) -> list[Probe]:
    """Probe names of the list, or all of them, with the champion as it answers now.

    Raises: RegistryError when there is none; SynthesisError when espeak-ng is not installed.
    """
    champion = model_registry.resolve("champion")
    served = listed.sounds(champion.version)
    wanted = [name for name in served if name in names or not names]
    return probe(wanted, engines.open_version(champion.folder), champion.version, listed=served)


def harm_of_champion(listed: NameList) -> Harm:
    """Measure what the list does to dev of the dataset that the champion comes from.

    Raises: RegistryError when there is no champion.
    """
    champion = model_registry.resolve("champion")
    dev = datasets.load(champion.tags["dataset"]).dev
    served = biasing.served(listed.sounds(champion.version))
    return harm(hear(engines.open_version(champion.folder), dev, served))


def is_learned(found: Probe) -> bool:
    """Whether a model needs the list no longer for a name.

    Source: the exact upper bound of a share (Clopper & Pearson 1934).
    """
    if not found.n_clips:
        return False
    most_won = stats.beta.ppf(1 - ALPHA, found.n_won + 1, found.n_clips - found.n_won)
    return bool(most_won <= MAX_WON and 2 * found.n_before >= found.n_clips)


def settle(listed: NameList, recognizer: ShortContextRecognizer, version: str, *, by: str) -> pd.DataFrame:
    """Probe all names of the list with a new model: those that it has learned expire, from its version on.

    A name that an earlier model had learned and this one has not comes back. Where nothing can be synthesized no name
    is probed, and all stay as they are.
    Returns: name, n_clips, n_before, n_after, and became ("expires", "comes back" or "stays"); a row a name.
    """
    entries = listed.entries()
    all_names = {entry.name: entry.sounds for entry in entries}
    try:
        found = probe(list(all_names), recognizer, version, listed=all_names, n_clips=N_SETTLING)
    except SynthesisError:
        found = [Probe(name, version, 0, 0, 0, 0) for name in all_names]
    became = [_settled(listed, entry, each, by) for entry, each in zip(entries, found, strict=True)]
    columns = ["name", "n_clips", "n_before", "n_after"]
    return pd.DataFrame([asdict(each) for each in found], columns=columns).assign(became=pd.Series(became, dtype=str))


def _settled(listed: NameList, entry: Entry, found: Probe, by: str) -> str:
    is_served, has_learned = entry.is_for(found.version), is_learned(found)
    if is_served and has_learned:
        listed.learned(entry.name, version=found.version, by=by)
        return "expires"
    if found.n_clips and not is_served and not has_learned:
        listed.add(entry.name, by=by)
        return "comes back"
    return "stays"


def told(settled: pd.DataFrame) -> str:
    """Say in a sentence, without any name, what became of the list: reports hold nothing that users said."""
    if settled.empty:
        return "No name is on the biasing list."
    if not settled["n_clips"].sum():
        return f"{len(settled)} names are on the biasing list; without espeak-ng no clips of them can be tried."
    before, after, n = (settled[name].sum() for name in ("n_before", "n_after", "n_clips"))
    became = settled["became"].value_counts()
    return (f"Of {len(settled)} names on the biasing list this model recognizes {before:,} of {n:,} clips by itself, "
            f"{after:,} with the list; {became.get('expires', 0)} it has learned, so that they expire, "
            f"{became.get('comes back', 0)} come back: workbench names list.")
