"""What do eight bits and short context cost? The fast engine's WER against two references on a run's own model.

    workbench run --to train && python benchmarks/fast_accuracy.py --run default

A run comes first that has gone as far as train, or further. All hear its dev clips. `fast` is what serves: CTranslate2,
int8, the context that a clip needs. `float32` is the same context in PyTorch. `padded` is the checkpoint as anyone else
would use it: openai-whisper, float32, every clip padded to thirty seconds. A model that learned with short clips is not
at home there: what `padded` loses is what short context was taught, and not a gain of the engine; the goal is held
against the better of the two. Differences are paired, with speakers as blocks, 95 %. Wanted: the fast engine within
half a point. The tables go to reports/benchmarks/.
"""

import argparse
import time

import numpy as np
import pandas as pd
import report

from workbench import audio, datasets, engines, progress, recognizers, scoring, storage, whisper_model
from workbench.recognizers import Recognizer

FAST, PADDED, FITTED = "fast", "padded", "float32"
GOAL = 0.005
"""Half a point of WER."""
N_AT_A_TIME = 32


def hear(recognizer: Recognizer, clips: pd.DataFrame, name: str) -> tuple[pd.DataFrame, float]:
    """Decode clips. Returns: utterance_id and hypothesis, and milliseconds a clip."""
    began_s, heard = time.monotonic(), list[str]()
    for start in progress.track(range(0, len(clips), N_AT_A_TIME), name):
        some = clips["audio_path"].iloc[start : start + N_AT_A_TIME]
        heard += [answer.text for answer in recognizer.transcribe([audio.read(path) for path in some])]
    table = clips[["utterance_id"]].assign(hypothesis=heard)
    return table, 1e3 * (time.monotonic() - began_s) / len(clips)


def row(name: str, clips: pd.DataFrame, heard: pd.DataFrame, fast: pd.DataFrame, clip_ms: float) -> dict[str, object]:
    """Score a contestant, and the fast engine against it."""
    scores = scoring.score(clips, heard.set_index("utterance_id")["hypothesis"])
    wer = scoring.summary(scores, np.ones(len(scores)))["wer"]
    found = engines.parity(clips, heard, fast)
    return {"contestant": name, "n_clips": len(clips), "wer": wer.percent(2), "ms_a_clip": round(clip_ms, 1),
            "answers that fast changes": found.share_changed.percent(1), "fast adds": found.wer_difference.points(2),
            "within half a point": "" if name == FAST else _verdict(found.wer_difference.low,
                                                                     found.wer_difference.high)}


def _verdict(low: float, high: float) -> str:
    """Say whether a difference is at most half a point worse; better is no miss."""
    return "yes" if high <= GOAL else "no" if low > GOAL else "cannot tell"


def main() -> None:
    """Run the benchmark and publish the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", default="default", help="the run whose dev clips are heard")
    parser.add_argument("--model", default="", help="a checkpoint, a version or a run; else the run's own")
    parser.add_argument("--clips", type=int, default=0, help="how many clips; 0 for all")
    parser.add_argument("--padded-clips", type=int, default=0, help="how many of them are heard padded; 0 for all")
    options = parser.parse_args()
    record = storage.read_record(options.run, "collect")
    assert record is not None, f"run {options.run} has no dataset: workbench run --run {options.run} --to train"
    dev = datasets.load(record.json("dataset")["version"]).dev
    clips = dev.head(options.clips or len(dev)).reset_index(drop=True)
    model = whisper_model.find(options.model or options.run)
    engine = engines.export(model, storage.cache_folder("engines") / storage.hash_file(model)[:16])
    contestants: dict[str, Recognizer] = {FAST: engines.FastRecognizer(engine), FITTED: recognizers.load(model),
                                          PADDED: recognizers.PlainWhisper(model)}
    fast, rows = pd.DataFrame(), []
    for name, recognizer in contestants.items():
        some = clips.head(options.padded_clips or len(clips)) if name == PADDED else clips
        heard, clip_ms = hear(recognizer, some, name)
        fast = heard if name == FAST else fast
        rows.append(row(name, some, heard, fast.head(len(some)), clip_ms))
    table = pd.DataFrame(rows)
    chosen = [str(value).replace("/", "-") for option, value in vars(options).items()
              if value != parser.get_default(option)]
    report.publish("_".join(["fast_accuracy", *chosen]), table,
                   f"{options.model or options.run} on the {len(clips)} clips of {options.run}; wanted: fast adds at "
                   f"most {100 * GOAL:g} points to the better reference", table.to_string(index=False))


if __name__ == "__main__":
    main()
