"""Models against one of them on the same utterances: won and lost, paired by slice, by word and by query. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench import differences, exploring
from workbench.differences import PairedResult
from workbench.exploring import Explored
from workbench.speaker_sums import Floats, Mask, Sums

N_FLIPS = 4000
"""Sign flips a slice: p-values down to 1 in 4,000, as fifty slices at a rate of 5 % need."""

MOST_ERRORS = 6
"""Answers with more errors share a bubble."""

KEY = "audio_sha"
_AT_ONCE = 800
"""Flips at a time, to bound memory; whole bytes of signs a speaker."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model made of a page's utterances, in their order; `rows` are the model's own (-1: it has no answer)."""

    data: Explored
    rows: np.ndarray

    def of(self, values: Floats) -> Floats:
        """Put the model's values in the page's order; 0 where it has none."""
        return np.where(self.rows >= 0, values[np.maximum(self.rows, 0)], 0.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some models (`now`) against one (`before`) on the utterances that all of them have answered (`common`).

    Masks, slices, weights and speakers are those of `page`.
    """

    page: Explored
    before: Answers
    now: tuple[Answers, ...]
    common: Mask


def compare(page: Explored, before: Explored, now: Sequence[Explored]) -> Comparison:
    """Match the answers of models by recording."""
    first, *others = (_matched(page, data) for data in (before, *now))
    return Comparison(page, first, tuple(others), np.all([answers.rows >= 0 for answers in (first, *others)], axis=0))


def _matched(page: Explored, model: Explored) -> Answers:
    """Match by recording, on the references of the page: what was corrected since is scored anew.

    Where recordings are unknown answers are matched by name; there another reference makes it another task.
    """
    if model is page:
        return Answers(model, np.arange(len(page)))
    key = KEY if KEY in page.scores and KEY in model.scores else "utterance_id"
    theirs = model.scores.drop_duplicates(key)
    found = pd.Index(theirs[key]).get_indexer(page.scores[key])
    rows = np.where(found >= 0, theirs.index.to_numpy()[np.maximum(found, 0)], -1)
    if key == KEY:
        model = _on_references_of(page, model)
    is_same = page.scores["reference"].to_numpy() == model.scores["reference"].to_numpy()[np.maximum(rows, 0)]
    return Answers(model, np.where(is_same, rows, -1))


def _on_references_of(page: Explored, model: Explored) -> Explored:
    known = page.scores.drop_duplicates(KEY).set_index(KEY)["reference"]
    references = model.scores[KEY].map(known).fillna(model.scores["reference"])
    return model if references.equals(model.scores["reference"]) else exploring.on_references(model, references)


def difference(all_of: Comparison, which: int, mask: Mask) -> PairedResult | None:
    """Compare a model's WER on a selection, now minus before; None where there is nothing to compare.

    It is wanted for its interval: its p-values say nothing.
    """
    page, rows = all_of.page, mask & all_of.common
    if not (page.weights * page.words)[rows].any():
        return None
    before, now = (answers.of(answers.data.errors)[rows] for answers in (all_of.before, all_of.now[which]))
    return differences.paired_difference(before, now, page.words[rows], page.speakers_of(rows), page.weights[rows],
                                         n_resamples=1)


def by_slice(all_of: Comparison, which: int, mask: Mask, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Compare a model slice by slice, told from chance at a false discovery rate of 5 % over its slices.

    Returns: column, value, name, n_utterances, before, now (WER), change, change_low, change_high, p (two-sided, sign
        flips by speaker), q (false discovery rate), verdict (better, worse, cannot tell).
    """
    page, mask = all_of.page, mask & all_of.common
    chosen = list(columns) or [name for name in page.names if name != "speaker"]
    before, now = (page.sums(mask, [page.groups[column] for column in chosen], answers.of(answers.data.errors),
                             page.words) for answers in (all_of.before, all_of.now[which]))
    rows, changes = [], [np.zeros((0, page.n_blocks))]
    for column, a, b in zip(chosen, before, now, strict=True):
        n = np.bincount(page.groups[column][0][mask] + 1, minlength=len(a.totals) + 1)[1:]
        used = [code for code in range(len(n)) if a.totals[code].any()]
        rows += [_slice(all_of, which, mask, column, code, a.of(code), b.of(code)) | {"n_utterances": int(n[code])}
                 for code in used]
        changes.append((b.errors - a.errors)[used])
    table = pd.DataFrame(rows, columns=["column", "value", "name", "n_utterances", "before", "now", "change",
                                        "change_low", "change_high"])
    p = _flipped(np.concatenate(changes))
    q, words = differences.changed(p, table["change"])
    return table.assign(p=p, q=q, verdict=words)


def _slice(all_of: Comparison, which: int, mask: Mask, column: str, code: int, before: Sums,
           now: Sums) -> dict[str, object]:
    codes, values = all_of.page.groups[column]
    found = all_of.page.paired(before, now)
    if np.count_nonzero(before.totals) < 2:  # of one speaker, utterances are all there is
        found = difference(all_of, which, mask & (codes == code)) or found
    return {"column": column, "value": values[code], "name": all_of.page.names[column][code], "before": found.rate_a,
            "now": found.rate_b, "change": found.difference.value, "change_low": found.difference.low,
            "change_high": found.difference.high}


def _flipped(changes: Floats) -> Floats:
    """Flip the signs of speakers at random, the same way for all slices. Shape: [slices, speakers] in.

    Returns: p a slice, two-sided; `differences.paired_difference` tests so one by one, and holds its level.
    """
    changes = changes[:, changes.any(axis=0)].T.astype(np.float32)
    seen, slack = changes.sum(axis=0), 1e-5 * np.abs(changes).sum(axis=0)  # sums of single precision that are alike
    rng, n_low, n_high = np.random.default_rng(0), 1, 1
    for _ in range(N_FLIPS // _AT_ONCE):
        bits = np.frombuffer(rng.bytes(_AT_ONCE * len(changes) // 8), np.uint8)
        half = np.unpackbits(bits).reshape(_AT_ONCE, len(changes)).astype(np.float32)
        sums = 2 * half @ changes - seen  # twice a random half of the speakers less all = the sum with random signs
        n_low, n_high = n_low + (sums <= seen + slack).sum(axis=0), n_high + (sums >= seen - slack).sum(axis=0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(n_low, n_high) / (N_FLIPS + 1)), dtype=float)


def won_and_lost(all_of: Comparison, which: int, mask: Mask) -> dict[str, int]:
    """Count queries that are word for word right now only (won), before only (lost), both times and never."""
    rows = mask & all_of.common & (all_of.page.is_speech > 0)
    before, now = (answers.of(answers.data.is_exact)[rows] > 0 for answers in (all_of.before, all_of.now[which]))
    return {"won": int((now & ~before).sum()), "lost": int((before & ~now).sum()), "both": int((now & before).sum()),
            "neither": int((~now & ~before).sum())}


def _cell(all_of: Comparison, which: int) -> tuple[np.ndarray, np.ndarray]:
    before, now = (np.minimum(answers.of(answers.data.errors), MOST_ERRORS).astype(int)
                   for answers in (all_of.before, all_of.now[which]))
    return before, now


def cells(all_of: Comparison, which: int, mask: Mask) -> pd.DataFrame:
    """Count utterances by the errors that each model makes. Returns: before, now (at most MOST_ERRORS), n."""
    before, now = (errors[mask & all_of.common] for errors in _cell(all_of, which))
    counted = np.bincount(before * (MOST_ERRORS + 1) + now, minlength=(MOST_ERRORS + 1) ** 2)
    found = np.flatnonzero(counted)
    return pd.DataFrame({"before": found // (MOST_ERRORS + 1), "now": found % (MOST_ERRORS + 1), "n": counted[found]})


def in_cell(all_of: Comparison, which: int, before: int, now: int) -> frozenset[str]:
    """Name the utterances of one cell."""
    was, is_now = _cell(all_of, which)
    return frozenset(all_of.page.scores.loc[all_of.common & (was == before) & (is_now == now), "utterance_id"])


def by_query(all_of: Comparison, mask: Mask) -> pd.DataFrame:
    """List the queries whose errors differ with any model, the most won first.

    Returns: utterance_id, reference, heard_before, and of each model, by its number, heard_0 and change_0 (errors).
    """
    before = all_of.before.of(all_of.before.data.errors)
    changes = np.array([answers.of(answers.data.errors) - before for answers in all_of.now])
    rows = np.flatnonzero(mask & all_of.common & (changes != 0).any(axis=0))
    rows = rows[np.argsort(changes[:, rows].sum(axis=0), kind="stable")]
    columns = {name: all_of.page.scores[name].iloc[rows].to_numpy(object) for name in ("utterance_id", "reference")}
    columns["heard_before"] = _heard(all_of.before, rows)
    for number, answers in enumerate(all_of.now):
        columns |= {f"heard_{number}": _heard(answers, rows), f"change_{number}": changes[number, rows].astype(int)}
    return pd.DataFrame(columns)


def _heard(answers: Answers, rows: np.ndarray) -> np.ndarray:
    return answers.data.scores["hypothesis"].iloc[answers.rows[rows]].to_numpy(object)


def by_word(all_of: Comparison, mask: Mask) -> pd.DataFrame:
    """Compare how often each word is missed, the largest change first.

    Returns: said, n, before (times wrong), and of each model, by its number, now_0 and change_0.
    """
    rows = np.flatnonzero(mask & all_of.common)
    before, *others = (_missed(answers, rows) for answers in (all_of.before, *all_of.now))
    table = before.rename(columns={"n_wrong": "before"})
    for number, missed in enumerate(others):
        now = missed["n_wrong"].reindex(table.index).fillna(0)
        table = table.assign(**{f"now_{number}": now, f"change_{number}": now - table["before"]})
    largest = table.filter(like="change_").abs().max(axis=1).sort_values(ascending=False, kind="stable")
    return table.loc[largest.index[largest > 0]].astype(int).rename_axis("said").reset_index()


def _missed(answers: Answers, rows: np.ndarray) -> pd.DataFrame:
    """Count words and misses of some of the page's utterances, by word. Returns: n, n_wrong."""
    asked = np.zeros(len(answers.data), bool)
    asked[answers.rows[rows]] = True
    return answers.data.word_accuracy(asked).set_index("said")[["n", "n_wrong"]]
