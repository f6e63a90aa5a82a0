"""Utterances to look at again: references that may be wrong, and answers that may not be in the sound."""

import pandas as pd

from workbench import scoring

MIN_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6
MAX_COMPRESSION = 2.4
"""Source: whisper.transcribe's own thresholds; short hallucinations pass the last (FAQ phrases compress to 0.7)."""

SURE_LOGPROB = -0.25
"""A model is sure when its tokens have 78 % on (geometric) average: exp(-0.25)."""


def suspected_references(listened: pd.DataFrame) -> pd.DataFrame:
    """List references that a sure model and the letters it hears both contradict, the clearest first.

    `listened` holds reference, hypothesis, avg_logprob, heard_letters a row.
    Returns: utterance_id, reference, hypothesis, heard_letters, and `nearer`: by how many letters, a letter of the
        reference, what is heard is nearer to the answer than to the reference.
    """
    is_contradicted = (listened["avg_logprob"].gt(SURE_LOGPROB) & listened["reference"].ne("")
                       & listened["hypothesis"].ne(listened["reference"]))
    sure = listened[is_contradicted]
    nearer = (_letters_off(sure, "reference") - _letters_off(sure, "hypothesis")) / sure["reference"].str.len()
    found = sure[["utterance_id", "reference", "hypothesis", "heard_letters"]].assign(nearer=nearer)
    return found[found["nearer"] > 0].sort_values("nearer", ascending=False, ignore_index=True)


def _letters_off(listened: pd.DataFrame, column: str) -> "pd.Series[int]":
    """Count the letters in which what is heard, letter by letter, differs from a text."""
    if listened.empty:
        return pd.Series(0, listened.index)
    spelled = listened.assign(reference=listened["heard_letters"], entity=None)
    return scoring.score(spelled, listened[column].tolist())["n_char_errors"]


def hallucination_flags(listened: pd.DataFrame) -> pd.DataFrame:
    """Flag answers by Whisper's own thresholds, and words where nothing was said.

    Returns: utterance_id and four columns of booleans: unsure, no_speech, repeats, answered_silence.
    """
    has_words = listened["hypothesis"].str.strip().ne("")
    return pd.DataFrame(
        {
            "utterance_id": listened["utterance_id"],
            "unsure": listened["avg_logprob"].lt(MIN_LOGPROB),
            "no_speech": listened["no_speech_prob"].gt(MAX_NO_SPEECH) & has_words,
            "repeats": listened["compression_ratio"].gt(MAX_COMPRESSION),
            "answered_silence": listened["reference"].eq("") & has_words,
        }
    )
