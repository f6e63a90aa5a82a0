"""The plan of the demo world: splits that never move, shares that hold, nothing shared between splits."""

import pandas as pd
import pytest

from workbench import catalogue, demo_world, settings
from workbench.demo_world import SNR_RANGES_DB, SPLITS, TRAIN_MIX, USE_SHARES, plan, production, world


def planned(split: str = "dev", n: int = 700, seed: int = 0, n_voices: int = 534) -> pd.DataFrame:
    mix = TRAIN_MIX if split == "train" else USE_SHARES
    return plan(world(0), split=split, n=n, mix=mix, seed=seed, n_voices=n_voices)


def test_there_are_534_voices_and_none_comes_twice() -> None:
    assert len({s.voice for s in world(0).speakers}) == len({s.speaker for s in world(0).speakers}) == 534


def test_a_speaker_has_the_same_split_in_every_world() -> None:
    assert {s.speaker: s.split for s in world(0).speakers} == {s.speaker: s.split for s in world(7).speakers}


def test_the_splits_have_about_their_share_of_the_speakers() -> None:
    shares = pd.Series([s.split for s in world(0).speakers]).value_counts(normalize=True)
    for split, share in SPLITS.items():
        assert shares[split] == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("split", list(SPLITS))
def test_even_the_toy_world_has_four_speakers_a_split_and_a_larger_one_keeps_them(split: str) -> None:
    toy = world(0).speakers_of(split, settings.amounts("toy").n_voices)
    assert len(toy) >= 4
    assert toy == world(0).speakers_of(split, 534)[:len(toy)]


def test_the_same_seed_plans_the_same_and_another_does_not() -> None:
    pd.testing.assert_frame_equal(planned(), planned())
    assert not planned()["text"].equals(planned(seed=1)["text"])


def test_no_speaker_and_no_noise_recording_is_in_two_splits() -> None:
    everything = pd.concat([planned(split, 400) for split in SPLITS])
    for column in ("speaker", "noise_id", "noise_seed"):
        assert (everything.groupby(column)["split"].nunique() == 1).all()


def test_places_come_in_exactly_their_shares() -> None:
    assert planned()["noise"].value_counts().to_dict() == {place: share * 700 for place, share in USE_SHARES.items()}


def test_the_first_recordings_are_mostly_quiet_and_hardly_ever_in_cars() -> None:
    share = planned("train", 4_000)["noise"].value_counts(normalize=True)
    assert share["quiet"] == 0.75 and share["car"] == 0.02


def test_every_snr_lies_in_the_range_of_its_place() -> None:
    for place, group in planned().dropna(subset="snr_db").groupby("noise"):
        low, high = SNR_RANGES_DB[str(place)]
        assert group["snr_db"].between(low, high).all()


def test_three_in_a_hundred_clips_hold_no_words() -> None:
    silent = planned()[planned()["text"] == ""]
    assert len(silent) == 21
    assert silent["snr_db"].isna().all() and (silent[["intent", "entity", "entity_type"]] == "").all(axis=None)


def test_everybody_speaks_equally_often_and_on_one_phone() -> None:
    clips = planned().groupby("speaker")
    assert clips.size().max() - clips.size().min() <= 1 and clips.size().max() <= 12
    assert (clips["device"].nunique() == 1).all()


def test_all_slices_have_members_at_the_default_size() -> None:
    for column, least in {"accent": 40, "gender": 80, "device": 80, "intent": 20, "noise": 60}.items():
        counts = planned().query("text != ''")[column].value_counts()
        assert counts.min() >= least, counts


def test_a_wrong_split_or_place_names_the_right_ones() -> None:
    with pytest.raises(ValueError, match="choose from train, valid, dev, gate, test"):
        plan(world(0), split="eval", n=1, mix=USE_SHARES, seed=0, n_voices=60)
    with pytest.raises(ValueError, match="quiet, home, street, babble, car"):
        plan(world(0), split="dev", n=1, mix={"moon": 1.0}, seed=0, n_voices=60)


def test_no_clip_is_an_empty_plan() -> None:
    assert planned(n=0).empty and "voice" in planned(n=0)


