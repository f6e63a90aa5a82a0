"""Reading corpora as they lie on disk when their archives are unpacked: one reader each, from folders to rows.

A reader opens no audio. Its rows have our names: utterance_id, audio_path, text, speaker, split, then slice columns.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench import archives
from workbench.errors import ManifestError
from workbench.progress import Progress, pass_through

GENDERS = {"f": "female", "m": "male", "female": "female", "male": "male", "female_feminine": "female",
           "male_masculine": "male"}
"""How corpora write it; what is not here (other, non-binary, ...) stays as it is written."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a corpus says of itself; all its audio lies under `root`.

    Where the corpus has no file for an utterance, `write` makes one: it gets rows, makes each file whole and skips
    those that are there.
    """

    rows: pd.DataFrame
    root: Path
    write: Callable[[pd.DataFrame, Progress], None] | None = None


Reader = Callable[[Path, Progress], Listing]


def missing(path: Path, corpus: str, wanted: str) -> ManifestError:
    """Word that a place is not what it should be."""
    there = sorted(p.name for p in path.iterdir())[:6] if path.is_dir() else []
    found = f"it has {', '.join(there)}" if there else "it is empty" if path.is_dir() else "it is no folder"
    return ManifestError(f"{path} is not {corpus}: {found}; give {wanted}")


def only(candidates: Sequence[Path], path: Path, wanted: str) -> Path:
    """Take the one there is. Raises: ManifestError when there are several, which it lists."""
    if len(candidates) > 1:
        raise ManifestError(f"{path} has several of {wanted}: {', '.join(str(c) for c in candidates[:8])}; name one")
    return candidates[0]


def gender(words: "pd.Series[str]") -> "pd.Series[str]":
    """Write genders in one way."""
    plain = words.fillna("").str.strip().str.lower()
    return plain.map(lambda word: GENDERS.get(word, word)).mask(plain == "", None)


# --- LibriSpeech -----------------------------------------------------------------------------------------------------

SUBSET_SPLITS = ("train", "dev", "test")


def librispeech(place: Path, progress: Progress = pass_through) -> Listing:
    """Read LibriSpeech: subsets of readers of chapters, a FLAC file an utterance, a file of words a chapter.

    Its words are in upper case throughout, which says nothing, and come out in lower case.
    Source: README.TXT of the corpus, sections 2.1 and 3.
    Raises: ManifestError when there is no subset, or SPEAKERS.TXT is absent.
    """
    root = place.parent if _is_subset(place) else place / "LibriSpeech" if (place / "LibriSpeech").is_dir() else place
    subsets = [place] if _is_subset(place) else [p for p in _folders(root) if _is_subset(p)]
    if not subsets:
        raise missing(place, "LibriSpeech", "the folder LibriSpeech that its tarballs unpack to, with train-clean-100, "
                                            "dev-clean or other subsets in it")
    sexes = _sexes(root / "SPEAKERS.TXT")
    chapters = [chapter for subset in subsets for reader in _folders(subset) for chapter in _folders(reader)]
    rows = [row for chapter in progress(chapters, "reading chapters", len(chapters)) for row in _chapter(chapter)]
    table = pd.DataFrame(rows, columns=["utterance_id", "audio_path", "text", "speaker", "subset"])
    return Listing(table.assign(split=table["subset"].str.partition("-")[0], gender=gender(table["speaker"].map(sexes)),
                                ), root)


def _is_subset(path: Path) -> bool:
    return path.is_dir() and path.name.partition("-")[0] in SUBSET_SPLITS and "-" in path.name


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("*/") if not p.name.startswith("."))


def _sexes(path: Path) -> dict[str, str]:
    """Read who is a woman and who a man: `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`."""
    if not path.is_file():
        raise ManifestError(f"{path} is absent, and it says who the speakers are; every tarball of LibriSpeech has it, "
                            "put it there")
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [[field.strip() for field in line.split("|", 4)] for line in lines if not line.startswith(";")]
    return {reader: sex for reader, sex, *_ in (f for f in fields if len(f) > 1)}


def _chapter(folder: Path) -> Iterable[tuple[str, str, str, str, str]]:
    """Give a chapter's utterances; a sound without words, or words without a sound, the door will turn away."""
    reader, subset = folder.parent.name, folder.parents[1].name
    words = folder / f"{reader}-{folder.name}.trans.txt"
    lines = words.read_text(encoding="utf-8").splitlines() if words.is_file() else []
    said = {name: text for name, _, text in (line.partition(" ") for line in lines) if name}
    names = sorted({*said, *(p.stem for p in folder.glob("*.flac") if not p.name.startswith("."))})
    return [(n, str(folder / f"{n}.flac"), said.get(n, "").strip().lower(), reader, subset) for n in names]


