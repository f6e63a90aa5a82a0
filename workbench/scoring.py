"""Errors of a recognizer against references: one row an utterance, one row an edit. The only user of jiwer.

Texts are compared as `text.normalize` leaves them. An empty reference (no speech) has no words: what is heard there
counts as insertions, as jiwer does. Rates come with intervals from `intervals`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np
import pandas as pd

from workbench import intervals
from workbench.errors import ScoringError
from workbench.records import EditCounts, Interval
from workbench.text import NORMALIZER_VERSION, normalize, words

Kind = Literal["equal", "sub", "del", "ins"]
_KINDS: dict[str, Kind] = {"equal": "equal", "substitute": "sub", "delete": "del", "insert": "ins"}
_NO_EDITS = (0, 0, 0, 0)
PAIRS_AT_A_TIME = 10_000
"""Texts whose alignments are held at once: a few kilobytes each."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One step of an alignment; the side that has no word is "".

    `position` is the index in the reference, for an insertion that of the reference word it stands before.
    """

    kind: Kind
    reference_word: str
    hypothesis_word: str
    position: int


def score(utterances: pd.DataFrame, hypotheses: Sequence[str] | pd.Series, *,
          normalizer: str = NORMALIZER_VERSION) -> pd.DataFrame:
    """Count the errors of every utterance.

    A Series indexed by utterance_id is matched by it, everything else by position. Another normalizer than ours is
    applied to `text`, where there is one, instead of to the normalized `reference`.
    Returns: the columns of `utterances`, then hypothesis, n_sub, n_del, n_ins, n_errors, n_words, n_char_errors,
        n_chars, is_exact, wer (nan without words), and is_entity_right where `entity` is a column (missing where
        the utterance has none; right when its words stand together in the hypothesis).
    Raises: ScoringError when there is nothing to score or utterances lack a hypothesis.
    """
    if utterances.empty:
        raise ScoringError("there are no utterances to score; choose a split or a filter that holds some")
    table = utterances.copy()
    heard = _matched(utterances, hypotheses)
    normalized = {text: normalize(text, normalizer) for text in set(heard)}
    table["hypothesis"] = [normalized[text] for text in heard]
    if normalizer != NORMALIZER_VERSION:
        original = table["text"] if "text" in table else table["reference"]
        table["reference"] = [normalize(text, normalizer) for text in original.fillna("")]
    counts = _counts(table["reference"].tolist(), table["hypothesis"].tolist())
    table[counts.columns] = counts.set_axis(table.index)
    table["is_exact"] = table["hypothesis"].eq(table["reference"])
    table["wer"] = table["n_errors"] / table["n_words"].where(table["n_words"] > 0)
    if "entity" in table:
        table["is_entity_right"] = _entities_right(table)
    return table


def _matched(utterances: pd.DataFrame, hypotheses: Sequence[str] | pd.Series) -> list[str]:
    if isinstance(hypotheses, pd.Series) and utterances["utterance_id"].isin(hypotheses.index).any():
        hypotheses = hypotheses.reindex(utterances["utterance_id"])
    found = list(hypotheses)
    n_missing = len(utterances) - len(found) + sum(bool(pd.isna(text)) for text in found)
    if len(found) > len(utterances):
        raise ScoringError(f"{len(found)} hypotheses for {len(utterances)} utterances; give one each, in their order")
    if n_missing:
        raise ScoringError(f"{n_missing} of {len(utterances)} utterances have no hypothesis; transcribe them first "
                           'or give "" where nothing was heard')
    return found


def _counts(references: list[str], heard: list[str]) -> pd.DataFrame:
    """Count the edits of texts that differ, each pair once: most utterances are heard right, and queries repeat."""
    pairs = list(zip(references, heard, strict=True))
    wrong = list(dict.fromkeys((said, written) for said, written in pairs if said != written))
    parts = (wrong[start : start + PAIRS_AT_A_TIME] for start in range(0, len(wrong), PAIRS_AT_A_TIME))
    edited = {pair: n for part in parts for pair, n in zip(part, _n_edits(part), strict=True)}
    edits = np.array([edited.get(pair, _NO_EDITS) for pair in pairs])
    counts = {f"n_{kind}": edits[:, i] for i, kind in enumerate(("sub", "del", "ins"))}
    n_words = {said: len(words(said)) for said in set(references)}
    return pd.DataFrame({**counts, "n_errors": edits[:, :3].sum(1), "n_words": [n_words[said] for said in references],
                         "n_char_errors": edits[:, 3], "n_chars": [len(said) for said in references]})


def _n_edits(pairs: Sequence[tuple[str, str]]) -> list[tuple[int, ...]]:
    """Align by word and by letter. Returns: substitutions, deletions and insertions of words, and letters in error."""
    references, heard = map(list, zip(*pairs, strict=True))
    aligned = (how(references, heard).alignments for how in (jiwer.process_words, jiwer.process_characters))
    found: list[tuple[int, ...]] = []
    for by_word, by_letter in zip(*aligned, strict=True):
        n = dict.fromkeys(_KINDS, 0)
        for chunk in by_word:
            n[chunk.type] += _length(chunk)
        n_letters = sum(_length(chunk) for chunk in by_letter if chunk.type != "equal")
        found.append((n["substitute"], n["delete"], n["insert"], n_letters))
    return found


def _length(chunk: jiwer.AlignmentChunk) -> int:
    return int(max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx))


def _entities_right(table: pd.DataFrame) -> pd.Series:
    written = table["entity"].fillna("")
    entities = written.map({text: normalize(text) for text in set(written)})
    is_right = [f" {entity} " in f" {text} " for entity, text in zip(entities, table["hypothesis"], strict=True)]
    return pd.Series(is_right, index=table.index, dtype="boolean").mask(entities.eq(""))


def align(reference: str, hypothesis: str) -> list[Edit]:
    """Line the words of two normalized texts up with the fewest errors."""
    return list(_walk(jiwer.process_words([reference], [hypothesis])))[0]


def _walk(output: jiwer.WordOutput) -> Iterator[list[Edit]]:
    for reference, heard, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        found = []
        for chunk in chunks:
            said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            written = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
            for i in range(max(len(said), len(written))):
                found.append(Edit(_KINDS[chunk.type], said[i] if said else "", written[i] if written else "",
                                  chunk.ref_start_idx + (i if said else 0)))
        yield found


def edits(scores: pd.DataFrame) -> pd.DataFrame:
    """List every step of every alignment of a scored set.

    Returns: utterance_id, kind, reference_word, hypothesis_word, position, is_first, is_last (at the first or last
        word of the reference; an insertion is last when it stands behind all of them).
    """
    columns = ["utterance_id", "kind", "reference_word", "hypothesis_word", "position", "is_first", "is_last"]
    if scores.empty:
        return pd.DataFrame(columns=columns)
    aligned = list(_walk(jiwer.process_words(scores["reference"].tolist(), scores["hypothesis"].tolist())))
    steps = [(e.kind, e.reference_word, e.hypothesis_word, e.position) for found in aligned for e in found]
    table = pd.DataFrame(steps, columns=columns[1:5])
    n_edits = [len(found) for found in aligned]
    table.insert(0, "utterance_id", np.repeat(scores["utterance_id"].to_numpy(), n_edits))
    n_words = np.repeat(scores["n_words"].to_numpy(), n_edits)
    table["is_first"] = table["position"].eq(0)
    table["is_last"] = table["position"] == n_words - table["kind"].ne("ins").to_numpy()
    return table


def _count(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    counted = table.groupby(by, as_index=False).size().rename(columns={"size": "n"})
    return counted.sort_values(["n", *by], ascending=[False] + [True] * len(by), ignore_index=True)


def confusions(edits: pd.DataFrame) -> pd.DataFrame:
    """Count which word was heard for which. Returns: reference_word, hypothesis_word, n; the most frequent first."""
    return _count(edits[edits["kind"] == "sub"], ["reference_word", "hypothesis_word"])


def deletions(edits: pd.DataFrame) -> pd.DataFrame:
    """Count the words that were dropped. Returns: reference_word, n, n_first, n_last (at the query's ends)."""
    dropped = edits[edits["kind"] == "del"].groupby("reference_word", as_index=False)
    counted = dropped.agg(n=("is_first", "size"), n_first=("is_first", "sum"), n_last=("is_last", "sum"))
    return counted.sort_values(["n", "reference_word"], ascending=[False, True], ignore_index=True)


def insertions(edits: pd.DataFrame) -> pd.DataFrame:
    """Count the words that nobody said. Returns: hypothesis_word, n; the most frequent first."""
    return _count(edits[edits["kind"] == "ins"], ["hypothesis_word"])


def word_accuracy(edits: pd.DataFrame) -> pd.DataFrame:
    """Tell how often each said word was heard. Returns: reference_word, n, n_right, accuracy; the commonest first."""
    said = edits[edits["kind"] != "ins"]
    counted = _count(said, ["reference_word"])
    right = said[said["kind"] == "equal"].groupby("reference_word").size()
    counted["n_right"] = counted["reference_word"].map(right).fillna(0).astype(int)
    counted["accuracy"] = counted["n_right"] / counted["n"]
    return counted


def pooled_wer(counts: pd.DataFrame | Iterable[EditCounts]) -> float:
    """Divide all errors of a set by all its reference words.

    Returns: fraction, not percent; exceeds 1.0 when insertions dominate.
    Raises: ScoringError when the set holds no reference word.
    Source: jiwer sums counts over the set before dividing; so do we.
    """
    table = counts if isinstance(counts, pd.DataFrame) else pd.DataFrame(
        [(c.n_errors, c.n_words) for c in counts], columns=["n_errors", "n_words"])
    n_words = int(table["n_words"].sum())
    if n_words == 0:
        raise ScoringError(f"no reference word in {len(table)} utterances; WER needs utterances with speech")
    return float(table["n_errors"].sum() / n_words)


def words_answered_to_silence(scores: pd.DataFrame) -> int:
    """Count the words that were heard in recordings without speech."""
    return int(scores.loc[scores["n_words"] == 0, "n_ins"].sum())


def summary(scores: pd.DataFrame, weights: Sequence[float] | np.ndarray | None = None) -> dict[str, Interval]:
    """Give the rates of a scored set with their intervals, by speaker.

    Returns: wer, cer, query_accuracy (utterances with speech word for word right), entity_accuracy where there are
        entities, same_result (share of them that find what the reference finds) where `finds_same` is a column,
        silence_answered (share of recordings without speech that got words) where there are such.
    """
    weigh = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)

    def rate(errors: pd.Series, totals: pd.Series) -> Interval:
        return intervals.rate_interval(errors.to_numpy(float), totals.to_numpy(float), scores.get("speaker"), weigh)

    is_speech, is_exact = scores["n_words"].gt(0), scores["is_exact"]
    rates = {"wer": rate(scores["n_errors"], scores["n_words"]),
             "cer": rate(scores["n_char_errors"], scores["n_chars"]),
             "query_accuracy": rate(is_exact & is_speech, is_speech)}
    if "is_entity_right" in scores and scores["is_entity_right"].notna().any():
        rates["entity_accuracy"] = rate(scores["is_entity_right"].fillna(False), scores["is_entity_right"].notna())
    if "finds_same" in scores:
        rates["same_result"] = rate(scores["finds_same"].astype(bool) & is_speech, is_speech)
    if (~is_speech).any():
        rates["silence_answered"] = rate(~is_speech & ~is_exact, ~is_speech)
    return rates
