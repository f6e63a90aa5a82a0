"""What is the biasing list worth, what does it cost? New names and ordinary queries, 0 to 1,000 names, one model.

    python benchmarks/biasing.py --run default
    python benchmarks/biasing.py --run default --choose     # the rules, chosen on names and people of their own

People of dev say the catalogue's new names, none of which the model has learned, and ordinary queries; the clips are
spoken and heard once, and what the character head heard is kept under `data/cache/biasing`. Wanted: names recognized by
a clear margin more than without the list, and less than half a point of WER lost. The tables go to
reports/benchmarks/biasing.md.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from alarms import week_of_log
from numpy.typing import ArrayLike

from workbench import (
    catalogue,
    demo_world,
    differences,
    engines,
    intervals,
    probes,
    progress,
    scoring,
    storage,
    synthesis,
    terms,
    whisper_model,
)
from workbench.biasing import BONUS, MARGIN, MAX_MISFIT, BiasingList, Rules
from workbench.records import Hypothesis

NEW = tuple(name for group in catalogue.NEW_ENTITIES.values() for name in group)
OTHERS = ("sabrina carpenter", "chappell roan", "kendrick lamar", "beyonce", "rihanna", "radiohead", "shakira",
          "eminem", "stromae", "lana del rey", "maplewood center", "granville dock", "riverside arena", "camden lock",
          "kensington gardens", "falafel", "hummus", "moussaka", "risotto", "quesadilla", "baklava", "paella",
          "kimchi", "jambalaya")
"""Names for choosing rules by; none of them is reported on."""
FIRST = {"valid": "harriet duncan felix ingrid marcus naomi oscar priya quentin rosalind samir tabitha ulrich vanessa "
                  "wilfred yasmin zachary beatrix conrad delphine",
         "dev": "agatha bernard cecilia dominic esther fergus gloria hamish imogen jasper kiran leonora magnus nadine "
                "orlando phoebe rupert sunita tobias winifred"}
LAST = {"valid": "abernathy blackwood carrington donovan ellsworth fairbanks goldstein harrington ibarra jankowski "
                 "kowalski lindqvist mcallister nakamura okafor pemberton quigley rothschild santiago thornbury "
                 "underhill villanueva whitaker yamamoto zimmerman ashworth bellamy chaudhary delacroix esposito",
        "dev": "ackerman bannister calloway devereux escobar fitzgerald gallagher hawthorne ivanova jefferson "
               "kirkpatrick lombardi montgomery novak oconnor petrova quintero rasmussen silverman takahashi ueda "
               "vandermeer wainwright yildiz zapata atkinson beaumont castellano dubois eriksen"}
PLACES = ("plaza", "wharf", "mall", "gardens", "square", "arena", "lodge", "market")
SEEDS = {"valid": 901, "dev": 911}
N_WEEK, TRAFFIC_SEEDS = 1_500, range(1, 11)


def padded_list(names: Sequence[str], size: int, split: str) -> list[str]:
    """Fill a list of names up to a size with people, their surnames, and places called after them, that nobody says."""
    first, last = FIRST[split].split(), LAST[split].split()
    pool = [*last, *(f"{a} {b}" for a in first for b in last), *(f"{b} {kind}" for b in last for kind in PLACES)]
    order = np.random.default_rng(1).permutation(len(pool))
    return [*names, *(pool[i] for i in order[: max(0, size - len(names))])]


# --- what was heard --------------------------------------------------------------------------------------------------


class Listener(engines.FastRecognizer):
    """An engine that keeps the letters of every clip beside its answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, n_threads=1)
        self.letters = dict[int, torch.Tensor]()

    def _with_letters(self, answers: Sequence[Hypothesis], heard: ArrayLike) -> list[Hypothesis]:
        found = super()._with_letters(answers, heard)
        self.letters |= {id(answer): torch.tensor(each) for answer, each in zip(found, np.asarray(heard), strict=True)}
        return found


@dataclass(frozen=True)
class Heard:
    """Clips as a model heard them: what was said, its answers, and the letters [F, 1 + characters] of each."""

    said: pd.DataFrame
    answers: tuple[str, ...]
    letters: tuple[torch.Tensor, ...]
    decode_ms: float

    def biased(self, listed: BiasingList) -> tuple[list[str], float]:
        """Hold all answers against a list. Returns: the answers, and ms a clip."""
        began_s = time.process_time()
        found = [listed.rescored(*pair) for pair in zip(self.letters, self.answers, strict=True)]
        return found, 1e3 * (time.process_time() - began_s) / len(found)


