"""How many wrong references are found, and how many of those listed are wrong? One word of 3 % of them, one model.

    python benchmarks/reference_errors.py --run default --seeds 4

Demo queries of weeks 1 and 2, decoded by the run's model, are spoken again, and its character head weighs answer,
reference and corrupted references; that is cached under `data/cache/reference_errors`. References are then corrupted
many times over. The first seed of traffic is for choosing the threshold of `suspects`; what counts is of the others.
Wanted at WER up to 5 %: at least half of the corrupted are listed, at least half of the listed are corrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from benchmarks import alarms
from tests import corrupting
from workbench import (
    demo_world,
    engines,
    progress,
    recognizers,
    reference_fit,
    scoring,
    settings,
    storage,
    suspects,
    synthesis,
    text,
    whisper_model,
)
from workbench.whisper_model import SpeechModel

CORRUPTED_SHARE, WEEKS = 0.03, (1, 2)
N_VARIANTS, CHUNK = 2, 500
VARIANTS = [f"word {i}" for i in range(N_VARIANTS)]
SETS: dict[str, Callable[[pd.DataFrame], "pd.Series[bool]"]] = {
    "quiet": lambda t: t["noise"].eq("quiet"),
    "quiet and home": lambda t: t["noise"].isin(["quiet", "home"]),
    "all": lambda t: t["noise"].notna(),
}
"""Parts of the traffic; the first two are heard at a WER under 5 %, all of it at about 11 %."""
GRID = (-5.0, 0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
SMALL = 700


def weighed(seed: int, week: int, model: SpeechModel, engine: Path, n: int) -> pd.DataFrame:
    """Weigh a week of queries once: nats by which its answer fits better than the reference, true and corrupted."""
    code = [storage.hash_file(Path(str(m.__file__))) for m in (reference_fit, corrupting)]
    key = storage.hash_value([engines.facts(engine), seed, week, n, N_VARIANTS, code])[:16]
    path = storage.cache_folder("reference_errors") / f"{key}.parquet"
    if path.is_file():
        return pd.read_parquet(path)
    plan = demo_world.production(demo_world.world(0), week=week, n=n, seed=seed).rename(columns={"user": "user_hash"})
    log = pd.read_parquet(alarms.week_of_log(seed, week, engine, n)).set_index("request_id")
    rows = plan[plan["text"].ne("")].sort_values("noise_id", ignore_index=True)
    heard = rows["utterance_id"].map(log["hypothesis"])
    table = pd.DataFrame({"utterance_id": rows["utterance_id"], "speaker": rows["user_hash"], "noise": rows["noise"],
                          "reference": rows["text"].map(text.normalize), "hypothesis": heard.map(text.normalize)})
    table = pd.concat([table, corruptions(table.assign(entity=rows["entity"], entity_type=rows["entity_type"]),
                                          np.random.default_rng([seed, week]))], axis=1)
    names = ["reference", *VARIANTS, "confused"]
    for start in progress.track(range(0, len(rows), CHUNK), f"seed {seed}, week {week}"):
        part = rows.iloc[start : start + CHUNK]
        clips = dict(enumerate(synthesis.clip(row) for row in part.to_dict("records")))
        for members, letters in reference_fit.letters_of(model, clips):
            for row, of_clip in zip((start + i for i in members), letters, strict=True):
                texts = [table.at[row, "hypothesis"], *(table.at[row, name] for name in names)]
                to_answer, *others = reference_fit.fits(of_clip, texts)
                table.loc[row, [f"gap {name}" for name in names]] = [to_answer - fit for fit in others]
    storage.write_table(path, table)
    return table


def corruptions(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give every reference some corrupted forms, of which a set takes at most one."""
    words, alike = corrupting.words_of(table["reference"]), table.groupby("entity_type")["entity"].agg(set)
    columns: dict[str, list[str]] = {}
    for name in VARIANTS:
        made = [corrupting.corrupted(reference, words, rng) for reference in table["reference"]]
        columns |= {name: [m.reference for m in made], f"kind {name}": [m.kind for m in made]}
    others = [corrupting.confused(r.reference, text.normalize(r.entity), alike[r.entity_type], rng)
              for r in table.itertuples()]
    columns["confused"] = ["" if other is None else other.reference for other in others]
    return pd.DataFrame(columns, index=table.index)


def is_listed(table: pd.DataFrame, name: str, threshold: float) -> np.ndarray:
    """Apply the rule of `suspects`: the answer says otherwise, and fits by more than the threshold better."""
    return (table[f"gap {name}"].gt(threshold) & table["hypothesis"].ne(table[name])).to_numpy()


