"""New names: what several users say that sounds alike, that no answer explains, and that is said more than before.

Each piece of letters that no answer explains, and each name of the catalogue that the model has not learned, is a
centre: around it lie the pieces that are likelier the same thing than not. With many now and few before it is new.
The constants were chosen on third weeks of seeds 101 to 110 of the demo world's traffic; benchmarks/new_names.py
reports on others.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from workbench import mishearing, terms

ALIKE_FROM = 2.0
"""Two pieces are the same when that is so much likelier than chance (nats)."""
SAME_ANSWER = 2.0
"""Two pieces in whose place the model wrote the same words are so much likelier the same (nats)."""
MEANT_FROM = 1.0
"""A name of the catalogue is meant when a term's pieces speak for it so much (nats a piece)."""
RISE, LEVEL = 2.0, 0.05
"""A centre is new when, were it only RISE times as frequent as before, so many would come with a probability below
LEVEL. Conditions alone may double a kind of noise."""
PRIOR = (0.5, 2_000.0)
"""What is known of a centre before looking: as if it had come half a time in 2,000 queries."""
N_LEARNED = 4_000

COLUMNS = ["request_id", "term", "n_queries", "n_users", "n_reference", "chance", "nearest", "n_typed", "example_ids"]


def chance(n_now: NDArray[np.intp], n_before: NDArray[np.intp], exposures: tuple[float, float]) -> NDArray[np.float64]:
    """Say with what probability so many or more would come now, were it RISE times as frequent as before.

    `exposures` are the queries of now and before.
    Source: gamma-Poisson rates, as for rare events in large tables (DuMouchel 1999, The American Statistician 53).
    """
    shape, rate = PRIOR[0] + n_before, PRIOR[1] + exposures[1]
    return np.asarray(stats.nbinom.sf(n_now - 1, shape, rate / (rate + RISE * exposures[0])))


def new_terms(window: pd.DataFrame, *, reference: pd.DataFrame, known_words: Collection[str],
              catalogue: Sequence[str] = (), typed: pd.DataFrame | None = None, min_users: int = 3,
              min_gap: float | None = None, level: float = LEVEL) -> pd.DataFrame:
    """List what at least `min_users` users said in a window, that sounds alike and was said less in the reference.

    Both tables hold request_id, user_hash, hypothesis, heard_letters, ctc_gap; `known_words` are words and phrases
    (`terms.phrases`), `catalogue` names that may be meant, `typed` those that rise among typed queries
    (`typed_queries.rising`); `min_gap` is the reference's own `gap_limit` unless given. A column `piece` is taken as
    what `terms.pieces` has found.
    Returns: request_id and term (the query whose piece is most like the others, and that piece), n_queries, n_users,
        n_reference, chance (of so many users were it not new), nearest (of the catalogue and what was typed, "" when
        none is near), n_typed (of `nearest`), example_ids (request ids of all its queries); most queries first.
    """
    limit = terms.gap_limit(reference) if min_gap is None else min_gap
    now, before = (rows if "piece" in rows else rows.assign(piece=terms.pieces(rows, known_words, limit))
                   for rows in (window, reference))
    weights = mishearing.learn(_borne_out(reference))
    now, before = (rows[rows["piece"] != ""].pipe(_with_instead) for rows in (now, before))
    risen = pd.DataFrame(columns=["name", "n_typed", "chance"]) if typed is None else typed
    names = sorted(set(catalogue) - set(known_words) - set(risen["name"])) + risen["name"].tolist()
    around, n_before, kept = _centres(now, before, names, weights, min_users)
    typed_chance = np.append(np.ones(len(now) + len(names) - len(risen)), risen["chance"].to_numpy(float))[kept]
    found = _risen(around, n_before, typed_chance, now["user_hash"], (len(window), len(reference)), min_users, level)
    meant, n_typed = sorted({*catalogue, *risen["name"]}), dict(zip(risen["name"], risen["n_typed"], strict=True))
    rows = [_term(now.iloc[members], meant, n_typed, weights) | {"n_reference": n, "chance": p}
            for members, n, p in found]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["n_queries", "n_users"], ascending=False, kind="stable",
                                                           ignore_index=True)


