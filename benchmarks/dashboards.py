"""How fast the error-analysis page is: first plot cold and preheated, every interaction by size, memory a visitor.

    python benchmarks/dashboards.py [--sizes 1000 10000 100000] [--no-browser]

Answers are drawn from the demo catalogue with mistakes by noise; interactions are timed in the kernel, as its
processor time (it has one thread), so that a busy machine does not count: the median of five. A filter must answer
within 0.3 s. The table goes to reports/benchmarks/dashboards.csv and dashboards.txt; other sizes, and what was measured
without a browser, have a name of their own.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import report

from workbench import answers, audio, catalogue, dashboards, gates, storage
from workbench.marks import Marks
from workbench.records import Decision
from workbench.selections import Mistake, Selection
from workbench.widgets.error_analysis import Page
from workbench.widgets.state import State

REPOSITORY = Path(__file__).parents[1]
SIZES = [1_000, 10_000, 100_000]
LIMIT_MS, N_REPEATS, UTTERANCES_A_SPEAKER = 300, 5, 50
PORT = 8919
IN_CARS = Selection({"noise": ("car",)})
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


def listened(n: int, seed: int = 0) -> pd.DataFrame:
    """Draw what a model might have heard: one word in three wrong in cars, one in twenty elsewhere."""
    rng = np.random.default_rng(seed)
    table, words = catalogue.queries(n, rng), np.array(catalogue.vocabulary())
    table["noise"] = rng.choice(["quiet", "home", "street", "babble", "car"], n, p=[0.4, 0.15, 0.1, 0.15, 0.2])
    heard = []
    for text, is_car in zip(table["text"], table["noise"].eq("car"), strict=True):
        said = np.array(text.split())
        heard.append(" ".join(np.where(rng.random(len(said)) < (0.33 if is_car else 0.05), rng.choice(words), said)))
    ids = [f"dev-{i:06d}" for i in range(n)]
    clip = storage.data_folder() / "clip.wav"
    return table.assign(
        utterance_id=ids, reference=table["text"], hypothesis=heard, split="dev", source="demo", heard_letters="",
        speaker=[f"s{k}" for k in rng.integers(max(20, n // UTTERANCES_A_SPEAKER), size=n)], word_times="",
        accent=rng.choice(["en-us", "en-gb-scotland", "en-029"], n), gender=rng.choice(["female", "male"], n),
        device=rng.choice(["wideband", "budget"], n), snr_db=rng.uniform(-5, 40, n), duration_s=rng.uniform(1, 5, n),
        avg_logprob=-rng.exponential(0.3, n), no_speech_prob=0.0, compression_ratio=1.0, audio_sha=ids,
        audio_path=str(clip), level_dbfs=-20.0)


def leave(n: int, run: str) -> None:
    """Leave a run as stages do: what was promised, and two models' answers."""
    storage.data_folder().mkdir(exist_ok=True)
    audio.write(storage.data_folder() / "clip.wav", np.zeros(48_000, np.float32))
    promises = gates.save_fields(["wer at most 0.10"], "noise", ["quiet 0.4", "home 0.15", "street 0.1", "babble 0.15",
                                                                 "car 0.2"], [], 0.005)
    for stage in ("scope", "train", "improve"):
        opened = storage.open_stage(stage, run)
        if stage == "scope":
            opened.save_json("promises", promises)
        elif stage == "train":
            opened.save_table("listened", listened(n))
        else:
            better = listened(n).assign(arm="treated", is_accepted=True)
            is_mended = np.random.default_rng(1).random(n) < 0.3
            opened.save_table("listened", better.assign(
                hypothesis=better["hypothesis"].where(~is_mended, better["reference"])))
        opened.close(parameters={}, metrics={}, decision=Decision("done", "Done."), versions={"dataset": "synthetic"})


def median_ms(act: Callable[[], Any], back: Callable[[], Any] = lambda: None) -> float:
    """Time an act by the processor; `back` undoes it, untimed."""
    took = []
    for _ in range(N_REPEATS):
        began = time.process_time()
        act()
        took.append(1000 * (time.process_time() - began))
        back()
    return statistics.median(took)


def select(state: State, selection: Selection) -> Callable[[], None]:
    """Prepare what a filter does when it is set."""
    return lambda: setattr(state, "selection", selection)


