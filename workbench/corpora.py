"""The door: the demo world, manifests and folders of audio become one checked dataset version.

Every row that is turned away is listed with its reason, what is odd is kept and flagged, nothing is dropped silently.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import datasets, hearing, manifests, published_corpora, remote, settings
from workbench.datasets import MIN_SPEAKERS, PROPORTIONS, SPLITS, UNKNOWN_SPEAKER, Dataset
from workbench.errors import ManifestError
from workbench.progress import Progress, pass_through

DEMO = "demo"
MAX_BAD_SHARE = 0.05  # a few bad rows are an accident, more are a broken export

MAX_LETTERS_PER_S = 30.0  # twice ordinary English: 190 words a minute of 4.7 letters are 15 letters a second
MIN_LETTERS_PER_S = 1.0  # a word in five seconds: mostly silence, or words are missing
MAX_CLIPPED_SHARE = 0.001  # sixteen samples a second; loud but clean speech has none
DURATION_TOLERANCE = 0.1  # told and measured durations: codecs pad by a tenth of a short clip
ODD_WORDS = {"digits in the text": re.compile(r"\d"), "markup in the text": re.compile(r"[<>\[\]{}|\\*_#]|\(\w+\)")}

DIFFERING = "other rows have other words for this recording; cut its segments into files of their own, or keep one row"
REJECTED = ["source", "line", "utterance_id", "audio_path", "reason"]
WARNINGS = ["source", "utterance_id", "warning", "detail"]
CORPORA = ["name", "title", "license", "citation", "url"]


@dataclass(frozen=True, slots=True)
class Checked:
    """A source after its checks: utterances, rows turned away (line, reason), oddities (warning, detail).

    `card` is what is known of a published corpus: name, title, url, license, citation.
    """

    good: pd.DataFrame
    rejected: pd.DataFrame
    warnings: pd.DataFrame
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def left_out(self) -> str:
        """Say how many rows were turned away, and why the first of them; "" when none was."""
        shown = _shown(self.rejected["line"], self.rejected["reason"])
        return f"{len(self.rejected)} of {len(self.rejected) + len(self.good)} rows left out: {shown}" if shown else ""


@dataclass(frozen=True, slots=True)
class Collection:
    """What collect made: the dataset version, what was turned away, what is odd, and the amounts of each source.

    `corpora` are the published ones, a row each: name, title, license, citation, url.
    """

    dataset: Dataset
    rejected: pd.DataFrame
    warnings: pd.DataFrame
    report: dict[str, Any]
    corpora: pd.DataFrame


def collect(
    sources: Sequence[str],
    *,
    size: str = "small",
    seed: int = 0,
    salt: str = "voice-search",
    max_bad_share: float = MAX_BAD_SHARE,
    base_folder: Path | None = None,
    audio_root: str | Path | None = None,
    is_copied: bool = True,
    progress: Progress = pass_through,
) -> Collection:
    """Read, check and split all sources, and write them as one dataset version.

    Audio is copied under `data/`, or else stays where it is and is named with its checksum (`remote.pinned`).
    Raises: ManifestError when a source cannot be used, a voice or recording is in two splits, or nothing can be held
    out; ParameterError for an unknown size.
    """
    if not sources:
        raise ManifestError("sources is empty; name demo, a manifest, a folder, or a corpus, librispeech:FOLDER")
    checked = [_from_demo(size, seed) if source == DEMO else check(
        source, max_bad_share=max_bad_share, base_folder=base_folder, audio_root=audio_root or None,
        keeping="copied" if is_copied else "in place", progress=progress) for source in dict.fromkeys(sources)]
    table = pd.concat([_with_own_ids(part.good, checked[:i]) for i, part in enumerate(checked)], ignore_index=True)
    table = table.reindex(columns=[*dict.fromkeys([*table, "split"])])
    differing = _differing(table)
    _stop_if_bad(", ".join(sources), table["utterance_id"], differing, max_bad_share)
    datasets.check_leakage(table[table["split"].notna() & ~table.index.isin(differing.index)])
    repeats = _repeats(table, differing)
    table = table[~table["utterance_id"].isin(repeats["utterance_id"])].reset_index(drop=True)
    table, used_salt = _split(table, salt)
    published = list({part.card["name"]: part.card for part in checked if part.card}.values())
    dataset = datasets.save(table, note=f"collected from {', '.join(sources)}", salt=used_salt, corpora=published)
    rejected = pd.concat([*(part.rejected for part in checked), repeats], ignore_index=True).astype({"line": "Int64"})
    amounts = [{"source": part.good["source"].iloc[0], "n_good": len(part.good), "n_rejected": len(part.rejected)}
               for part in checked]
    report = {"n_good": len(table), "n_rejected": len(rejected), "n_repeats": len(repeats), "salt": used_salt,
              "is_few_speakers": dataset.is_few_speakers, "sources": amounts}
    warnings = pd.concat([p.warnings for p in checked], ignore_index=True)
    return Collection(dataset, rejected, warnings, report, pd.DataFrame(published, columns=CORPORA))


def read_rows(sources: Sequence[str], *, base_folder: Path | None = None, audio_root: str | Path | None = None,
              is_stored: bool = True, progress: Progress = pass_through) -> pd.DataFrame:
    """Give the utterances of manifests or folders that pass the checks, to extend a dataset or to be scored.

    With `is_stored` false nothing is written and audio paths are those of the files themselves.
    Raises: ManifestError when a source cannot be used.
    """
    parts = [check(source, base_folder=base_folder, audio_root=audio_root,
                   keeping="copied" if is_stored else "nothing", progress=progress).good for source in sources]
    return pd.concat(parts, ignore_index=True)


# --- one source ------------------------------------------------------------------------------------------------------


def check(source: str, *, max_bad_share: float | None = None, base_folder: Path | None = None,
          audio_root: str | Path | None = None, keeping: hearing.Keeping = "copied",
          progress: Progress = pass_through) -> Checked:
    """Read a manifest, a folder or a corpus by name, turn bad rows away with their reasons, and flag what is odd.

    Raises: ManifestError when it cannot be read, more than `max_bad_share` of its rows are bad (MAX_BAD_SHARE where
    nobody can allow more: None), or none is good; SettingsError when its store does not answer.
    """
    is_placed = remote.is_url(source) or Path(source).is_absolute()
    base_folder = base_folder or (Path("/") if is_placed else settings.root())
    found = published_corpora.locate(source, base_folder=base_folder, audio_root=audio_root, progress=progress)
    listed = manifests.read(found.manifest, base_folder=base_folder, audio_root=found.audio_root)
    reasons = manifests.reasons(listed)
    _stop_if_bad(source, listed["line"], reasons, max_bad_share)  # before any audio is read or kept
    heard = hearing.hear(listed.drop(index=reasons.index), keeping, progress)
    reasons = pd.concat([reasons, heard["reason"].dropna()]) if "reason" in heard else reasons
    reasons = pd.concat([reasons, _differing(listed.assign(audio_sha=heard.get("audio_sha")))])
    _stop_if_bad(source, listed["line"], reasons, max_bad_share)
    kept = listed.drop(index=reasons.index)
    good, warnings = _described(kept, heard.loc[kept.index])
    rejected = listed.loc[sorted(reasons.index), REJECTED[:-1]]
    return Checked(good, rejected.assign(reason=reasons).reset_index(drop=True), warnings, found.card)


def _stop_if_bad(source: str, names: pd.Series, reasons: pd.Series, max_bad_share: float | None) -> None:
    n_bad, n_rows = len(reasons), len(names)
    share = MAX_BAD_SHARE if max_bad_share is None else max_bad_share
    if n_bad < n_rows and n_bad <= share * n_rows:
        return
    allowed = "none is good" if n_bad == n_rows else f"at most {share:.0%} may be bad"
    hint = "" if n_bad == n_rows or max_bad_share is None else ", or allow more with max_bad_share"
    raise ManifestError(f"{source}: {n_bad} of {n_rows} rows cannot be used, {allowed}. {_shown(names, reasons)}. "
                        f"Mend or drop these rows{hint}")


def _shown(names: pd.Series, reasons: pd.Series) -> str:
    """Quote the first three reasons, each with the row that is the first to have it."""
    first = reasons.drop_duplicates()
    more = f"; and {len(first) - 3} other reasons" if len(first) > 3 else ""
    return "; ".join(f"{names.name} {names[row]}: {reason}" for row, reason in first.head(3).items()) + more


def _differing(rows: pd.DataFrame) -> pd.Series:
    """Find recordings that rows write down differently: none can be used. Returns: the reason, by the rows' index."""
    shared = rows[rows["audio_sha"].duplicated(keep=False) & rows["audio_sha"].notna()]
    n_said = shared.groupby("audio_sha")["reference"].transform("nunique")
    return pd.Series(DIFFERING, index=shared.index[n_said > 1], dtype="str")


