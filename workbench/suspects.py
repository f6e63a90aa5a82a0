"""Utterances to look at again: references that may be wrong, and answers that may not be in the sound."""

import pandas as pd

from workbench.repetition import MAX_COMPRESSION

MIN_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6
"""Source: whisper.transcribe's own thresholds; short hallucinations pass the third, MAX_COMPRESSION (FAQ phrases
compress to 0.7)."""

MIN_REFERENCE_GAP = 5.0
"""Nats by which the answer must fit the sound better than the reference, a likelihood ratio of 150. Source: chosen on
one seed of demo traffic in benchmarks/reference_errors.py; what is reported is of other seeds."""


def suspected_references(listened: pd.DataFrame) -> pd.DataFrame:
    """List references that two unlike readers of a model contradict, the clearest first.

    The decoder wrote another answer, and the character head, which spells by sound, finds that it fits much better.
    `listened` holds reference, hypothesis, heard_letters and, of models with such a head, reference_gap (see
    `reference_fit`); nobody is suspected where that is not known.
    Returns: utterance_id, reference, hypothesis, heard_letters, and reference_gap (nats).
    """
    gap = listened.get("reference_gap", pd.Series(float("nan"), index=listened.index))
    is_suspect = gap.gt(MIN_REFERENCE_GAP) & listened["reference"].ne("")
    columns = ["utterance_id", "reference", "hypothesis", "heard_letters"]
    found = listened.loc[is_suspect, columns].assign(reference_gap=gap[is_suspect])
    return found.sort_values("reference_gap", ascending=False, ignore_index=True)


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