# --- Speech Commands -------------------------------------------------------------------------------------------------

LISTS = {"validation_list.txt": "valid", "testing_list.txt": "test"}
NO_HASH = "_nohash_"


def speech_commands(place: Path, progress: Progress = pass_through) -> Listing:
    """Read Speech Commands v0.02: a folder a word; what is in no list is for training. Background noise is left out.

    Source: README.md of the corpus; the speaker is the hash before `_nohash_`.
    Raises: ManifestError when a list is absent, or there are no words.
    """
    absent = [name for name in LISTS if not (place / name).is_file()]
    words = [p for p in _folders(place) if not p.name.startswith("_")] if place.is_dir() else []
    if absent or not words:
        lacks = f", without {' and '.join(absent)}" if absent else ""
        raise missing(place, f"Speech Commands v0.02{lacks}", "what speech_commands_v0.02.tar.gz unpacks to, with "
                      "validation_list.txt, testing_list.txt and a folder a word")
    splits = {line.strip(): split for name, split in LISTS.items()
              for line in (place / name).read_text(encoding="utf-8").splitlines()}
    files = [p for word in progress(words, "reading words", len(words)) for p in sorted(word.glob("*.wav"))
             if not p.name.startswith(".")]
    names = [f"{p.parent.name}/{p.name}" for p in files]
    return Listing(pd.DataFrame({
        "utterance_id": [name.removesuffix(".wav") for name in names], "audio_path": [str(p) for p in files],
        "text": [p.parent.name for p in files],
        "speaker": [p.name.partition(NO_HASH)[0] if NO_HASH in p.name else "" for p in files],
        "split": [splits.get(name, "train") for name in names]}), place)


# --- Common Voice ----------------------------------------------------------------------------------------------------

OWN_SPLITS = ("train", "dev", "test")


def common_voice(place: Path, progress: Progress = pass_through) -> Listing:
    """Read a language of a Common Voice release: clips/ and train, dev and test.tsv, or validated.tsv without splits.

    What is validated but in none of the three repeats their sentences, and is left out as the release leaves it out.
    Source: https://github.com/common-voice/cv-dataset and CorporaCreator, which writes a quote as two.
    Raises: ManifestError when there are no clips, no tables, or several languages.
    """
    folder = _language(place)
    tables = {split: folder / f"{split}.tsv" for split in OWN_SPLITS if (folder / f"{split}.tsv").is_file()}
    tables = tables or {"": folder / "validated.tsv"}
    if not all(path.is_file() for path in tables.values()):
        raise missing(folder, "a language of Common Voice", "the folder with clips/ and train.tsv, dev.tsv, test.tsv "
                                                            "or validated.tsv")
    parts = [_tsv(path).assign(split=split) for split, path in progress(tables.items(), "reading tables", len(tables))]
    table = pd.concat(parts, ignore_index=True)
    accents = next((name for name in ("accents", "accent") if name in table), "accents")
    rows = pd.DataFrame({
        "utterance_id": table["path"].str.rsplit(".", n=1).str[0],
        "audio_path": [str(folder / "clips" / name) for name in table["path"]],
        "text": table["sentence"].str.replace('""', '"').str.strip(), "speaker": table["client_id"],
        "split": table["split"], "accent": table.get(accents), "gender": gender(table.get("gender", _blank(table))),
        "age": table.get("age"), "variant": table.get("variant")})
    return Listing(rows.mask(rows == "", None).assign(text=rows["text"]).dropna(axis="columns", how="all"), folder)


def _language(place: Path) -> Path:
    """Find the one language under a place: a release's tarball unpacks to `cv-corpus-17.0-2024-03-15/en`."""
    found = [place] if (place / "clips").is_dir() else sorted(
        clips.parent for pattern in ("*/clips", "*/*/clips") for clips in place.glob(pattern))
    if not found:
        raise missing(place, "a language of Common Voice", "the folder of a language, with clips/ and train.tsv in it")
    return only(found, place, "a language of Common Voice")


def _tsv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE, encoding="utf-8")
    absent = [name for name in ("client_id", "path", "sentence") if name not in table]
    if absent:
        raise ManifestError(f"{path} has no column {', '.join(absent)}; it has {', '.join(table.columns)}: it is not a "
                            "table of Common Voice, unpack the release again")
    return table


def _blank(table: pd.DataFrame) -> "pd.Series[str]":
    return pd.Series("", index=table.index)


# --- FLEURS, as the hub keeps it without `datasets` ------------------------------------------------------------------

FLEURS_COLUMNS = ["id", "file_name", "raw_transcription", "transcription", "letters", "num_samples", "gender"]