def _described(kept: pd.DataFrame, heard: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join what the manifest says with what was heard. Returns: utterances, and their warnings, one a row."""
    told_s = manifests.numbers(kept.get("duration_s", pd.Series(float("nan"), kept.index)))
    table = kept.assign(told_s=told_s, **{str(name): column for name, column in heard.items() if name != "reason"})
    told_db = pd.to_numeric(table.get("snr_db", pd.Series(float("nan"), table.index)), errors="coerce")
    odd = _oddities(table)
    flags = odd.groupby(level=0)["warning"].agg("; ".join).reindex(table.index).fillna("").astype("str")
    warnings = table.loc[odd.index, ["source", "utterance_id"]].assign(
        warning=odd["warning"], detail=odd["detail"]).reset_index(drop=True)
    good = table.assign(snr_db=told_db.fillna(table["snr_estimate_db"]), flags=flags).drop(columns=[
        *manifests.BY_READERS, "audio_root", "file_state", "told_s", "snr_estimate_db", "clipped_share",
        "is_near_silent"])
    return good.reset_index(drop=True), warnings


def _oddities(table: pd.DataFrame) -> pd.DataFrame:
    """Name what a person should look at, each with its detail. Returns: warning, detail, by the index of the table."""
    said, duration_s, told_s = table["text"], table["duration_s"], table["told_s"]
    rate = _each(table["reference"], lambda words: len(words) - words.count(" ")) / duration_s
    odd = [(name, _each(said, pattern.search).notna(), "{}", [said]) for name, pattern in ODD_WORDS.items()]
    odd += [
        ("text in upper case", _each(said, lambda words: words.isupper() and " " in words), "{}", [said]),
        ("implausible speaking rate", ~rate.between(MIN_LETTERS_PER_S, MAX_LETTERS_PER_S), "{:.1f} letters a second",
         [rate]),
        ("clipped", table["clipped_share"] > MAX_CLIPPED_SHARE, "{:.2%} of the samples at full scale",
         [table["clipped_share"]]),
        ("near-silent", table["is_near_silent"].astype(bool), "{:.0f} dBFS", [table["level_dbfs"]]),
        ("duration differs", (told_s - duration_s).abs() > DURATION_TOLERANCE * (1 + duration_s),
         "the manifest says {:.2f} s, the audio has {:.2f} s", [told_s, duration_s]),
        ("speaker unknown", table["speaker"].eq(UNKNOWN_SPEAKER), "intervals will be too narrow", []),
    ]
    return pd.concat([_listed(*each) for each in odd]).sort_index(kind="stable")


def _each(words: pd.Series, ask: Callable[[str], Any]) -> pd.Series:
    return pd.Series([ask(each) for each in words], index=words.index)


def _listed(warning: str, is_odd: pd.Series, detail: str, values: Sequence[pd.Series]) -> pd.DataFrame:
    rows = is_odd.index[is_odd]
    details = [detail.format(*told) for told in zip(*(v[rows] for v in values), strict=True)] or [detail] * len(rows)
    return pd.DataFrame({"warning": warning, "detail": details}, index=rows)


def _from_demo(size: str, seed: int) -> Checked:
    from workbench import synthesis

    rows = datasets.store_rows(synthesis.collect(size=size, seed=seed))
    return Checked(rows.assign(source=DEMO, flags=""), pd.DataFrame(columns=REJECTED), pd.DataFrame(columns=WARNINGS))


# --- several sources -------------------------------------------------------------------------------------------------


def _with_own_ids(rows: pd.DataFrame, earlier: Sequence[Checked]) -> pd.DataFrame:
    """Put the source's name before ids that an earlier source has, whose names stay as they were."""
    taken = {name for part in earlier for name in part.good["utterance_id"]}
    ids = rows["utterance_id"]
    return rows.assign(utterance_id=ids.where(~ids.isin(taken), f"{len(earlier)}:" + rows["source"] + ":" + ids))


def _repeats(table: pd.DataFrame, differing: pd.Series) -> pd.DataFrame:
    """List recordings that are there already, under whatever name: the first is kept, but of those that differ none."""
    first = table.groupby("audio_sha")["utterance_id"].transform("first")
    reasons = differing.combine_first(("the same recording as " + first)[first != table["utterance_id"]])
    return table.loc[reasons.index].assign(reason=reasons).reindex(columns=REJECTED)


def _split(table: pd.DataFrame, salt: str) -> tuple[pd.DataFrame, str]:
    """Give every utterance a split: the one its source says, or the salted hash of its speaker.

    Speakers that join move nobody: the salt is the one by which these recordings were split before.
    Returns: the table, and the salt that was used.
    """
    groups, own = datasets.blocks(table), table["split"]
    if groups.nunique() < 2:
        raise ManifestError(f"all {len(table)} utterances are of one speaker ({table['speaker'].iloc[0]}), so nothing "
                            "can be held out; add recordings of other speakers, or a speaker column")
    if own.isna().all() and groups.nunique() < MIN_SPEAKERS:
        return table.assign(split="train"), salt
    if own.isna().all():
        base = groups[table["source"] == table["source"].iloc[0]]  # a source that joins later must not move anybody
        salt = (_served(table, groups, salt, PROPORTIONS)
                or _settled(base if base.nunique() >= MIN_SPEAKERS else groups, salt, PROPORTIONS))
    elif own.notna().all() and own.nunique() == 1:
        raise ManifestError(f"all {groups.nunique()} speakers are in one split ({own.iloc[0]}), so nothing can be "
                            "judged; spread them over train, valid, dev, gate and test, or drop the split column "
                            "(workbench prepare --no-splits, for a part of a published corpus)")
    elif own.isna().any() and (kin := datasets.kin(table["audio_sha"], salt)) is not None:  # its people stay too
        own = own.fillna(groups.map(dict(zip(datasets.blocks(kin.table), kin.table["split"], strict=True))))
        salt = str(kin.card["salt"])
    table = table.assign(split=own.fillna(groups.map(datasets.assign_splits(groups, salt))))
    return _fill_missing(table, salt)


def _fill_missing(table: pd.DataFrame, salt: str) -> tuple[pd.DataFrame, str]:
    """Take splits that a corpus does not have from its training speakers: most corpora know no gate."""
    missing = [name for name in SPLITS if not (table["split"] == name).any()]
    if not missing:
        return table, salt
    groups = datasets.blocks(table)[table["split"] == "train"]
    if groups.nunique() < MIN_SPEAKERS:
        raise ManifestError(f"no utterance is in {', '.join(missing)}, and train has too few speakers to give some "
                            f"({groups.nunique()}, wanted {MIN_SPEAKERS}); fill these splits, or drop the split column")
    shares = {"train": 1 - sum(PROPORTIONS[name] for name in missing)} | {name: PROPORTIONS[name] for name in missing}
    salt = _served(table, groups, salt, shares) or _settled(groups, salt, shares)
    taken = groups.map(datasets.assign_splits(groups, salt, shares))
    return table.assign(split=taken.reindex(table.index).fillna(table["split"])), salt


def _served(table: pd.DataFrame, groups: pd.Series, salt: str, proportions: dict[str, float]) -> str | None:
    """Give the salt that these recordings were split by before, unless so many are gone that a split is empty."""
    kin = datasets.kin(table["audio_sha"], salt)
    used = None if kin is None else str(kin.card["salt"])
    return used if used is not None and _fills(groups, used, proportions) else None


def _settled(groups: pd.Series, salt: str, proportions: dict[str, float]) -> str:
    """Find the first salt of a fixed series that leaves no split empty: with few speakers chance alone may."""
    for number in range(1000):  # at ten speakers about one in six serves
        candidate = f"{salt}#{number}" if number else salt
        if _fills(groups, candidate, proportions):
            return candidate
    raise ManifestError(f"{groups.nunique()} speakers do not fill {', '.join(proportions)}; add speakers")


def _fills(groups: pd.Series, salt: str, proportions: dict[str, float]) -> bool:
    return set(datasets.assign_splits(groups, salt, proportions).values()) == set(proportions)
