"""Which production queries people should write down, and what they wrote: a random audit beside those worth most.

The audit is drawn by chance alone, so that it can be trusted as a measure; what is chosen by value, the errors that a
minute of work should bring, teaches most and measures nothing. Words go to the query log, where forgetting finds them,
and nowhere else.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import consented_audio, settings, storage, text
from workbench.errors import ManifestError
from workbench.expected_wer import Calibration
from workbench.log_reading import LOAD_TEST
from workbench.marks import Marks
from workbench.query_log import CONSENTED, QueryLog
from workbench.records import Decision

AUDIT, CHOSEN = "audit", "chosen"
ASKED_FOR = "asked for"
DISAGREES, NEW_TERM, LIKELY = "disagreement", "new term", "likely wrong"
REASONS = (DISAGREES, NEW_TERM, LIKELY)
"""Why a query is chosen: disagreements come before all that nobody asked for, the other two take turns."""
WRITE_FACTOR, HANDLE_S = 6.0, 5.0
"""Writing down takes about six times as long as the sound (quick transcription of the Fisher corpus, Cieri, Miller,
Walker, LREC 2004); the seconds that each clip costs besides, opened, played and left, are our own assumption."""
MAX_A_USER = 5
"""Queries chosen of one user: the sixth says less about others than the first of somebody else."""
ENOUGH = .5
NO_SPEECH = "[no speech]"
"""What people write for a recording in which nobody speaks; an empty cell is one that nobody has come to yet."""
SHEET = ("request_id", "kind", "audio_path", "reference")
DEMO = "demo"

# --- choosing --------------------------------------------------------------------------------------------------------


def askable(log: pd.DataFrame) -> pd.DataFrame:
    """Give the answered queries whose recording we may listen to, one row a recording, of users told apart.

    A recording that people sent again, as the demo's weeks are by each run, was answered last by who answers now.
    A log that machines share names recordings that lie where they were answered, and never leave there.
    """
    is_askable = (log["consent"].eq(CONSENTED) & log["audio_sha"].ne("") & log["error"].eq("")
                  & log["user_hash"].ne("") & log["role"].ne("shadow") & log["app_version"].ne(LOAD_TEST))
    if settings.Settings().query_log_url:
        is_askable &= log["audio_sha"].map(lambda sha: consented_audio.clip_path(sha).is_file()).astype(bool)
    return log[is_askable].drop_duplicates("audio_sha", keep="last").reset_index(drop=True)


def asked_for() -> set[str]:
    """Name the queries that people marked for labelling on the monitoring page."""
    with closing(Marks()) as marks:
        return {str(row["utterance_id"]) for row in marks.rows("label")}


def minutes(rows: pd.DataFrame) -> "pd.Series[float]":
    """Say how long people take to write each query down."""
    return (HANDLE_S + WRITE_FACTOR * rows["duration_s"]) / 60


def choose(log: pd.DataFrame, *, calibration: Calibration, n_audit: int, n_chosen: int, seed: int,
           new_terms: Collection[str] = (), challenger: Mapping[str, str] | None = None,
           asked_for: Collection[str] = (), audit_from: Collection[str] | None = None,
           chosen_from: Collection[str] | None = None) -> pd.DataFrame:
    """Pick queries for people to write down, among those with consent.

    Ids in `asked_for` come first: people marked them. Then come those which a challenger answered otherwise, as a
    shadow or when they were replayed to it (`challenger`: its answer by request_id): one of the two is wrong. Then ids
    in `new_terms` (heard with a name never seen) and those likely wrong take turns. Within each the most errors to
    expect a minute of writing come first, and at most five of a user. The two pools, by request_id, keep the audit
    apart from what is learned from; without them all can be either.
    Returns: request_id, kind ("audit" or "chosen"), reason ("audit", "asked for", or one of REASONS); fewer where pools
        are small.
    """
    rows = askable(log)
    first, second = (_pool(rows, ids) for ids in (audit_from, chosen_from))
    drawn = np.random.default_rng(seed).permutation(len(first))[:n_audit]
    audit = first["request_id"].iloc[np.sort(drawn)]
    left = second[~second["request_id"].isin(set(audit))]
    wanted = left.loc[left["request_id"].isin(set(asked_for)), "request_id"].tolist()[:n_chosen]
    rest = left[~left["request_id"].isin(set(wanted))]
    chosen = dict.fromkeys(wanted, ASKED_FOR)
    orders = _orders(rest, _answers_beside(log) | dict(challenger or {}), new_terms, calibration)
    for turns in ([DISAGREES], [NEW_TERM, LIKELY]):
        chosen |= _in_turn(rest, {reason: orders[reason] for reason in turns}, chosen, n_chosen)
    asked = [(name, AUDIT, AUDIT) for name in audit] + [(name, CHOSEN, why) for name, why in chosen.items()]
    return pd.DataFrame(asked, columns=["request_id", "kind", "reason"])


def _pool(rows: pd.DataFrame, ids: Collection[str] | None) -> pd.DataFrame:
    return rows if ids is None else rows[rows["request_id"].isin(set(ids))]


def _answers_beside(log: pd.DataFrame) -> dict[str, str]:
    """Give what a shadow answered, by request_id."""
    shadows = log[log["role"].eq("shadow") & log["error"].eq("")]
    return dict(zip(shadows["request_id"], shadows["hypothesis"], strict=True))


def _orders(rows: pd.DataFrame, beside: Mapping[str, str], new_terms: Collection[str],
            calibration: Calibration) -> dict[str, list[str]]:
    """List the queries that each reason holds for, the most errors to expect a minute first."""
    value = pd.Series(calibration.errors(rows), index=rows.index) / minutes(rows)
    ranked = rows.assign(value=value).sort_values(["value", "request_id"], ascending=[False, True])
    other = ranked["request_id"].map(beside)
    is_other = other.notna() & other.fillna("").map(text.normalize).ne(ranked["hypothesis"].map(text.normalize))
    named = ranked["request_id"].isin(set(new_terms))
    return {reason: ranked.loc[holds, "request_id"].tolist()
            for reason, holds in ((DISAGREES, is_other), (NEW_TERM, named), (LIKELY, ranked["value"].notna()))}


def _in_turn(rows: pd.DataFrame, orders: Mapping[str, Sequence[str]], before: Mapping[str, str],
             n: int) -> dict[str, str]:
    """Let reasons take turns until `n` are chosen, each naming its first query that is free and whose user has not had
    enough.
    """
    users = dict(zip(rows["request_id"], rows["user_hash"], strict=True))
    chosen, lines = dict[str, str](), {why: iter(ids) for why, ids in orders.items()}
    n_of_user = Counter(users[name] for name in before if name in users)
    while lines and len(before) + len(chosen) < n:
        for why in list(lines)[: n - len(before) - len(chosen)]:
            taken = next((name for name in lines[why] if name not in chosen and name not in before
                          and n_of_user[users[name]] < MAX_A_USER), None)
            if taken is None:
                del lines[why]
                continue
            chosen[taken] = why
            n_of_user[users[taken]] += 1
    return chosen


# --- answers ---------------------------------------------------------------------------------------------------------


def answers_from_demo(asked: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Let the demo world's truth stand in for people.

    Returns: request_id, reference, labeller, kind, for those asked that the phones have sent.
    """
    truth = dict(zip(sent["request_id"], sent["reference"], strict=True)) if len(sent) else {}
    known = asked[asked["request_id"].isin(truth)]
    return known.assign(reference=known["request_id"].map(truth), labeller=DEMO)[
        ["request_id", "reference", "labeller", "kind"]].reset_index(drop=True)