def listen(planned: pd.DataFrame, engine: Path) -> Heard:
    """Speak and hear a plan, once."""
    key = storage.hash_value([storage.hash_table(planned), engines.facts(engine)])[:16]
    path = storage.cache_folder("biasing") / f"{key}.pt"
    if not path.is_file():
        planned = planned.sort_values("noise_id", ignore_index=True)  # each noise recording is made once
        listener = Listener(engine)
        clips = [synthesis.clip(row) for row in progress.track(planned.to_dict("records"), "speaking")]
        began_s = time.process_time()
        found = listener.transcribe(clips)
        decode_ms = 1e3 * (time.process_time() - began_s) / len(found)
        kept = {"said": planned.to_dict("list"), "answers": [h.text for h in found], "decode_ms": decode_ms,
                "letters": [listener.letters[id(h)].half() for h in found]}
        path.parent.mkdir(parents=True, exist_ok=True)
        with storage.replacing(path) as temporary:
            torch.save(kept, temporary)
    kept = torch.load(path, weights_only=False)
    said = pd.DataFrame(kept["said"])
    return Heard(said.assign(reference=said["text"]), tuple(kept["answers"]), tuple(t.float() for t in kept["letters"]),
                 kept["decode_ms"])


def names_and_queries(names: Sequence[str], split: str, engine: Path, n_clips: int, n_queries: int
                      ) -> tuple[Heard, Heard]:
    """Give clips of names, and ordinary queries, by the people of a split."""
    world, seed = demo_world.world(0), SEEDS[split]
    said = pd.concat([probes.plan(name, n_clips=n_clips, seed=seed, split=split) for name in names], ignore_index=True)
    plain = demo_world.plan(world, split=split, n=n_queries, mix=demo_world.USE_SHARES, seed=seed + 1,
                            n_voices=len(world.speakers))
    return listen(said.assign(utterance_id=[f"n{i}" for i in range(len(said))]), engine), listen(plain, engine)


def sounds_of(names: Sequence[str], engine: Path) -> dict[str, str]:
    """Give for each name the piece of production's letters that is most like all others that people said for it.

    Ten third weeks of traffic, by people and in places that are in no split: as when a name is accepted on the page.
    """
    weeks = pd.concat([pd.read_parquet(week_of_log(seed, 3, engine, N_WEEK)) for seed in TRAFFIC_SEEDS])
    weeks = weeks[weeks["is_new_name"]]
    sounds = dict.fromkeys(names, "")
    for name in names:
        said = weeks[weeks["reference"].str.contains(name)]
        pieces = [terms.unexplained(*pair) for pair in said[["heard_letters", "hypothesis"]].to_numpy()]
        pieces = [piece for piece in pieces if piece]
        if pieces:
            sounds[name] = pieces[int(terms.likeness(pieces, pieces).sum(1).argmax())]
    return sounds


# --- what the list does ----------------------------------------------------------------------------------------------


def worth(heard: Heard, listed: BiasingList) -> dict[str, object]:
    """Say how many clips have their name in the answer, before and after, by speaker."""
    after, _ = heard.biased(listed)
    names, speakers = heard.said["name"], heard.said["speaker"]
    before_right, after_right = (probes.has_name(pd.Series(a), names).to_numpy() for a in (heard.answers, after))
    ones = np.ones(len(names))
    found = intervals.rate_interval(after_right.astype(float), ones, speakers)
    lift = differences.paired_difference(~after_right, ~before_right, ones, speakers).difference
    is_whole = np.array([a == b for a, b in zip(after, heard.said["text"], strict=True)])
    is_other = np.array([a != b for a, b in zip(after, heard.answers, strict=True)]) & ~after_right
    return {"clips": len(names), "without": int(before_right.sum()),
            "with": f"{after_right.sum()} = {found.percent(0)}",
            "lift": lift.points(0), "whole query right": f"{100 * is_whole.mean():.0f} %",
            "another name": f"{100 * is_other.mean():.1f} %"}


def cost(heard: Heard, listed: BiasingList) -> dict[str, object]:
    """Say what a list does to queries that have none of its names, by speaker."""
    after, bias_ms = heard.biased(listed)
    found = probes.harm(heard.said.assign(before=heard.answers, after=after))
    scores = scoring.score(heard.said, list(heard.answers))
    return {"queries": found.n_utterances, "answers changed": found.n_changed,
            "in 1,000": round(1e3 * found.n_changed / found.n_utterances, 1), "right ones spoiled": found.n_spoiled,
            "WER without": f"{100 * scores['n_errors'].sum() / scores['n_words'].sum():.2f} %",
            "change": found.wer_difference.points(2), "ms a query": round(bias_ms, 1)}


