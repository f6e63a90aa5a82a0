"""How good is quality without labels? Twenty seeds of the demo world's traffic, one model, held against the truth.

    python benchmarks/quality.py --run default --seeds 20

Weeks come from `benchmarks/alarms.py` and its cache. Wanted: in weeks 1 and 2 the expected WER within two points of
what all words written down show, its 90 % intervals covering at least 90 %; week 3 called extrapolating, and with 400
audited queries of consenting users within two points in at least 90 % of weeks, covering at least 85 %. And what is
chosen to be written down should hold more errors a minute of work than what is drawn by chance.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy comes

import alarms
import numpy as np
import pandas as pd

from workbench import (
    audio,
    auditing,
    bases,
    datasets,
    degrade,
    demo_world,
    engines,
    expected_wer,
    intervals,
    labelling,
    monitoring,
    query_log,
    recognizers,
    scoring,
    settings,
    storage,
    synthesis,
    terms,
    whisper_model,
)
from workbench.monitoring import Basis
from workbench.records import Interval

LEVEL, NEAR = 0.90, 0.02
N_AUDIT, N_DRAWS = 400, 20
N_LABELS, N_REPLAYED, N_REPLAYS = 150, 400, 5
TAUGHT_SEED = 1
"""The traffic of a run itself, which the challenger has learned from."""
WINDOWS, AUDITS = (150, 300, 750, 1_500), (50, 100, 200, 400)


def basis_of(model: Path, engine: Path, run: str) -> Basis:
    """Make the basis as deploy does, copies and all; what the engine heard is kept."""
    record = storage.read_record(run, "improve") or storage.read_record(run, "collect")
    assert record is not None, f"run {run} has no dataset: workbench run --to collect"
    speech = datasets.load(record.json("dataset")["version"])
    open_speech, code = bases.open_data(speech), [storage.hash_file(Path(str(m.__file__))) for m in (degrade, audio)]
    key = storage.hash_value([storage.hash_file(model), speech.version, code])[:16]
    heard, worse = (storage.cache_folder("quality") / f"{key}-{name}.parquet" for name in ("heard", "worse"))
    if not worse.is_file():
        recognizer = engines.FastRecognizer(engine, n_threads=1)
        storage.write_table(heard, recognizers.decode(recognizer, open_speech))
        storage.write_table(worse, bases.worsened(open_speech, recognizer.transcribe, seed=0))
    return bases.measure(open_speech, pd.read_parquet(heard), weights=np.ones(len(open_speech)),
                         known=terms.phrases(speech.train["text"]), worse=pd.read_parquet(worse))


def weeks_of(seed: int, engine: Path, n: int) -> pd.DataFrame:
    """Give a seed's three weeks as the log has them, with what was said, how wrong answers were, and who consented."""
    parts = [pd.read_parquet(alarms.week_of_log(seed, week, engine, n)).assign(week=week) for week in alarms.WEEKS]
    rows = pd.concat(parts, ignore_index=True)
    plans = [demo_world.production(demo_world.world(0), week=week, n=n, seed=seed) for week in alarms.WEEKS]
    consent = pd.concat(plans).set_index("utterance_id")["consent"]
    said = rows.assign(text=rows["reference"], utterance_id=rows["request_id"])
    return scoring.score(said, rows["hypothesis"].tolist()).assign(
        has_consented=rows["request_id"].map(consent).astype(bool), block=rows["user_hash"], latency_ms=np.nan)


def judge(rows: pd.DataFrame, basis: Basis, seed: int) -> list[dict[str, object]]:
    """Watch three weeks as the product does, 400 queries of each audited, and hold what it says against the truth."""
    asked = pd.concat([draw(part, N_AUDIT, [seed, int(week)]) for week, part in rows.groupby("week")])
    labels = asked[["request_id", "reference"]].assign(kind="audit", labeller="demo")
    report = monitoring.watch(rows.drop(columns=["reference", "n_errors", "n_words", "week", "block"]), basis,
                              labels=labels, rules=monitoring.Rules(max_latency_ms=np.inf),
                              start_s=demo_world.WEEK_ONE_S)
    alarmed = report.alarms.loc[report.alarms["rule"].eq(monitoring.DISAGREES), "window"]
    found = []
    for (week, part), row in zip(rows.groupby("week"), report.windows.to_dict("records"), strict=True):
        audit = asked[asked["week"].eq(week)]
        told = {"expected": expected_wer.expect(part, basis.calibration, level=LEVEL),
                "accuracy": expected_wer.expect_accuracy(part, basis.calibration, level=LEVEL),
                "combined": auditing.combine(part, audit, basis.calibration, level=LEVEL),
                "audit alone": audit_alone(audit)}
        for name, interval in told.items():
            found.append({"seed": seed, "week": week, "of": name, **held(interval, part, name),
                          "extrapolating": row["extrapolating"], "is_disagreeing": week in set(alarmed)})
    return found


