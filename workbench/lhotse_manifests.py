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
            row = _row(cut, _split(group), folder, next(iter(group.values())).parent)
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
    wanted = [part for part in parts.values() if place == folder or place in part.values()]
    groups = [{"cuts": part["cuts"]} if "cuts" in part and place == folder else
              {kind: part[kind] for kind in KINDS[1:]} for part in wanted if "cuts" in part or len(part) > 1]
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


def _row(cut: Any, split: str, folder: Path, beside: Path) -> dict[str, Any]:
    """Describe one utterance; its own `split` counts more than its file's name."""
    said = cut.supervisions[0]
    custom = {**(cut.custom or {}), **(said.custom or {})}
    slices = {name: value for name, value in custom.items()
              if isinstance(value, str | int | float | bool) and name not in NOT_SLICES}
    return {**slices, "utterance_id": said.id, "audio_path": str(_place(cut, folder, beside)), "text": said.text or "",
            "speaker": said.speaker or "", "split": slices.get("split", split), "gender": said.gender,
            "language": said.language}


def _place(cut: Any, folder: Path, beside: Path) -> Path:
    """Say where an utterance's audio lies, or where its piece will."""
    kinds = {source.type for source in cut.recording.sources} if cut.has_recording else {"nothing"}
    if not kinds <= {"file", "memory"}:
        raise ManifestError(f"recording of {cut.id} is {' and '.join(sorted(kinds))}, only files are read here; save "
                            "its audio as files (CutSet.save_audios) and give the manifest of those")
    is_whole = (cut.start == 0 and abs(cut.duration - cut.recording.duration) <= TOLERANCE_S and kinds == {"file"}
                and cut.recording.num_channels == 1 and not cut.recording.transforms)
    path = Path(cut.recording.sources[0].source) if kinds == {"file"} else None
    if path is not None and not path.is_absolute():
        path = beside / path if (beside / path).is_file() else path.absolute()
    if path is not None and (is_whole or not path.is_file()):
        return path  # a file that is absent the door will name
    return folder / f"{storage.hash_value([cut.id, cut.start, cut.duration])[:16]}.wav"


def _write(pieces: dict[str, Any], rows: pd.DataFrame, progress: Progress) -> None:
    """Cut pieces out of their recordings, those whose file is not there."""
    absent = [path for path in rows["audio_path"] if path in pieces and not Path(path).is_file()]
    for path in progress(absent, "cutting recordings", len(absent)):
        samples = np.asarray(pieces[path].load_audio()).mean(axis=0)
        with storage.replacing(Path(path)) as temporary:
            audio.write(temporary, audio.resample(samples, pieces[path].sampling_rate, audio.SAMPLE_RATE_HZ))