def folder(run: str) -> Path:
    """Give where a run's sheets lie."""
    return storage.data_folder() / "labels" / run


def export(asked: pd.DataFrame, log: pd.DataFrame, run: str) -> Path:
    """Write the sheet that people fill in. What the model heard is not in it: it would sway those who listen."""
    shas = dict(zip(log["request_id"], log["audio_sha"], strict=True))
    sheet = asked.assign(reference="", audio_path=[str(consented_audio.clip_path(shas[name]))
                                                   for name in asked["request_id"]])
    mixed = sheet.sample(frac=1, random_state=0)  # nobody should be able to tell the audit from the others
    return storage.write_text(folder(run) / "asked.csv", mixed[list(SHEET)].to_csv(index=False))


def sheet_of(run: str) -> Path:
    """Find the sheet that a run wants filled in. Raises: ManifestError when it asks for none."""
    sheet = folder(run) / "asked.csv"
    if not sheet.is_file():
        is_done = any(storage.run_folder(run).glob(f"*_retrain/{storage.RECORD}"))
        raise ManifestError(f"run {run} asks for no labels: " + ("its retrain is done, and asks again when "
                            f"people have called since: workbench run retrain --force --run {run}" if is_done else
                            f"retrain writes the sheet: workbench run --run {run}"))
    return sheet


