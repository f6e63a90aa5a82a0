import pandas as pd

from workbench import suspects

LISTENED = pd.DataFrame(
    {
        "utterance_id": ["right", "wrong_reference", "unsure", "silence"],
        "speaker": ["a", "b", "c", "d"],
        "reference": ["play adele", "songs by queen", "weather in oslo", ""],
        "hypothesis": ["play adele", "songs by prince", "weather in cairo", "yes"],
        "heard_letters": ["play adele", "songs by prince", "wether in caro", ""],
        "reference_gap": [0.0, 30.0, 2.0, 40.0],
        "avg_logprob": [-0.05, -0.1, -1.4, -0.2],
        "no_speech_prob": [0.0, 0.0, 0.1, 0.9],
        "compression_ratio": [0.8, 0.8, 3.0, 0.7],
    }
)


def test_a_reference_is_suspected_where_the_head_clearly_sides_with_another_answer() -> None:
    found = suspects.suspected_references(LISTENED)
    assert found["utterance_id"].tolist() == ["wrong_reference"] and found["reference_gap"].iloc[0] == 30


def test_the_clearest_comes_first_and_a_gap_below_the_threshold_is_none() -> None:
    gaps = [suspects.MIN_REFERENCE_GAP + 0.1, 30.0, suspects.MIN_REFERENCE_GAP - 0.1, 0.0]
    found = suspects.suspected_references(LISTENED.assign(reference_gap=gaps))
    assert found["utterance_id"].tolist() == ["wrong_reference", "right"]


def test_nobody_is_suspected_where_no_head_has_listened() -> None:
    assert suspects.suspected_references(LISTENED.drop(columns="reference_gap")).empty
    assert suspects.suspected_references(LISTENED.assign(reference_gap=float("nan"))).empty


def test_answers_are_flagged_by_whispers_own_thresholds() -> None:
    flags = suspects.hallucination_flags(LISTENED).set_index("utterance_id")
    assert flags["unsure"].tolist() == [False, False, True, False]
    assert flags["repeats"].tolist() == [False, False, True, False]
    assert flags["no_speech"].tolist() == [False, False, False, True]
    assert flags["answered_silence"].tolist() == [False, False, False, True]
