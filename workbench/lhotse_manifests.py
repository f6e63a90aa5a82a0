"""Manifests of lhotse: cuts, or recordings and supervisions, of any corpus it can prepare (extra `lhotse`).

A supervision becomes an utterance. One that is a whole recording stays where it is; a piece is cut out, once.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import archives, audio, storage
from workbench.corpus_layouts import Listing, gender, missing
from workbench.errors import ManifestError, SettingsError
from workbench.progress import Progress, pass_through

SUFFIXES = (".jsonl.gz", ".jsonl", ".json", ".yaml")
KINDS = ("cuts", "recordings", "supervisions")
PARTS = {"train": "train", "dev": "dev", "valid": "valid", "validation": "valid", "test": "test", "eval": "test"}
"""How lhotse's own recipes name parts: `librispeech_cuts_train-clean-100.jsonl.gz` is of split train."""
NOT_SLICES = ("offset", "duration", "duration_s", "samples")
"""What the door would take for something else."""
TOLERANCE_S = 0.01
"""A supervision this close to its recording's ends is all of it: durations in manifests are rounded."""


def read(place: Path, progress: Progress = pass_through) -> Listing:
    """List the utterances of a file of cuts, or of all manifests in a folder.

    Raises: ManifestError when nothing can be read or a recording is no file; SettingsError without the extra `lhotse`.
    """
    library, groups = _library(), _groups(place)
    state = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for group in groups for file in group.values()]
    folder = archives.folder_of("lhotse", place, state) / "audio"
    rows, pieces = list[dict[str, Any]](), dict[str, Any]()
    for group in groups:
        for cut in progress(_cuts(library, group), "reading cuts", None):
            cut = _anchored(cut, next(iter(group.values())).parent)
            row = _row(cut, _split(group), folder)
            rows.append(row)
            if Path(row["audio_path"]).is_relative_to(folder):
                pieces[row["audio_path"]] = cut
    if not rows:
        raise ManifestError(f"{place} has no supervision, so there are no words; give cuts with supervisions, or the "
                            "supervisions beside the recordings")
    table = pd.DataFrame(rows)
    mixed = {name: table[name].map(lambda value: None if pd.isna(value) else str(value))
             for name in table if table[name].dtype == object}
    root = Path(os.path.commonpath([Path(path).parent for path in table["audio_path"]]))
    return Listing(table.assign(**mixed).assign(gender=gender(table["gender"])).dropna(axis="columns", how="all"), root,
                   (lambda kept, shown: _write(pieces, kept, shown)) if pieces else None)


def _library() -> Any:
    try:
        import lhotse
    except ImportError as error:
        raise SettingsError("lhotse manifests are read by the library lhotse, which is not installed; "
                            "do: pip install -e '.[lhotse]'") from error
    return lhotse


# --- which files -----------------------------------------------------------------------------------------------------


def _groups(place: Path) -> list[dict[str, Path]]:
    """Find the manifests of a place: each group is cuts, or recordings with their supervisions."""
    if place.is_file() and _kind(place) in ("", "cuts"):
        return [{"cuts": place}]
    folder, parts = place.parent if place.is_file() else place, dict[str, dict[str, Path]]()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _kind(path) and path.name.endswith(SUFFIXES):
            parts.setdefault(path.name.replace(_kind(path), "*"), {})[_kind(path)] = path
    groups = []
    for part in parts.values() if place == folder else (part for part in parts.values() if place in part.values()):
        kinds = ("cuts",) if "cuts" in part and place == folder else ("recordings", "supervisions")
        groups += [{kind: part[kind] for kind in kinds}] if all(kind in part for kind in kinds) else []
    if not groups:
        raise missing(place, "a lhotse manifest", "a file of cuts (cuts.jsonl.gz), or a folder with cuts, or with "
                      "x_recordings_train.jsonl.gz and x_supervisions_train.jsonl.gz")
    return groups


def _words(path: Path) -> list[str]:
    return path.name.partition(".")[0].replace("-", "_").split("_")


