"""Recordings of noise, MUSAN's and DEMAND's, as a table: what each is, where it lies, which split may hear it.

A recording's split is the salted hash of its name, as a speaker's is; all channels of a place are one recording.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from workbench import archives, corpus_cards, datasets, remote, settings, storage
from workbench.corpus_layouts import missing
from workbench.errors import ManifestError
from workbench.progress import Progress, pass_through

SALT = "noise"
"""Fixed, so that a recording that a recipe trained with is never heard by an evaluation of whatever dataset."""

DEMAND_PLACES = {
    "DKITCHEN": "kitchen", "DLIVING": "living room", "DWASHING": "washing room", "NFIELD": "field", "NPARK": "park",
    "NRIVER": "river", "OHALLWAY": "hallway", "OMEETING": "meeting", "OOFFICE": "office", "PCAFETER": "cafeteria",
    "PRESTO": "restaurant", "PSTATION": "station", "SCAFE": "street cafe", "SPSQUARE": "square",
    "STRAFFIC": "traffic", "TBUS": "bus", "TCAR": "car", "TMETRO": "metro",
}
"""Source: Thiemann, Ito, Vincent, "DEMAND", 2013, table 1; the first letter is domestic, nature, office, public, street
or transport. SCAFE was published at 48 kHz only."""


def table(source: str, progress: Progress = pass_through) -> pd.DataFrame:
    """List the noise recordings of a source: `musan:/data/musan`, `demand:/data/demand`.

    Returns: recording, audio_path, noise (what it is), split, size (bytes), in the order of recordings.
    Raises: ManifestError when it names no noise, or the place is another corpus.
    """
    name, place = corpus_cards.named(source) or ("", "")
    card = corpus_cards.find(name) if name else None
    if card is None or not card.is_noise:
        noises = ", ".join(f"{c.name}:FOLDER" for c in corpus_cards.CARDS.values() if c.is_noise)
        raise ManifestError(f"{source!r} names no recordings of noise; give {noises}")
    if remote.is_url(place):
        raise ManifestError(f"{source}: noise is read from a folder; copy it to this machine and give "
                            f"{card.name}:FOLDER")
    return listed(card.name, (settings.root() / Path(place).expanduser()).resolve(), progress)


def listed(name: str, place: Path, progress: Progress = pass_through) -> pd.DataFrame:
    """List the noise recordings that lie at a place, and give each its split."""
    rows = (_musan if name == "musan" else _demand)(place, progress)
    found = pd.DataFrame(rows, columns=["recording", "audio_path", "noise"]).sort_values(
        ["recording", "audio_path"], ignore_index=True)
    splits = datasets.assign_splits(found["recording"], SALT)
    return found.assign(split=found["recording"].map(splits),
                        size=[Path(path).stat().st_size for path in found["audio_path"]])


def credit(name: str) -> str:
    """Say under which licence a corpus of noise is and how it wants to be cited; "" for a name that is none."""
    card = corpus_cards.CARDS.get(name.lower().replace("-", "_"))
    return f"{card.title}: {card.license}; {card.citation}; {card.url}" if card is not None and card.is_noise else ""


def fingerprint(found: pd.DataFrame) -> str:
    """Name a set of recordings by their names and content, wherever they lie. Returns: 12 hex digits."""
    paths = [Path(path) for path in found["audio_path"]]
    names = [f"{recording}/{path.name}" for recording, path in zip(found["recording"], paths, strict=True)]
    with ThreadPoolExecutor() as readers:
        contents = list(readers.map(storage.hash_file, paths))
    return storage.hash_value([names, contents, found["split"].tolist()])[:12]


def _musan(place: Path, progress: Progress) -> list[tuple[str, str, str]]:
    """Read musan/noise: a folder for each place it was collected from, with LICENSE and ANNOTATIONS beside the wavs."""
    if archives.is_archive(place):
        place = archives.unpack(place, archives.folder_of("musan", place), progress)
    root = next((p for p in (place, place / "musan") if (p / "noise").is_dir()), place)
    files = [p for p in sorted((root / "noise").rglob("*.wav")) if not p.name.startswith(".")]
    if not files:
        raise missing(place, "MUSAN", "the folder musan that musan.tar.gz unpacks to, with noise/free-sound and "
                                      "noise/sound-bible in it")
    return [(p.stem, str(p), p.parent.name) for p in files]


def _demand(place: Path, progress: Progress) -> list[tuple[str, str, str]]:
    """Read DEMAND: a folder of sixteen channels a place, or the zips that hold them."""
    zips = sorted(place.glob("*.zip")) if place.is_dir() else [place] if archives.is_archive(place) else []
    roots = [archives.unpack(path, archives.folder_of("demand", path), progress) for path in zips]
    files = sorted({p for root in (place, *roots) if root.is_dir() for pattern in ("", "*/", "*/*/")
                    for p in root.glob(f"{pattern}ch*.wav")})
    if not files:
        raise missing(place, "DEMAND", "the folder that holds DKITCHEN, DLIVING, ... with ch01.wav to ch16.wav in "
                                       "each, or the zips of 16 kHz")
    named = [(p.parent.name.removesuffix("_16k").removesuffix("_48k"), str(p)) for p in files]
    return [(recording, path, DEMAND_PLACES.get(recording, recording.lower())) for recording, path in named]
