"""Miniatures of published corpora, each in its true layout on disk: same folders, files, columns and words.

Where a corpus must teach something it is spoken by the demo world, else its sounds are short and made here.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from workbench import audio, datasets, demo_world, synthesis

LIBRISPEECH_SUBSETS = {"train-clean-100": 0.6, "dev-clean": 0.2, "test-clean": 0.2}
SPEAKERS_HEAD = ("; Some pieces of information about the speakers\n;\n"
                 ";ID  |SEX| SUBSET           |MINUTES| NAME\n")


def librispeech(folder: Path, *, n_speakers: int = 40, n_each: int = 10, seed: int = 0) -> Path:
    """Speak a LibriSpeech of `n_speakers` with some `n_each` queries each: train-clean-100, dev-clean and test-clean.

    Source: https://www.openslr.org/12, README.TXT there.
    Returns: the folder `LibriSpeech`, as its tarballs unpack to.
    """
    root, spoken = folder / "LibriSpeech", _spoken(folder / "spoken", n_speakers, n_each, seed)
    people = list(dict.fromkeys(spoken["speaker"]))
    subsets = [name for name, share in LIBRISPEECH_SUBSETS.items() for _ in range(round(share * len(people)))]
    subsets = [*["train-clean-100"] * (len(people) - len(subsets)), *subsets][:len(people)]
    sexes, lines = dict(zip(spoken["speaker"], spoken["gender"], strict=True)), []
    for number, (person, subset) in enumerate(zip(people, subsets, strict=True)):
        reader = str(1001 + 3 * number)
        lines.append(f"{reader:<5}| {sexes[person][0].upper()} | {subset:<17}| 25.03 | Reader {reader}\n")
        _read_chapter(root / subset / reader / str(120_000 + number), spoken[spoken["speaker"] == person])
    (root / "SPEAKERS.TXT").write_text(SPEAKERS_HEAD + "".join(lines))
    for name in ("BOOKS", "CHAPTERS", "LICENSE", "README"):
        (root / f"{name}.TXT").write_text(f"{name} of a miniature\n")
    shutil.rmtree(folder / "spoken")
    return root


def _read_chapter(folder: Path, spoken: pd.DataFrame) -> None:
    """Write one reader's chapter: a FLAC file an utterance, and one file with all their words in upper case."""
    folder.mkdir(parents=True)
    chapter, lines = f"{folder.parent.name}-{folder.name}", []
    for number, (sound, said) in enumerate(zip(spoken["audio_path"], spoken["text"], strict=True)):
        lines.append(f"{chapter}-{number:04d} {said.upper()}\n")
        soundfile.write(folder / f"{chapter}-{number:04d}.flac", audio.read(sound), audio.SAMPLE_RATE_HZ)
    (folder / f"{chapter}.trans.txt").write_text("".join(lines))


def _spoken(folder: Path, n_speakers: int, n_each: int, seed: int) -> pd.DataFrame:
    """Let people of the demo world speak in quiet rooms. Returns: text, speaker, gender, accent, audio_path."""
    folder.mkdir(parents=True)
    world = demo_world.world(seed)
    people = world.speakers_of("train", len(world.speakers))
    plan = demo_world.plan(world, split="train", n=len(people) * n_each, mix={"quiet": 1.0}, seed=seed,
                           n_voices=len(world.speakers))
    sexes = [[person.speaker for person in people if person.gender == gender] for gender in ("female", "male")]
    heard = [name for pair in zip(*sexes, strict=False) for name in pair][:n_speakers]
    rows = plan[plan["speaker"].isin(heard) & (plan["text"] != "")]
    return synthesis.render(rows, store=partial(_wav, folder)).sort_values(["speaker", "utterance_id"])


def _wav(folder: Path, samples: audio.Samples) -> dict[str, Any]:
    measured = datasets.measure(samples)
    path = folder / f"{measured['audio_sha']}.wav"
    audio.write(path, samples)
    return {"audio_path": str(path), **measured}