def _kind(path: Path) -> str:
    return next((kind for kind in KINDS if kind in _words(path)), "")


def _split(group: dict[str, Path]) -> str:
    """Tell a manifest's split from its name, "" when the name says none."""
    return next((PARTS[word] for word in _words(next(iter(group.values()))) if word in PARTS), "")


# --- from cuts to rows -----------------------------------------------------------------------------------------------


def _cuts(library: Any, group: dict[str, Path]) -> Iterator[Any]:
    """Give a cut for each supervision."""
    try:
        if "cuts" in group:
            cuts = library.CutSet.from_file(group["cuts"])
        else:
            cuts = library.CutSet.from_manifests(**{k: library.load_manifest(path) for k, path in group.items()})
        yield from cuts.trim_to_supervisions(keep_overlapping=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        name = " and ".join(str(path) for path in group.values())
        raise ManifestError(f"{name} cannot be read by lhotse ({type(error).__name__}: {error}); make it again with "
                            "lhotse's to_file") from error


def _anchored(cut: Any, beside: Path) -> Any:
    """Let relative paths of recordings start at the manifest's folder, where there is such a file, else here."""
    if not getattr(cut, "tracks", None) and cut.has_recording:
        sources = [source.source for source in cut.recording.sources if source.type == "file"]
        if sources and all((beside / name).is_file() and not Path(name).is_absolute() for name in sources):
            return cut.with_recording_path_prefix(beside)
    return cut


def _row(cut: Any, split: str, folder: Path) -> dict[str, Any]:
    """Describe one utterance; its own `split` counts more than its file's name."""
    said = cut.supervisions[0]
    custom = {**(cut.custom or {}), **(said.custom or {})}
    slices = {name: value for name, value in custom.items()
              if isinstance(value, str | int | float | bool) and name not in NOT_SLICES}
    return {**slices, "utterance_id": said.id, "audio_path": str(_place(cut, folder)), "text": said.text or "",
            "speaker": said.speaker or "", "split": slices.get("split", split), "gender": said.gender,
            "language": said.language}


def _kinds(cut: Any) -> set[str]:
    if getattr(cut, "tracks", None):
        return {"a mix"}
    return {source.type for source in cut.recording.sources} if cut.has_recording else {"absent"}


def _place(cut: Any, folder: Path) -> Path:
    """Say where an utterance's audio lies, or where its piece will."""
    kinds = _kinds(cut)
    if kinds != {"file"}:
        raise ManifestError(f"recording of {cut.id} is {' and '.join(sorted(kinds))}, only files are read here; save "
                            "its audio as files (CutSet.save_audios) and give the manifest of those")
    is_whole = (cut.start == 0 and abs(cut.duration - cut.recording.duration) <= TOLERANCE_S
                and cut.recording.num_channels == 1 and not cut.recording.transforms)
    path = Path(cut.recording.sources[0].source).absolute()
    if is_whole or not path.is_file():  # a file that is absent the door will name
        return path
    return folder / f"{storage.hash_value([cut.id, str(path), cut.start, cut.duration])[:16]}.wav"


def _write(pieces: dict[str, Any], rows: pd.DataFrame, progress: Progress) -> None:
    """Cut pieces out of their recordings, those whose file is not there. Raises: ManifestError for one unreadable."""
    absent = [path for path in rows["audio_path"] if path in pieces and not Path(path).is_file()]
    for path in progress(absent, "cutting recordings", len(absent)):
        samples = _samples(pieces[path])
        with storage.replacing(Path(path)) as temporary:
            audio.write(temporary, audio.resample(samples, pieces[path].sampling_rate, audio.SAMPLE_RATE_HZ))


def _samples(cut: Any) -> audio.Samples:
    try:
        return np.asarray(cut.load_audio(), np.float32).mean(axis=0)
    except Exception as error:  # lhotse's errors have no common root
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise ManifestError(f"{cut.recording.sources[0].source} cannot be read from {cut.start:g} s on ({words}); mend "
                            f"it, or leave {cut.id} out of the manifest") from error
