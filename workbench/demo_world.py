"""The demo world as a plan: who speaks, where, on which phone, what they say, then and in later weeks. No sound yet.

Everything follows from seeds. A speaker stays in one split for ever, by salted hash; a noise recording, by its name.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from workbench import catalogue, datasets, storage

ACCENTS = ("en-us", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
"""espeak-ng's Englishes: American, Scottish, Caribbean, Received Pronunciation, Lancastrian, West Midlands."""
FEMALE = (
    "Alicia", "Andrea", "Annie", "anika", "aunty", "belinda", "f1", "f2", "f3", "f4", "f5", "grandma", "linda",
    "shelby", "steph", "steph2", "steph3",
)
MALE = (
    "Alex", "Andy", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Michael", "Mike", "Nguyen", "RicishayMax", "RicishayMax2", "RicishayMax3", "Storm", "Tweaky",
    "adam", "announcer", "antonio", "benjamin", "boris", "croak", "david", "ed", "edward", "edward2", "fast",
    "grandpa", "gustave", "ian", "iven", "iven2", "iven3", "iven4", "john", "kaukovalta", "klatt", "klatt2",
    "klatt3", "klatt4", "klatt5", "klatt6", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max",
    "michel", "miguel", "mike2", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "travis",
    "victor", "zac", "Mr serious",
)
"""espeak-ng's voice variants, without robots, whisperers and Reed, who never says a thing twice alike:
89 of them, in six accents 534 speakers."""
PITCHES = (35, 65)
SPEEDS_WPM = (120, 175)
"""Around espeak's middle pitch of 50 of 99, and up to its usual 175 words a minute: people slow down for a phone."""

SPLITS: Mapping[str, float] = MappingProxyType({"train": .60, "valid": .06, "dev": .12, "gate": .14, "test": .08})
SPLIT_SALT = "demo-world"
"""Changing it moves every speaker to another split: all scores so far would be void."""
MIN_SPEAKERS = 4
"""Even the smallest world has this many speakers a split, or no interval could be given."""

SNR_RANGES_DB: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"quiet": (30, 45), "home": (15, 30), "street": (8, 20), "babble": (8, 20), "car": (-5, 10)})
TRAIN_MIX: Mapping[str, float] = MappingProxyType(
    {"quiet": .75, "home": .10, "street": .05, "babble": .08, "car": .02})
"""Where the first recordings were made: mostly at a desk."""
USE_SHARES: Mapping[str, float] = MappingProxyType(
    {"quiet": .40, "home": .15, "street": .10, "babble": .15, "car": .20})
"""Where people really ask, as scope declares it."""
DEVICE_SHARES: Mapping[str, float] = MappingProxyType({"wideband": .75, "budget": .25})
NO_SPEECH_SHARE = .03
"""Clips on which nobody speaks: pocket calls, or a tap and a change of mind."""
N_RECORDINGS: Mapping[str, int] = MappingProxyType({"train": 30, "valid": 3, "dev": 6, "gate": 6, "test": 5})
"""Noise recordings a place: each split has cars and streets of its own, and a verdict never hangs on one of them."""
MIN_RECORDINGS = 3
"""Even the smallest world has this many recordings a place and split; one takes 0.03 to 0.19 s to make, a
clip's words 0.01."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One person of the demo world, and their phone."""

    speaker: str
    accent: str
    variant: str
    gender: str
    pitch: int
    speed: int
    device: str
    split: str

    @property
    def voice(self) -> str:
        """Name the voice as espeak-ng does."""
        return f"{self.accent}+{self.variant}"


@dataclass(frozen=True, slots=True)
class NoiseRecording:
    """One long recording of a place, to cut pieces from."""

    noise_id: str
    noise: str
    split: str
    noise_seed: int


@dataclass(frozen=True, slots=True)
class World:
    """All that there is: speakers in the order in which they are invited, and noise recordings."""

    seed: int
    speakers: tuple[Speaker, ...]
    recordings: tuple[NoiseRecording, ...]

    def speakers_of(self, split: str, n_voices: int) -> list[Speaker]:
        """Invite a split's share of `n_voices` speakers, at least four; a larger world keeps those of a smaller."""
        return [s for s in self.speakers if s.split == split][:max(MIN_SPEAKERS, round(SPLITS[split] * n_voices))]

    def recordings_of(self, split: str, place: str, n_voices: int) -> list[NoiseRecording]:
        """Go to as many places of a kind as `n_voices` speakers need, at least three; a larger world keeps those."""
        there = [r for r in self.recordings if (r.noise, r.split) == (place, split)]
        return there[:max(MIN_RECORDINGS, round(len(there) * n_voices / len(self.speakers)))]


