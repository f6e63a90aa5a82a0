import pandas as pd
import pytest

from workbench import causes


def listened(n: int) -> pd.DataFrame:
    return pd.DataFrame({"utterance_id": [f"u-{i}" for i in range(n)], "audio_sha": [f"a{i}" for i in range(n)],
                         "speaker": [f"s{i % 5}" for i in range(n)]})


def test_causes_are_counted_the_commonest_first_with_intervals() -> None:
    said = pd.DataFrame({"audio_sha": [f"a{i}" for i in range(10)] + ["elsewhere"],
                         "value": ["noise"] * 6 + ["accent"] * 3 + ["other"] + ["homophone"]})
    found = causes.pareto(said, listened(20))
    assert found["cause"].tolist() == ["noise", "accent", "other"] and found["n"].tolist() == [6, 3, 1]
    assert found["share"].tolist() == pytest.approx([.6, .3, .1])
    assert found["share_so_far"].tolist() == pytest.approx([.6, .9, 1.0])
    assert (found["share_low"] < found["share"]).all() and (found["share"] < found["share_high"]).all()
    assert causes.sentence(found).startswith("Of 10 errors that people listened to, the commonest cause is noise: 60 %")


def test_nothing_marked_says_where_marks_are_made() -> None:
    found = causes.pareto(pd.DataFrame({"audio_sha": [], "value": []}, dtype="str"), listened(3))
    assert found.empty and "buttons" in causes.sentence(found)