def report(engine: Path, n_clips: int, n_queries: int) -> dict[str, pd.DataFrame]:
    """Measure names, places and costs at 0, 12, 100 and 1,000 names, with and without how names sound."""
    said, plain = names_and_queries(NEW, "dev", engine, n_clips, n_queries)
    sounds, names, costs = sounds_of(NEW, engine), [], []
    for size in (0, len(NEW), 100, 1_000):
        padded = padded_list(NEW, size, "dev") if size else []
        ways = {"spelling": dict.fromkeys(padded, ""), "spelling and sound": {n: sounds.get(n, "") for n in padded}}
        for way, listed in list(ways.items())[: 2 if size else 1]:
            compiled = BiasingList(listed)
            names.append({"names": size, "by": way, **worth(said, compiled)})
            costs.append({"names": size, "by": way, **cost(plain, compiled)})
    compiled = BiasingList(sounds)
    one_by_one = [{"name": name, "sounds": sounds[name], **worth(_only(said, "name", name), compiled)} for name in NEW]
    places = [{"noise": noise, **worth(_only(said, "noise", noise), compiled)} for noise in demo_world.USE_SHARES]
    print(f"decoding alone takes {plain.decode_ms:.1f} ms a query of processor time")
    return {"Names recognized": pd.DataFrame(names), "Ordinary queries": pd.DataFrame(costs),
            "By name, 12 on the list": pd.DataFrame(one_by_one), "By place, 12 on the list": pd.DataFrame(places)}


def _only(heard: Heard, column: str, value: str) -> Heard:
    picked = np.flatnonzero(heard.said[column].eq(value))
    return Heard(heard.said.iloc[picked].reset_index(drop=True), tuple(heard.answers[i] for i in picked),
                 tuple(heard.letters[i] for i in picked), heard.decode_ms)


def choose(engine: Path, n_clips: int, n_queries: int) -> dict[str, pd.DataFrame]:
    """Try rules around those in force, on other names, people of valid, and other lists."""
    said, plain = names_and_queries(OTHERS, "valid", engine, n_clips, n_queries)
    now, rows = (BONUS, MARGIN, MAX_MISFIT), []
    grid = sorted({now, *((b, MARGIN, MAX_MISFIT) for b in (0.0, 1.0, 1.5, 2.5, 3.0)),
                   *((BONUS, m, MAX_MISFIT) for m in (3.0, 4.0, 8.0, 10.0)),
                   *((BONUS, MARGIN, f) for f in (1.5, 2.0, 3.0, 99.0))})
    for size in (len(OTHERS), 1_000):
        listed = dict.fromkeys(padded_list(OTHERS, size, "valid"), "")
        for rules in grid:
            compiled = BiasingList(listed, Rules(*rules))
            took, lost = worth(said, compiled), cost(plain, compiled)
            rows.append({"names": size, "bonus": rules[0], "margin": rules[1], "misfit": rules[2],
                         "in force": "<-" if rules == now else "", "with": took["with"],
                         **{k: lost[k] for k in ("answers changed", "right ones spoiled", "change")}})
    return {"Rules, on names and people of their own": pd.DataFrame(rows)}


def tables(found: Mapping[str, pd.DataFrame]) -> str:
    """Write tables as text, each under its title."""
    return "\n\n".join(f"{title}\n{table.to_string(index=False)}" for title, table in found.items()) + "\n"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="", help="a checkpoint, a version or a run; else what improve left")
    parser.add_argument("--run", default="default", help="the run whose model is heard")
    parser.add_argument("--clips", type=int, default=60, help="a name")
    parser.add_argument("--queries", type=int, default=3_000, help="ordinary ones")
    parser.add_argument("--choose", action="store_true", help="show how the rules were chosen instead")
    options = parser.parse_args()
    model = whisper_model.find(options.model or str(storage.run_folder(options.run) / "05_improve" / "model.pt"))
    engine = engines.export(model, storage.cache_folder("alarms") / storage.hash_file(model)[:12])
    found = (choose if options.choose else report)(engine, options.clips, options.queries)
    print(tables(found))
    name = "biasing_rules.md" if options.choose else "biasing.md"
    path = storage.write_text(storage.data_folder().parent / "reports" / "benchmarks" / name, tables(found))
    print(f"written: {path}")


if __name__ == "__main__":
    main()