@lru_cache(maxsize=4)
def world(seed: int) -> World:
    """Make the world of a seed: names and splits are the same in all, pitch, speed, phones and noises are not."""
    rng = np.random.default_rng(seed)
    voices = [(a, v, g) for a in ACCENTS for g, group in (("female", FEMALE), ("male", MALE)) for v in group]
    speakers = {f"s{i:03d}": voice for i, voice in enumerate(voices)}
    splits = datasets.assign_splits(speakers, SPLIT_SALT, SPLITS)
    people = [_speaker(name, *speakers[name], splits[name], rng) for name in sorted(speakers, key=storage.hash_value)]
    recordings = [NoiseRecording(f"{place}-{split}-{i:02d}", place, split, int(rng.integers(2**31)))
                  for split, n in N_RECORDINGS.items() for place in SNR_RANGES_DB for i in range(n)]
    return World(seed, tuple(people), tuple(recordings))


def _speaker(name: str, accent: str, variant: str, gender: str, split: str, rng: np.random.Generator) -> Speaker:
    """Give a voice a pitch, a speed and a phone."""
    pitch, speed = rng.integers(*PITCHES), rng.integers(*SPEEDS_WPM)
    device = rng.choice(list(DEVICE_SHARES), p=list(DEVICE_SHARES.values()))
    return Speaker(name, accent, variant, gender, int(pitch), int(speed), str(device), split)


# --- the plan --------------------------------------------------------------------------------------------------------


def plan(world: World, *, split: str, n: int, mix: Mapping[str, float], seed: int, n_voices: int) -> pd.DataFrame:
    """Plan clips to be spoken: speakers in turn, places by `mix`, queries by chance, three in a hundred silent.

    Returns: a row a clip: utterance_id, text, speaker, split, noise, snr_db, accent, gender, device, intent, entity,
    entity_type, and for rendering voice, pitch, speed, noise_id, noise_seed, seed. A silent clip has empty
    words and no snr_db.
    Raises: ValueError for a split or a place that does not exist.
    """
    if split not in SPLITS or not set(mix) <= set(SNR_RANGES_DB):
        raise ValueError(f"split {split!r}, places {', '.join(mix)}: choose from {', '.join(SPLITS)}; "
                         f"{', '.join(SNR_RANGES_DB)}")
    rng = np.random.default_rng([world.seed, seed, zlib.crc32(split.encode())])
    there = {place: world.recordings_of(split, place, n_voices) for place in mix}
    rows = pd.concat([_who(world.speakers_of(split, n_voices), n, rng), _where(there, n, mix, rng),
                      catalogue.queries(n, rng)], axis=1)
    silent = rng.permutation(n) < round(NO_SPEECH_SHARE * n)
    rows.loc[silent, ["text", "intent", "entity", "entity_type"]] = ""
    rows.loc[silent, "snr_db"] = np.nan
    rows.insert(0, "utterance_id", [f"{split}-{i:05d}" for i in range(n)])
    return rows.assign(split=split, seed=rng.integers(2**31, size=n))