def test_every_split_has_noise_recordings_of_every_place() -> None:
    there = {(r.noise, r.split) for r in world(0).recordings}
    assert there == {(place, split) for place in demo_world.SNR_RANGES_DB for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_a_small_world_goes_to_three_places_of_a_kind_and_the_whole_world_to_all(split: str) -> None:
    few, all_of_them = (world(0).recordings_of(split, "car", n) for n in (settings.amounts("toy").n_voices, 534))
    assert len(few) == 3 and few == all_of_them[:3]
    assert len(all_of_them) == demo_world.N_RECORDINGS[split]


# --- production weeks ------------------------------------------------------------------------------------------------

NEW_WORDS = {word for names in catalogue.NEW_ENTITIES.values() for name in names for word in name.split()}


@pytest.fixture(scope="module")
def weeks() -> dict[int, pd.DataFrame]:
    return {week: production(world(0), week=week, n=2_000, seed=5) for week in (1, 2, 3)}


def test_a_week_is_the_same_for_its_seed_and_another_for_another(weeks: dict[int, pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(weeks[3], production(world(0), week=3, n=2_000, seed=5))
    assert not weeks[3]["text"].equals(production(world(0), week=3, n=2_000, seed=6)["text"])


def test_queries_lie_in_their_week_in_order_and_under_ids_of_their_own(weeks: dict[int, pd.DataFrame]) -> None:
    for number, week in weeks.items():
        start = demo_world.WEEK_ONE_S + (number - 1) * demo_world.WEEK_S
        assert week["time_s"].between(start, start + demo_world.WEEK_S).all() and week["time_s"].is_monotonic_increasing
        assert week["time_s"].sub(start).floordiv(demo_world.DAY_S).nunique() == 7
    assert pd.concat(weeks.values())["utterance_id"].is_unique


def test_users_call_about_three_times_and_most_come_back(weeks: dict[int, pd.DataFrame]) -> None:
    callers = {number: set(week["user"]) for number, week in weeks.items()}
    assert 2_000 / 3.5 < len(callers[1]) < 2_000 / 2.7
    assert .5 < len(callers[1] & callers[2]) / len(callers[2]) < .8
    assert callers[3] - callers[2] - callers[1]


def test_a_user_keeps_voice_and_consent_and_in_quiet_weeks_the_phone(weeks: dict[int, pd.DataFrame]) -> None:
    everybody = pd.concat(weeks.values()).groupby("user")
    for column in ("voice", "pitch", "speed", "consent", "app_version", "accent"):
        assert everybody[column].nunique().max() == 1
    assert pd.concat([weeks[1], weeks[2]]).groupby("user")["device"].nunique().max() == 1
    assert weeks[1].drop_duplicates("user")["consent"].mean() == pytest.approx(.6, abs=.06)


def test_quiet_weeks_are_as_scoped_and_the_third_is_not(weeks: dict[int, pd.DataFrame]) -> None:
    for quiet in (weeks[1], weeks[2]):
        assert quiet["noise"].value_counts(normalize=True).to_dict() == pytest.approx(dict(USE_SHARES), abs=.03)
        assert set(quiet["device"]) == set(demo_world.DEVICE_SHARES)
        assert not NEW_WORDS & {word for text in quiet["text"] for word in text.split()}
    third = weeks[3]
    assert (third["noise"] == "car").mean() == pytest.approx(.4, abs=.03)
    assert (third.drop_duplicates("user")["device"] == "narrow").mean() == pytest.approx(.25, abs=.06)
    assert third["is_new_name"].mean() == pytest.approx(.15, abs=.03)


def test_exactly_the_queries_with_a_new_name_say_so(weeks: dict[int, pd.DataFrame]) -> None:
    said = weeks[3]["text"].map(lambda text: bool(NEW_WORDS & set(text.split())))
    assert said.equals(weeks[3]["is_new_name"].astype(bool))
    assert set(weeks[3].loc[said, "entity"]) == {name for names in catalogue.NEW_ENTITIES.values() for name in names}


def test_production_speaks_with_training_voices_in_places_of_its_own(weeks: dict[int, pd.DataFrame]) -> None:
    known = {s.voice for s in world(0).speakers if s.split == "train"}
    assert set(weeks[3]["voice"]) <= known
    assert not set(weeks[3]["noise_seed"]) & {recording.noise_seed for recording in world(0).recordings}


def test_in_production_too_some_clips_hold_no_words(weeks: dict[int, pd.DataFrame]) -> None:
    silent = weeks[3][weeks[3]["text"] == ""]
    assert len(silent) / 2_000 == pytest.approx(.03, abs=.015)
    assert silent["snr_db"].isna().all() and not silent["is_new_name"].any()
