import pandas as pd

from workbench import suspects

LISTENED = pd.DataFrame(
    {
        "utterance_id": ["right", "wrong_reference", "unsure", "silence"],
        "speaker": ["a", "b", "c", "d"],
        "reference": ["play adele", "songs by queen", "weather in oslo", ""],
        "hypothesis": ["play adele", "songs by prince", "weather in cairo", "yes"],
        "heard_letters": ["play adele", "songs by prince", "wether in caro", ""],
        "avg_logprob": [-0.05, -0.1, -1.4, -0.2],
        "no_speech_prob": [0.0, 0.0, 0.1, 0.9],
        "compression_ratio": [0.8, 0.8, 3.0, 0.7],
    }
)


def test_a_reference_that_a_sure_model_and_its_letters_contradict_is_suspected() -> None:
    found = suspects.suspected_references(LISTENED)
    assert found["utterance_id"].tolist() == ["wrong_reference"]
    assert found["nearer"].iloc[0] > 0


def test_answers_are_flagged_by_whispers_own_thresholds() -> None:
    flags = suspects.hallucination_flags(LISTENED).set_index("utterance_id")
    assert flags["unsure"].tolist() == [False, False, True, False]
    assert flags["repeats"].tolist() == [False, False, True, False]
    assert flags["no_speech"].tolist() == [False, False, False, True]
    assert flags["answered_silence"].tolist() == [False, False, False, True]