def filters(state: State) -> dict[str, float]:
    """Time each kind of filter from all that there is, in milliseconds of the kernel, and the way back."""
    top, everything = state.data.mistakes(state.mask).iloc[0], select(state, Selection())
    kinds = {"one noise": IN_CARS, "SNR range": Selection(ranges={"snr_db": (0.0, 10.0)}),
             "search": Selection(search="airport"),
             "a mistake": Selection(mistake=Mistake(top["kind"], top["said"], top["heard"]))}
    took = {f"filter: {name}": median_ms(select(state, kind), everything) for name, kind in kinds.items()}
    took["filter: show all"] = median_ms(everything, select(state, IN_CARS))
    everything()
    return took


def interactions(run: str) -> dict[str, float]:
    """Time what a visitor does, in milliseconds of the kernel."""
    source = answers.latest(run)
    began = time.process_time()
    answers.read(source)
    first = 1000 * (time.process_time() - began)
    began = time.process_time()
    page = Page(answers.sources(run), source)
    took = {"score and align, once a model (done after a run)": first,
            "build the page": 1000 * (time.process_time() - began)}
    state, parts = page.state, page.parts
    took |= filters(state)
    queries, what_if = parts["queries"], parts["what_if"]
    took["sort queries"] = median_ms(lambda: setattr(queries.rows, "sorted_by", "confidence"),
                                     lambda: setattr(queries.rows, "sorted_by", "wer"))
    took["turn the page"] = median_ms(lambda: setattr(queries.rows, "page", 3),
                                      lambda: setattr(queries.rows, "page", 0))
    ids = iter(state.data.scores["utterance_id"])
    took["open a query"] = median_ms(lambda: setattr(state, "current", next(ids)))
    took["what-if: one more word"] = median_ms(lambda: setattr(what_if.words, "picked", ["the"]),
                                               lambda: setattr(what_if.words, "picked", []))
    took["cross other columns"] = median_ms(lambda: setattr(parts["failing"].down, "value", "gender"),
                                            lambda: setattr(parts["failing"].down, "value", "noise"))
    compare = parts["compare"]
    took["compare with another model"] = median_ms(lambda: setattr(compare.baseline, "value", f"{run} · train"),
                                                   lambda: setattr(compare.baseline, "value", "…"))
    compare.baseline.value = f"{run} · train"
    took["filter: one noise, while comparing"] = median_ms(select(state, IN_CARS), select(state, Selection()))
    took["write the CSV"] = median_ms(queries.file)
    return took


@contextmanager
def served(n_warm: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the dashboards' server."""
    words = dashboards.command("127.0.0.1", PORT, needs_token=False, n_warm=n_warm)
    process = subprocess.Popen(words, env=os.environ | dashboards.environment("127.0.0.1", ""),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def first_plot_s(n_warm: int) -> tuple[float, float]:
    """Time a visitor's first plot, from the click on the link. Returns: seconds, and megabytes of the page's kernel."""
    import psutil
    from playwright.sync_api import sync_playwright

    url = f"http://127.0.0.1:{PORT}/voila/render/error_analysis.ipynb"
    with served(n_warm) as process, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        time.sleep(30)  # pools fill in the background, and nothing tells when they are full
        began = time.perf_counter()
        page.goto(url, wait_until="commit", timeout=120_000)
        page.wait_for_selector(".wb-chart [data-drawn]", timeout=120_000)
        took = time.perf_counter() - began
        kernels = [child.memory_info().rss for child in psutil.Process(process.pid).children(recursive=True)]
        browser.close()
    return took, max(kernels) / 2**20


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--no-browser", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notebooks").symlink_to(REPOSITORY / "notebooks")
        os.environ["WORKBENCH_ROOT"] = folder
        columns = {}
        for n in asked.sizes:
            leave(n, f"n{n}")
            columns[f"{n:,}"] = interactions(f"n{n}")
            if not asked.no_browser:
                (cold, _), (warm, memory) = first_plot_s(0), first_plot_s(1)
                columns[f"{n:,}"] |= {"first plot, cold (s)": cold, "first plot, preheated (s)": warm,
                                      "memory a visitor (MB)": memory}
        Marks().close()
    table = pd.DataFrame(columns)
    slow = [name for name in table.index if name.startswith("filter") and (table.loc[name] > LIMIT_MS).any()]
    verdict = f"filters over {LIMIT_MS} ms: {', '.join(slow)}" if slow else f"every filter within {LIMIT_MS} ms"
    report.publish(
        "_".join(["dashboards", *(str(n) for n in asked.sizes if asked.sizes != SIZES), *["pages"] * asked.no_browser]),
        table.rename_axis("what").reset_index(), "milliseconds of the processor unless said otherwise",
        table.map("{:,.1f}".format).to_string(), verdict)


if __name__ == "__main__":
    main()