def is_fleurs_tables(place: Path) -> bool:
    """Tell whether a folder holds FLEURS as tables and tarballs of audio: data/en_us/train.tsv, .../audio/*.tar.gz."""
    return bool(_fleurs_languages(place))


def _fleurs_languages(place: Path) -> list[Path]:
    there = [place, *place.glob("*/"), *place.glob("data/*/")] if place.is_dir() else []
    return sorted({p for p in there if (p / "audio").is_dir() and list(p.glob("*.tsv"))})


def fleurs_tables(place: Path, progress: Progress = pass_through) -> Listing:
    """Read a language of FLEURS from its tables, and unpack its audio under `data/raw/fleurs`, once.

    Nobody tells who speaks: every recording is a speaker of its own to splits, and intervals are too narrow.
    Source: https://huggingface.co/datasets/google/fleurs, fleurs.py before the repository held Parquet.
    Raises: ManifestError when there are several languages, or a tarball is absent.
    """
    folder = only(_fleurs_languages(place), place, "a language of FLEURS")
    root, parts = archives.folder_of("fleurs", folder), []
    for split in (s for s in OWN_SPLITS if (folder / f"{s}.tsv").is_file()):
        tarball = folder / "audio" / f"{split}.tar.gz"
        if not tarball.is_file():
            raise ManifestError(f"{tarball} is absent, but {folder / f'{split}.tsv'} lists what it holds; fetch both, "
                                "or take neither")
        archives.unpack(tarball, root / split, progress)
        table = pd.read_csv(folder / f"{split}.tsv", sep="\t", dtype=str, keep_default_na=False,
                            quoting=csv.QUOTE_NONE, header=None, names=FLEURS_COLUMNS)
        sounds = {path.name: str(path) for path in (root / split).rglob("*.wav")}
        parts.append(pd.DataFrame({
            "utterance_id": f"{split}/" + table["file_name"].str.removesuffix(".wav"),
            "audio_path": [sounds.get(name, str(root / split / name)) for name in table["file_name"]],
            "text": table["transcription"], "split": split, "gender": gender(table["gender"])}))
    return Listing(pd.concat(parts, ignore_index=True), root)


# --- MInDS-14, as its authors publish it -----------------------------------------------------------------------------

MINDS14_COLUMNS = ["filepath", "text_asr", "text_translated", "intent"]


def is_minds14_release(place: Path) -> bool:
    """Tell whether a folder holds what MInDS-14.zip does: text and audio, each a zip or the folder it unpacks to."""
    return _minds14_home(place) is not None


def minds14_release(place: Path, progress: Progress = pass_through, *, language: str = "") -> Listing:
    """Read a language of MInDS-14: text.zip has a table a language, audio.zip a folder a language's intent.

    Nobody tells who speaks: every recording is a speaker of its own to splits, and intervals are too narrow.
    Source: http://poly-public-data.s3.amazonaws.com/MInDS-14/MInDS-14.zip as xtreme_s.py of google/xtreme_s and
    egs2/minds14 of espnet read it.
    Raises: ManifestError when the language is not told, a zip is absent, or a table is of another corpus.
    """
    home = _minds14_home(place)
    assert home is not None, place
    tables = {path.stem: path for path in sorted(_unzipped(home, "text", progress).glob("*.csv"))}
    if language not in tables and (language or len(tables) != 1):
        raise ManifestError(f"{place} has the languages {', '.join(tables)}; name one of them behind it, as in "
                            "minds14:/data/MInDS-14.zip/en-US")
    table = pd.read_csv(tables[language or next(iter(tables))], dtype=str, keep_default_na=False, encoding="utf-8",
                        skipinitialspace=True)
    if list(table) != MINDS14_COLUMNS:
        raise missing(place, "MInDS-14, whose tables have the columns " + ", ".join(MINDS14_COLUMNS), "MInDS-14.zip")
    sounds = _unzipped(home, "audio", progress)
    return Listing(pd.DataFrame({
        "utterance_id": table["filepath"].str.removesuffix(".wav"),
        "audio_path": [str(sounds / name) for name in table["filepath"]], "text": table["text_asr"],
        "intent": table["intent"].str.lower()}), sounds)


def _minds14_home(place: Path) -> Path | None:
    return next((p for p in (place, place / "MInDS-14") if (p / "text").is_dir() or (p / "text.zip").is_file()), None)


def _unzipped(home: Path, part: str, progress: Progress) -> Path:
    """Give the folder of a part, which is unpacked under `data/raw` unless somebody has."""
    zipped = home / f"{part}.zip"
    if (home / part).is_dir():
        return home / part
    if not zipped.is_file():
        raise ManifestError(f"{zipped} is absent; every copy of MInDS-14 has it: unpack MInDS-14.zip again")
    return archives.unpack(zipped, archives.folder_of("minds14", zipped), progress)
