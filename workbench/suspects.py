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
    spelled = listened.assign(reference=listened["heard_letters"], entity=None)
    to_answer = scoring.score(spelled, listened["hypothesis"])["n_char_errors"].to_numpy()
    to_reference = scoring.score(spelled, listened["reference"])["n_char_errors"].to_numpy()
    nearer = (to_reference - to_answer) / listened["reference"].str.len().clip(lower=1).to_numpy()
    is_suspect = (
        (nearer > 0) & listened["avg_logprob"].gt(SURE_LOGPROB).to_numpy() & listened["reference"].ne("").to_numpy()
    )
    columns = ["utterance_id", "reference", "hypothesis", "heard_letters"]
    found = listened.loc[is_suspect, columns].assign(nearer=nearer[is_suspect])
    return found.sort_values("nearer", ascending=False, ignore_index=True)


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