def describe(term: Mapping[str, Any]) -> str:
    """Write a proposal as a sentence; `term` is a row of `new_terms`."""
    heard = f"heard “{term['term']}” {term['n_queries']} times from {term['n_users']} users"
    return heard + (f", perhaps {term['nearest'].title()}" if term["nearest"] else ", like nothing in the catalogue")


def _borne_out(reference: pd.DataFrame) -> list[tuple[str, str]]:
    """Pair answers with the letters heard where these fit better than in most queries: nearly all are right."""
    is_heard = reference["hypothesis"].ne("") & reference["heard_letters"].ne("")
    fits = reference[is_heard & reference["ctc_gap"].le(reference.loc[is_heard, "ctc_gap"].median())]
    return [(said, heard) for said, heard in fits[["hypothesis", "heard_letters"]].to_numpy()[:N_LEARNED]]


def _with_instead(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the words that the model wrote in the place of a piece."""
    return rows.assign(instead=[terms.unheard(heard, answer)
                                for heard, answer in rows[["heard_letters", "hypothesis"]].to_numpy()])


def _centres(now: pd.DataFrame, before: pd.DataFrame, names: Sequence[str], weights: mishearing.Weights,
             min_users: int) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Find the centres that have enough around them now: which pieces, how many before, and which centres they are.

    Shape: [centres, now], [centres], [centres] (numbers: first the pieces, then the names).
    """
    spoken, instead = now["piece"].to_numpy(str), now["instead"].to_numpy(str)
    pieces, named = np.arange(len(now)), np.arange(len(names))

    def around(rows: pd.DataFrame) -> NDArray[np.bool_]:
        heard = rows["piece"].tolist()
        alike = mishearing.evidence(spoken[pieces].tolist(), heard, weights.alike)
        is_same = instead[pieces, None] == rows["instead"].to_numpy(str)
        meant = mishearing.evidence([names[int(i)] for i in named], heard, weights.said)
        return np.concatenate([alike + SAME_ANSWER * is_same, meant]) >= ALIKE_FROM

    found = around(now)
    np.fill_diagonal(found, True)
    kept = np.flatnonzero(found.sum(1) >= min_users)
    pieces, named = kept[kept < len(now)], kept[kept >= len(now)] - len(now)
    return found[kept], around(before).sum(1), kept


def _risen(around: NDArray[np.bool_], n_before: NDArray[np.intp], typed_chance: NDArray[np.float64], users: pd.Series,
           exposures: tuple[float, float], min_users: int, level: float) -> list[tuple[NDArray[np.intp], int, float]]:
    """Take the centre that is surest new, with all that lies around it, then the next of what is left."""
    said = pd.get_dummies(users.where(users.ne(""))).to_numpy(np.float32)
    left, found = around.copy(), []
    while left.any():
        n_users, n_now = (left.astype(np.float32) @ said > 0).sum(1), left.sum(1)
        is_more = (n_users >= min_users) & (n_now * exposures[1] > RISE * n_before * exposures[0])
        p = np.where(is_more, _both(chance(n_users, n_before, exposures), typed_chance), 1.0)
        surest = int(p.argmin())
        if p[surest] > level:
            break
        members = np.flatnonzero(left[surest])
        found.append((members, int(n_before[surest]), float(p[surest])))
        left[:, members] = False
    return found


def _both(heard: NDArray[np.float64], typed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combine what was heard with what was typed, where anything was. Source: Fisher's method, for two tests."""
    product = np.maximum(heard * typed, np.finfo(float).tiny)
    return np.where(typed < 1, product * (1 - np.log(product)), heard)


def _term(group: pd.DataFrame, names: Sequence[str], n_typed: Mapping[str, int], weights: mishearing.Weights
          ) -> dict[str, Any]:
    spoken = group["piece"].tolist()
    middle = int(mishearing.evidence(spoken, spoken, weights.alike).sum(1).argmax())
    meant = mishearing.evidence(names, spoken, weights.said).mean(1) if len(names) else np.zeros(0)
    nearest = names[int(meant.argmax())] if len(meant) and meant.max() >= MEANT_FROM else ""
    return {
        "request_id": group["request_id"].iloc[middle], "term": spoken[middle], "n_queries": len(group),
        "n_users": int(group["user_hash"].replace("", np.nan).nunique()), "nearest": nearest,
        "n_typed": n_typed.get(nearest, 0), "example_ids": group["request_id"].tolist(),
    }
