"""What the error-analysis page opens with, and its static twin: the same findings on a page for mail and archive.

A twin holds no word of production: only ids, which the page behind its token resolves.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from workbench import answers, cards, explorer_figures, figures, mending, opportunities
from workbench.answers import Opened
from workbench.cards import Tile
from workbench.exploring import Explored
from workbench.records import Interval
from workbench.selections import Selection
from workbench.speaker_sums import Mask

PRODUCTION = "production"
N_WORST, N_WORDS, N_FIXES, N_SLICES = 20, 12, 6, 12


def twin(run: str) -> str:
    """Write the body of the static twin: what the page shows of the model that the run accepted last.

    Raises: StageError when no model of the run has listened to dev.
    """
    opened = answers.read(answers.latest(run))
    data, everything = opened.data, opened.data.mask(Selection())
    return "\n".join([
        path_line(opened), cards.headline(opening(opened)), cards.tiles(tiles(opened)),
        _section("Where it fails", "WER by slice, 95 % interval, dot as large as the slice's share of use"),
        *(_plot(figure) for figure in drawn(opened)),
        _section("What to do next", "gains overlap and do not add up"), cards.note(opened.realization.sentence),
        cards.table(_fixes(opened, everything)),
        _section("Words heard wrong", ""), cards.table(_words(data, everything)),
        _section("The worst", "production queries are named by their ids alone"), _worst_queries(data, everything),
    ])


def path_line(opened: Opened) -> str:
    """Say in small what it is about: run, model, split, how many, of whom, weighted how, and when."""
    data, scope = opened.data, opened.scope
    split = "answers of models that left the speaker out" if opened.is_cross_fitted else "dev, open for browsing"
    is_weighted, n_out = data.weights.std() > 0, scope.n_left_out(data.scores)
    left_out = f", without {n_out:,} of no declared {scope.use_column}" if n_out else ""
    parts = [f"run {opened.source.run}", f"model of {opened.source.title.split(' · ')[1]}", split,
             f"{len(data):,} queries", f"{data.n_speakers:,} speakers" if data.has_speakers else "",
             f"weighted to declared use by {scope.use_column}{left_out}" if is_weighted else "all queries count alike",
             f"made {opened.source.finished}"]
    return ('<div class="wb wb-soft wb-path"><b>Error analysis</b> · '
            + " · ".join(escape(part) for part in parts if part) + "</div>")


def opening(opened: Opened) -> str:
    """Give the sentence that the page opens with."""
    everything = opened.data.mask(Selection())
    return mending.sentence(opened.data.summary(everything), opened.data.slices(everything))


def tiles(opened: Opened) -> list[Tile]:
    """Give the numbers: WER, word for word, names or results right; the worst slice, if any is, and the ceiling."""
    data, everything = opened.data, opened.data.mask(Selection())
    found = data.summary(everything)
    shown = [cards.target_tile(name, found[name], opened.scope.target(name))
             for name in ("wer", "query_accuracy", "entity_accuracy") if name in found]
    if "entity_accuracy" not in found and "same_result" in found:
        shown.append(cards.target_tile("same_result", found["same_result"]))
    worst = mending.worst_slice(data.slices(everything))
    return [*shown, _worst_tile(data, worst), *_ceiling(data, worst)] if worst else shown


def _worst_tile(data: Explored, worst: Mapping[str, Any]) -> Tile:
    column, value = str(worst["column"]), str(worst["value"])
    right = data.summary(data.mask(Selection({column: (value,)})))["query_accuracy"]
    wrong = Interval(1 - right.value, 1 - right.high, 1 - right.low, right.note)
    return cards.rate_tile("Worst slice, queries wrong", wrong, "no", mending.label(column, value))


def _ceiling(data: Explored, worst: Mapping[str, Any]) -> list[Tile]:
    """What would be if all queries were like the best slice of the worst one's column."""
    column, is_slice, value = str(worst["best_name"]).partition(" = ")
    if not is_slice:
        return []
    rate = data.rate(data.mask(Selection({column: (value,)})), data.errors, data.words)
    return [cards.rate_tile(f"If all were like {value}, WER", rate, "done", "what-if ceiling")]


def drawn(opened: Opened) -> list[Any]:
    """Draw where it fails: slices with intervals, and two columns crossed."""
    data, everything = opened.data, opened.data.mask(Selection())
    slices, target = data.slices(everything), opened.scope.target("wer")
    ranked = opportunities.rank(slices).sort_values("ceiling", ascending=False).head(N_SLICES)
    names = [mending.label(*pair) for pair in ranked[["column", "value"]].itertuples(index=False, name=None)]
    forest = figures.slice_forest(ranked.assign(name=names), target.value if target else None)
    pair = [name for name in ("noise", "snr_band") if name in data.names] or list(data.names)[:2]
    drawn = [figures.slice_heatmap(data.crossed(everything, *pair[:2]))] if len(pair) > 1 else []
    return [explorer_figures.on_a_card(forest), *drawn]


def _fixes(opened: Opened, everything: Mask) -> pd.DataFrame:
    found = opportunities.rank(opened.data.slices(everything), realization=opened.realization)
    top = found[found["is_actionable"].astype(bool)].head(N_FIXES)
    gains = [Interval(*gain).points() for gain in top[["gain", "gain_low", "gain_high"]].itertuples(index=False)]
    return pd.DataFrame({"fix": top["advice"].tolist(), "expected to win": gains, "n_clips": top["n_clips"].tolist(),
                         "cost_min": top["cost_min"].round().astype(int).tolist()})


def _words(data: Explored, everything: Mask) -> pd.DataFrame:
    """Count mistakes outside production, whose words stay where they were said."""
    is_open = data.scores["source"].ne(PRODUCTION).to_numpy() if "source" in data.scores else everything
    found = data.mistakes(everything & is_open, N_WORDS)
    return found.assign(said=found["said"].where(found["kind"].ne("ins"), "(nothing)"),
                        heard=found["heard"].where(found["kind"].ne("del"), "(lost)"))[["said", "heard", "n"]]


def _worst_queries(data: Explored, everything: Mask) -> str:
    worst = data.scores[everything & (data.errors > 0)].sort_values(["wer", "utterance_id"], ascending=[False, True])
    lines = []
    for row in worst.head(N_WORST).to_dict("records"):
        is_private = row.get("source") == PRODUCTION
        words = '<span class="wb-soft">a query of production</span>' if is_private else cards.difference(
            row["reference"], row["hypothesis"])
        place = " · ".join(str(row[name]) for name in ("noise", "accent") if isinstance(row.get(name), str))
        lines.append(f"<tr><td>{escape(str(row['utterance_id']))}</td><td>{words}</td><td>{escape(place)}</td>"
                     f'<td class="wb-number">{100 * row["wer"]:.0f} %</td></tr>')
    head = '<tr><th>id</th><th>what was said and heard</th><th>slice</th><th class="wb-number">WER</th></tr>'
    table = f'<table class="wb-table"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="wb"><div class="wb-scroll">{table}</div></div>'


def _section(title: str, subtitle: str) -> str:
    return f'<div class="wb"><h2>{escape(title)}</h2><p class="wb-soft">{escape(subtitle)}</p></div>'


def _plot(figure: Any) -> str:
    """Write a figure as stage pages do: `page.js` draws it."""
    content = json.dumps(json.loads(figure.to_json())).replace("</", r"<\/")
    return f'<figure class="plot"><script type="application/json">{content}</script></figure>'