def bring(file: Path, run: str, *, by: str, log: QueryLog) -> int:
    """Take a filled sheet into the log, and note that it came, so that the run goes on.

    Returns: the number of labels kept; a query that was forgotten meanwhile takes none.
    Raises: ManifestError when it is not such a sheet, or nothing is filled in.
    """
    sheet = _read(file)
    filled = sheet[sheet["reference"].str.strip().ne("")]
    if filled.empty:
        raise ManifestError(f"{file}: none of {len(sheet)} rows has a reference; write down what you hear in each, "
                            f"{NO_SPEECH} where nobody speaks")
    labels = filled.assign(labeller=by, reference=filled["reference"].str.strip())
    labels["reference"] = labels["reference"].where(labels["reference"].ne(NO_SPEECH), "").map(text.normalize)
    n_kept = log.add_labels(labels[["request_id", "reference", "labeller", "kind"]])
    storage.write_json(folder(run) / "brought.json", {
        "n_labels": n_kept, "sheet": storage.hash_table(labels[["request_id", "reference"]])})
    return n_kept


def _read(file: Path) -> pd.DataFrame:
    try:
        sheet = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ManifestError(f"there is no sheet {file}; `workbench label export` says where it lies") from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file} cannot be read as CSV ({str(error).splitlines()[0]}); save it as CSV in UTF-8"
                            ) from error
    missing = [name for name in ("request_id", "kind", "reference") if name not in sheet]
    strange = [] if missing else sorted(set(sheet["kind"]) - {AUDIT, CHOSEN})
    if missing or strange:
        wrong = f"it lacks {', '.join(missing)}" if missing else f"kind is {strange[0]!r}"
        raise ManifestError(f"{file} is no sheet to label: {wrong}; fill the reference column of asked.csv and leave "
                            "the others")
    return sheet


def labels_of(asked: pd.DataFrame, log: QueryLog) -> pd.DataFrame:
    """Give what people wrote for the queries asked about. Returns: request_id, reference, labeller, kind, reason."""
    return log.labels().drop(columns="kind").merge(asked, on="request_id", validate="one_to_one")


def is_enough(asked: pd.DataFrame, labels: pd.DataFrame) -> bool:
    """Whether at least half of the audit and half of the chosen queries are written down, and some of each.

    The sheet is shuffled, so that half of it is as fair as all of it.
    """
    done = asked["request_id"].isin(set(labels["request_id"]))
    return all(done[asked["kind"].eq(kind)].sum() >= max(1, ENOUGH * asked["kind"].eq(kind).sum())
               for kind in (AUDIT, CHOSEN))


def wait_for(asked: pd.DataFrame, labels: pd.DataFrame, sheet: Path, run: str) -> Decision:
    """Say what is waited for, where it lies and how it comes back."""
    where = sheet.relative_to(storage.data_folder().parent)
    return Decision("waiting", f"Waiting for people to write down {len(asked) - len(labels)} queries. Fill the "
                               f"reference column of {where}, then: workbench label import {where} --run {run} "
                               "--by NAME, and run again.")


def summary(asked: pd.DataFrame, labels: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """Count what was asked and answered, by reason. Returns: reason, n_asked, n_labelled, n_users; no words."""
    users = dict(zip(log["request_id"], log["user_hash"], strict=True))
    rows: list[dict[str, Any]] = []
    for reason in (AUDIT, ASKED_FOR, *REASONS):
        of = asked[asked["reason"] == reason]
        rows.append({"reason": reason, "n_asked": len(of),
                     "n_labelled": int(of["request_id"].isin(set(labels["request_id"])).sum()),
                     "n_users": of["request_id"].map(users).nunique()})
    return pd.DataFrame(rows)