def draw(rows: pd.DataFrame, n: int, seed: list[int]) -> pd.DataFrame:
    """Audit queries of those who consent, drawn by chance."""
    return rows[rows["has_consented"]].sample(n, random_state=np.random.default_rng(seed))


def audit_alone(audit: pd.DataFrame) -> Interval:
    """Do without an expectation, at the same level."""
    return intervals.rate_interval(audit["n_errors"], audit["n_words"], audit["block"], level=LEVEL)


def held(found: Interval, rows: pd.DataFrame, name: str = "") -> dict[str, float]:
    """Hold an estimate against what writing all down shows, in points."""
    truth = rows["n_errors"].eq(0).mean() if name == "accuracy" else rows["n_errors"].sum() / rows["n_words"].sum()
    return {"truth": 100 * truth, "off": 100 * (found.value - truth), "half": 50 * (found.high - found.low),
            "near": abs(found.value - truth) <= NEAR, "covers": found.low <= truth <= found.high}


def summed(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Count how often estimates were near and covered the truth; `se` is the Monte-Carlo error of `covers`."""
    table = found.groupby(by, sort=False).agg(n=("off", "size"), truth=("truth", "mean"), bias=("off", "mean"),
                                              off_sd=("off", "std"), half=("half", "mean"), near=("near", "mean"),
                                              covers=("covers", "mean")).reset_index()
    return table.assign(se=100 * np.sqrt(table["covers"] * (1 - table["covers"]) / table["n"]),
                        near=100 * table["near"], covers=100 * table["covers"])


def curves(weeks: list[pd.DataFrame], basis: Basis) -> pd.DataFrame:
    """Say what fewer queries and fewer audited ones give: quiet weeks without labels, week 3 with them."""
    found: list[dict[str, object]] = []
    for seed, rows in enumerate(weeks):
        for (week, part), number in [(pair, number) for pair in rows.groupby("week") for number in range(N_DRAWS)]:
            if week < demo_world.SHIFT_WEEK:
                some = of_users(part, WINDOWS[number % len(WINDOWS)], number)
                found.append({"of": f"weeks 1-2, no labels, {WINDOWS[number % len(WINDOWS)]:,} queries",
                              **held(expected_wer.expect(some, basis.calibration, level=LEVEL), some)})
                continue
            audit = draw(part, AUDITS[number % len(AUDITS)], [seed, number])
            for name, interval in (("with expectation", auditing.combine(part, audit, basis.calibration, level=LEVEL)),
                                   ("alone", audit_alone(audit))):
                found.append({"of": f"week 3, {len(audit)} audited, {name}", **held(interval, part)})
    return summed(pd.DataFrame(found), ["of"]).sort_values("of")


def of_users(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Take all queries of users drawn by chance until there are about n."""
    users = rows["block"].drop_duplicates().sample(frac=1, random_state=seed)
    rank = rows["block"].map(dict(zip(users, range(len(users)), strict=True)))
    return rows.assign(rank=rank).sort_values("rank", kind="stable").head(n)


# --- what to label ----------------------------------------------------------------------------------------------------


def worth(rows: pd.DataFrame, basis: Basis, seed: int, beside: dict[str, str]) -> pd.DataFrame:
    """Choose and draw as many queries of a week, and give each one's reason, minutes and errors."""
    log = rows.assign(consent=np.where(rows["has_consented"], query_log.CONSENTED, ""), audio_sha=rows["request_id"])
    asked = labelling.choose(log, calibration=basis.calibration, n_audit=N_LABELS, n_chosen=N_LABELS, seed=seed,
                             challenger=beside)
    found = asked.merge(rows.assign(minutes=labelling.minutes(rows)), on="request_id")
    return found[["week", "reason", "minutes", "n_errors"]].assign(is_wrong=found["n_errors"].gt(0))


def replayed(seed: int, challenger: Path, n: int) -> dict[str, str]:
    """Let another model hear a part of a seed's third week, once. Returns: its answers by request_id."""
    plan = demo_world.production(demo_world.world(0), week=demo_world.SHIFT_WEEK, n=n, seed=seed)
    plan = plan[plan["consent"]].sample(N_REPLAYED, random_state=np.random.default_rng(seed))
    key = storage.hash_value([storage.hash_table(plan), engines.facts(challenger)])[:16]
    path = storage.cache_folder("quality") / f"{key}-replayed.parquet"
    if not path.is_file():
        clips = [synthesis.clip(row) for row in plan.sort_values("noise_id").to_dict("records")]
        answers = alarms.recognizer(challenger).transcribe(clips)
        storage.write_table(path, pd.DataFrame({"request_id": plan.sort_values("noise_id")["utterance_id"].to_numpy(),
                                                "hypothesis": [answer.text for answer in answers]}))
    return dict(pd.read_parquet(path).itertuples(index=False))


def by_reason(found: pd.DataFrame) -> pd.DataFrame:
    """Count what each reason brought."""
    table = found.groupby(["of", "reason"], sort=False).agg(n=("minutes", "size"), minutes=("minutes", "sum"),
                                                            errors=("n_errors", "sum"), wrong=("is_wrong", "mean"))
    return table.assign(wrong=100 * table["wrong"], errors_a_minute=table["errors"] / table["minutes"]).reset_index()


def labels(weeks: list[pd.DataFrame], seeds: range, basis: Basis, challenger: Path, n: int) -> pd.DataFrame:
    """Compare what is chosen with what is drawn, in all weeks, and where a challenger has heard some queries too."""
    found = [worth(part, basis, seed, {}).assign(of=f"week {week}")
             for seed, rows in zip(seeds, weeks, strict=True) for week, part in rows.groupby("week")]
    for seed, rows in [pair for pair in zip(seeds, weeks, strict=True) if pair[0] != TAUGHT_SEED][:N_REPLAYS]:
        beside = replayed(seed, challenger, n)
        some = rows[rows["request_id"].isin(set(beside))]
        found.append(worth(some, basis, seed, beside).assign(of="week 3, with a challenger"))
    return by_reason(pd.concat(found))


def main() -> None:
    """Run the benchmark, print what the claim asks for, and keep it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="", help="a checkpoint, a version or a run; else what improve left")
    parser.add_argument("--challenger", default="", help="hears a part of week 3 beside; else the run's latest model")
    parser.add_argument("--run", default="default", help="the run whose dataset the model was trained on")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1, help="101 and on chose the constants, 1 to 20 report")
    parser.add_argument("--queries", type=int, default=settings.amounts("small").n_week, help="a week")
    options = parser.parse_args()
    model = whisper_model.find(options.model or str(storage.run_folder(options.run) / "05_improve" / "model.pt"))
    engine = exported(str(model), options.run)
    basis = basis_of(model, engine, options.run)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    weeks = [weeks_of(seed, engine, options.queries) for seed in seeds]
    found = pd.DataFrame([row for seed, rows in zip(seeds, weeks, strict=True) for row in judge(rows, basis, seed)])
    once = found[found["of"].eq("expected")].assign(says=lambda table: table["extrapolating"].ne(""))
    parts = [f"{len(seeds)} seeds from {options.first_seed}, {options.queries:,} queries a week, {N_AUDIT} audited of "
             "those who consent; points; intervals at 90 %", text(summed(found, ["of", "week"])),
             "share of weeks (%)", text(once.groupby("week")[["says", "is_disagreeing"]].mean().mul(100).reset_index()),
             "curves", text(curves(weeks, basis)), "what is written down",
             text(labels(weeks, seeds, basis, exported(options.challenger, options.run), options.queries))]
    told = "\n\n".join(parts) + "\n"
    print(told)
    storage.write_text(storage.data_folder().parent / "reports" / "benchmarks" / "quality.txt", told)


def exported(model: str, run: str) -> Path:
    """Find the engine of a model, or of a run's latest."""
    checkpoint = whisper_model.find(model or run)
    return engines.export(checkpoint, storage.cache_folder("alarms") / storage.hash_file(checkpoint)[:12])


def text(table: pd.DataFrame) -> str:
    """Write a table for reading."""
    return table.to_string(index=False, float_format=lambda value: f"{value:.2f}")


if __name__ == "__main__":
    main()
