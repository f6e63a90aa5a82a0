"""Tables like the query log's, drawn by chance: users with habits of their own, and weeks that shift on purpose."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench import catalogue

N_HABITS = 5


@dataclass(frozen=True)
class Users:
    """What each user brings along: five habits, a phone, and whether the phone is replaced by a narrow one."""

    habits: np.ndarray
    phone: np.ndarray
    replaced: np.ndarray


def users(rng: np.random.Generator, n: int) -> Users:
    return Users(rng.normal(size=(N_HABITS, n)), rng.random(n), rng.random(n))


def queries(rng: np.random.Generator, n: int, per_user: float, *, who: Users | None = None, prefix: str = "u",
            car: float = 0.2, narrow: float = 0.0, unseen: float = 0.02, shift: float = 0.0) -> pd.DataFrame:
    """Draw `n` queries of n / per_user users; `shift` moves SNR and level by so many standard deviations."""
    k = max(1, round(n / per_user))
    who = who or users(rng, k)
    asks = np.arange(n) if per_user == 1 else rng.integers(k, size=n)
    snr, level, duration, confidence, place = (habit[asks] for habit in who.habits)
    is_car = rng.random(n) < np.clip(car + 0.1 * place, 0, 1)
    is_narrow, is_budget = who.replaced[asks] < narrow, who.phone[asks] < 0.25
    return pd.DataFrame({
        "user_hash": [f"{prefix}{i}" for i in asks],
        "snr_db": np.where(is_car, rng.uniform(-5, 10, n), rng.uniform(10, 40, n)) + 2 * snr + 12 * shift,
        "bandwidth_hz": np.where(is_narrow, 3400, np.where(is_budget, 5000, 7000)) + rng.normal(0, 200, n),
        "level_dbfs": -20 + 3 * level + rng.normal(0, 4, n) + 5 * shift,
        "duration_s": np.exp(0.8 + 0.15 * duration + rng.normal(0, 0.25, n)),
        "avg_logprob": -np.exp(-2 + 0.3 * confidence + rng.normal(0, 0.8, n) + is_car + 0.3 * is_narrow),
        "ctc_gap": np.exp(-2 + 0.2 * confidence + rng.normal(0, 0.8, n) + 0.8 * is_car),
        "no_speech_prob": rng.beta(0.3, 8, n),
        "is_empty": (rng.random(n) < 0.03).astype(float),
        "has_unseen": (rng.random(n) < unseen).astype(float),
    })


VOWELS, NEIGHBOURS = "aeiou", {"k": "c", "c": "k", "s": "z", "z": "s", "b": "p", "p": "b", "d": "t", "t": "d", "v": "f"}


def heard(rng: np.random.Generator, said: str, blur: float = 0.1) -> str:
    """Spell a query as a character head hears it: letters go missing, vowels and neighbours change."""
    letters = []
    for letter in said:
        chance = rng.random()
        if letter != " " and chance < blur / 2:
            continue
        if letter in VOWELS and chance < 2 * blur:
            letter = VOWELS[rng.integers(len(VOWELS))]
        letters.append(NEIGHBOURS.get(letter, letter) if chance > 1 - blur / 2 else letter)
    return "".join(letters)


def week(rng: np.random.Generator, n: int, *, number: int = 1, new_share: float = 0.0, who: Users | None = None,
         **shifts: float) -> pd.DataFrame:
    """Draw a week of the log with words: a new name is answered with a known one, and spelled as it is heard."""
    rows = queries(rng, n, 3, who=who, **shifts).drop(columns=["is_empty", "has_unseen"])  # type: ignore[arg-type]
    is_new = rng.random(n) < new_share
    known = catalogue.queries(n, rng)
    new = catalogue.queries(n, rng, {**catalogue.ENTITIES, **catalogue.NEW_ENTITIES}, about=catalogue.NEW_ENTITIES)
    said, hypothesis, blurs = known["text"].where(~is_new, new["text"]), known["text"].tolist(), rng.uniform(0, 0.2, n)
    for i in np.flatnonzero(is_new):
        free = catalogue.ENTITIES[new["entity_type"][i]]
        hypothesis[i] = new["text"][i].replace(new["entity"][i], free[rng.integers(len(free))])
    return rows.assign(
        request_id=[f"w{number}-{i:05d}" for i in range(n)], latency_ms=rng.gamma(4, 15, n), compression_ratio=0.8,
        time_s=604_800.0 * (number - 1) + 60.0 + np.sort(rng.uniform(0, 604_000, n)), role="champion", error="",
        app_version="3.1.0", model_version="1", hypothesis=hypothesis, reference=said, is_new_name=is_new,
        ctc_gap=np.where(is_new, rng.normal(0.8, 0.2, n), rows["ctc_gap"]),
        heard_letters=[heard(rng, text, blur) for text, blur in zip(said, blurs, strict=True)])