def _who(speakers: Sequence[Speaker], n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Let everybody speak as often as the others, give or take one, in random order."""
    turns = rng.permutation(np.resize(rng.permutation(len(speakers)), n))
    fields = ("speaker", "accent", "gender", "device", "voice", "pitch", "speed")
    return pd.DataFrame([[getattr(speakers[i], name) for name in fields] for i in turns], columns=fields)


def _where(there: Mapping[str, Sequence[NoiseRecording]], n: int, mix: Mapping[str, float],
           rng: np.random.Generator) -> pd.DataFrame:
    """Divide the clips over places by their shares, and give each a recording from there and an SNR in range."""
    edges = np.rint(np.cumsum(list(mix.values())) / sum(mix.values()) * n).astype(int)
    places = rng.permutation(np.repeat(list(mix), np.diff(edges, prepend=0)))
    drawn = [there[place][int(rng.integers(len(there[place])))] for place in places]
    low, high = np.array([SNR_RANGES_DB[place] for place in places]).reshape(-1, 2).T
    return pd.DataFrame({"noise": places, "snr_db": rng.uniform(low, high).round(1),
                         "noise_id": [r.noise_id for r in drawn], "noise_seed": [r.noise_seed for r in drawn]})


# --- production weeks ------------------------------------------------------------------------------------------------

WEEK_S, DAY_S, HOUR_S = 7 * 86_400, 86_400, 3_600
WEEK_ONE_S = 1_767_571_200
"""Monday, 5 January 2026, 00:00 UTC: when the first week begins."""
SHIFT_WEEK = 3
"""From this week on cars double, a narrow phone is about, and new names are asked for."""
QUERIES_A_USER = 2.5
"""Of those who may call in a week; a fifth of them do not, so that those who do call about three times."""
SHARE_COMING_BACK = .8
"""Of a week's users, those who are there in the next."""
CONSENT_SHARE, NARROW_SHARE, NEW_NAME_SHARE = .60, .25, .15
CAR_FACTOR = 2.0
APP_VERSIONS: Mapping[str, float] = MappingProxyType({"3.1.0": .7, "3.0.2": .3})
N_PRODUCTION_RECORDINGS = 40
"""Noise recordings a place; users have their own kitchens and cars, shared by few, and none is in a training set."""
QUERIES_A_RECORDING = 15
"""A week of fewer queries than fill all recordings of a place this often is spoken in fewer, as in a smaller town."""


def production_mix(week: int) -> dict[str, float]:
    """Say where people ask in a week: as scoped, and from the third week on twice as often in cars."""
    car = USE_SHARES["car"] * (CAR_FACTOR if week >= SHIFT_WEEK else 1.0)
    rest = (1 - car) / (1 - USE_SHARES["car"])
    return {place: car if place == "car" else share * rest for place, share in USE_SHARES.items()}


def production(world: World, *, week: int, n: int, seed: int) -> pd.DataFrame:
    """Plan a week of queries that people send from their phones, in the order of time.

    Users are new people with voices of the training split; each speaks, phones and consents in a way of their own.
    Places, silence and names come by chance, as they would: their shares hold in the long run only.
    Returns: a row a query, as `plan` has it, with user (also the speaker), consent, app_version, time_s (UTC seconds),
        week, traffic_seed, is_new_name.
    """
    rng = np.random.default_rng([world.seed, seed, week])
    users = _users(world, week, n, seed)
    callers = rng.choice(len(users), size=n, p=users["activity"] / users["activity"].sum())
    who = users.drop(columns="activity").iloc[callers].reset_index(drop=True)
    rows = pd.concat([who, _where_in_production(world, who["user"], week, rng), _asked(n, week, rng)], axis=1)
    silent = rng.random(n) < NO_SPEECH_SHARE
    rows.loc[silent, ["text", "intent", "entity", "entity_type"]] = ""
    rows.loc[silent, "is_new_name"] = False
    rows.loc[silent, "snr_db"] = np.nan
    rows = rows.assign(time_s=_times(n, week, rng)).sort_values("time_s", ignore_index=True)
    rows.insert(0, "utterance_id", [f"t{seed}-w{week}-{i:05d}" for i in range(n)])
    return rows.assign(week=week, traffic_seed=seed, split="train", seed=rng.integers(2**31, size=n))


def _users(world: World, week: int, n: int, seed: int) -> pd.DataFrame:
    """Give those who may call in a week: a window over an endless row of people, moved on a fifth each week."""
    n_users = max(MIN_SPEAKERS, round(n / QUERIES_A_USER))
    first = round((week - 1) * n_users * (1 - SHARE_COMING_BACK))
    voices = [speaker for speaker in world.speakers if speaker.split == "train"]
    return pd.DataFrame([_user(i, voices, week, np.random.default_rng([world.seed, seed, i, 0]))
                         for i in range(first, first + n_users)])


def _user(number: int, voices: Sequence[Speaker], week: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make one person: always the same, but that a narrow phone is not there before its week."""
    voice, activity = voices[int(rng.integers(len(voices)))], rng.gamma(2.0)
    pitch, speed = int(rng.integers(*PITCHES)), int(rng.integers(*SPEEDS_WPM))
    device, version = (str(rng.choice(list(shares), p=list(shares.values())))
                       for shares in (DEVICE_SHARES, APP_VERSIONS))
    has_consented, is_narrow = rng.random() < CONSENT_SHARE, rng.random() < NARROW_SHARE
    return {"user": f"u{number:04d}", "speaker": f"u{number:04d}", "accent": voice.accent, "gender": voice.gender,
            "device": "narrow" if is_narrow and week >= SHIFT_WEEK else device, "voice": voice.voice, "pitch": pitch,
            "speed": speed, "consent": bool(has_consented), "app_version": version, "activity": activity}


def _where_in_production(world: World, users: pd.Series, week: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a place for each query, the caller's own recording of it, and an SNR in its range."""
    mix = production_mix(week)
    places = rng.choice(list(mix), size=len(users), p=list(mix.values()))
    n_there = min(N_PRODUCTION_RECORDINGS, max(MIN_RECORDINGS, len(users) // QUERIES_A_RECORDING))
    names = [f"{place}-production-{int(user[1:]) % n_there:02d}"
             for place, user in zip(places, users, strict=True)]
    low, high = np.array([SNR_RANGES_DB[place] for place in places]).reshape(-1, 2).T
    return pd.DataFrame({"noise": places, "snr_db": rng.uniform(low, high).round(1), "noise_id": names,
                         "noise_seed": [zlib.crc32(f"{world.seed} {name}".encode()) for name in names]})


def _asked(n: int, week: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what is asked; from the third week on some of it with a name that nobody said before."""
    rows = catalogue.queries(n, rng)
    is_new = pd.Series((rng.random(n) < NEW_NAME_SHARE) & (week >= SHIFT_WEEK))
    renewed = catalogue.queries(n, rng, {**catalogue.ENTITIES, **catalogue.NEW_ENTITIES}, about=catalogue.NEW_ENTITIES)
    return rows.mask(is_new, renewed, axis=0).assign(is_new_name=is_new)


def _times(n: int, week: int, rng: np.random.Generator) -> np.ndarray:
    """Spread queries over the days of a week, from six to midnight, most of them in the afternoon."""
    hours = 6 + 18 * rng.beta(2.5, 2.0, size=n)
    return WEEK_ONE_S + (week - 1) * WEEK_S + rng.integers(7, size=n) * DAY_S + (hours * HOUR_S).round(1)