def sample(table: pd.DataFrame, threshold: float, *, n: int, rng: np.random.Generator) -> np.ndarray:
    """Corrupt a share of a set of `n` and list suspects. Returns: n corrupted, of them listed, n listed."""
    rows = rng.choice(len(table), size=min(n, len(table)), replace=False)
    is_wrong = rng.random(len(rows)) < CORRUPTED_SHARE
    found = is_listed(table, "reference", threshold)[rows]
    variants = np.stack([is_listed(table, name, threshold) for name in VARIANTS])
    hit = is_wrong & variants[rng.integers(N_VARIANTS, size=len(rows)), rows]
    return np.array([is_wrong.sum(), hit.sum(), hit.sum() + (~is_wrong & found).sum()])


def measure(table: pd.DataFrame, threshold: float, *, n: int, n_sets: int) -> dict[str, object]:
    """Repeat, and give recall and precision pooled over sets, each with how it spreads from set to set."""
    rng = np.random.default_rng(20)
    counts = np.stack([sample(table, threshold, n=n, rng=rng) for _ in range(n_sets)])
    wrong, hit, listed = counts.T
    recall, precision = hit / np.maximum(wrong, 1), hit / np.maximum(listed, 1)
    return {"nats": threshold, "corrupted": wrong.sum(), "listed": listed.sum(), "both": hit.sum(),
            "recall": hit.sum() / wrong.sum(), "recall_mc": recall.std() / np.sqrt(n_sets),
            "precision": hit.sum() / max(1, listed.sum()), "precision_mc": precision.std() / np.sqrt(n_sets),
            "sets_with_both_half": ((recall >= 0.5) & (precision >= 0.5)).mean()}


def wer_of(table: pd.DataFrame) -> float:
    """Score the answers against what was really said."""
    return scoring.pooled_wer(scoring.score(table, table["hypothesis"].tolist()))


def curve(table: pd.DataFrame, *, n: int, n_sets: int) -> pd.DataFrame:
    """Measure at each threshold."""
    return pd.DataFrame([measure(table, nats, n=n, n_sets=n_sets) for nats in GRID])


def by_kind(table: pd.DataFrame) -> pd.DataFrame:
    """Say which kinds of corruption are listed, at the threshold that `suspects` has."""
    rows = [{"kind": kind, "n": int(of.sum()), "listed": is_listed(table, name, suspects.MIN_REFERENCE_GAP)[of].mean()}
            for name in VARIANTS for kind in corrupting.KINDS for of in [table[f"kind {name}"].eq(kind).to_numpy()]]
    has = table["confused"].ne("").to_numpy()
    confused = {"kind": "another name of its kind", "n": int(has.sum()),
                "listed": is_listed(table, "confused", suspects.MIN_REFERENCE_GAP)[has].mean()}
    return pd.concat([pd.DataFrame(rows).groupby("kind", as_index=False).agg({"n": "sum", "listed": "mean"}),
                      pd.DataFrame([confused])], ignore_index=True)


def main() -> None:
    """Run the benchmark, print the tables, and write them under reports/benchmarks."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", default="default", help="the run whose improved model listens")
    parser.add_argument("--seeds", type=int, default=4, help="seeds of traffic; the first is for the threshold")
    parser.add_argument("--queries", type=int, default=1500, help="a week")
    parser.add_argument("--sets", type=int, default=200, help="sets of 3,000 queries with corrupted references")
    options = parser.parse_args()
    path = whisper_model.find(str(storage.run_folder(options.run) / "05_improve" / "model.pt"))
    engine = engines.export(path, storage.cache_folder("alarms") / storage.hash_file(path)[:12])
    model = recognizers.load(path).model
    found = [pd.concat([weighed(seed, week, model, engine, options.queries) for week in WEEKS], ignore_index=True)
             for seed in range(1, options.seeds + 1)]
    told = tables(found[0], pd.concat(found[1:], ignore_index=True), options.sets)
    print(told)
    storage.write_text(settings.root() / "reports" / "benchmarks" / "reference_errors.txt", told)


def tables(chosen_on: pd.DataFrame, reported: pd.DataFrame, n_sets: int) -> str:
    """Write all tables."""
    parts = []
    for title, part in SETS.items():
        for about, table in (("seed 1, where the threshold was chosen", chosen_on), ("other seeds", reported)):
            of = table[part(table)].reset_index(drop=True)
            parts.append(f"{title}, {about}: {len(of):,} queries at WER {100 * wer_of(of):.1f} %, sets of "
                         f"{min(3000, len(of)):,}, {n_sets} of them, {100 * CORRUPTED_SHARE:g} % corrupted in one word")
            shown = curve(of, n=3000, n_sets=n_sets)
            parts.append(shown.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
        of = reported[part(reported)].reset_index(drop=True)
        parts.append(f"in sets of {SMALL}, as large as the default dev, at the threshold that `suspects` has")
        small = pd.DataFrame([measure(of, suspects.MIN_REFERENCE_GAP, n=SMALL, n_sets=n_sets)])
        parts.append(small.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
        parts.append(by_kind(of).to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
