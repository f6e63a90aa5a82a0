"""Figures and cards say what their tables say: values, order, and the words that a reader sees."""

import base64
import io
import re
import wave
from html import unescape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from workbench import cards, figures, planning
from workbench.gates import Target
from workbench.records import Interval

SLICES = pd.DataFrame({
    "name": ["quiet", "car", "street"], "wer": [0.02, 0.20, 0.06], "wer_low": [0.01, 0.15, 0.03],
    "wer_high": [0.03, 0.25, 0.09], "share": [0.64, 0.16, 0.04], "n_utterances": [300, 120, 60],
})
ARMS = pd.DataFrame({
    "name": ["car", "quiet", "street"], "before": [0.2, 0.02, 0.06], "control": [0.19, 0.02, 0.05],
    "treated": [0.12, 0.05, 0.05], "change": [-0.08, 0.03, -0.01], "change_low": [-0.11, 0.01, -0.03],
    "change_high": [-0.05, 0.05, 0.01], "beyond": [-0.07, 0.03, 0.0], "beyond_low": [-0.1, 0.01, -0.02],
    "beyond_high": [-0.04, 0.05, 0.02],
})


def said(figure: go.Figure) -> str:
    """Give every word a figure shows outside its data."""
    layout = figure.layout
    return " ".join([layout.title.text, layout.title.subtitle.text or "", *(a.text for a in layout.annotations)])


def trace(figure: go.Figure, name: str) -> go.Scatter:
    return next(t for t in figure.data if t.name == name)


def words_of(html: str) -> str:
    """Give the text of a piece of HTML, without its style."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.replace(cards.STYLE, ""))).split())


def test_the_template_leaves_plotlys_own_defaults_alone() -> None:
    assert pio.templates.default != "workbench" and "workbench" not in pio.templates
    assert figures.share_bars({"car": 0.2}, "Use").layout.template.layout.colorway[0] == figures.BLUE


def test_grounds_are_transparent_and_text_is_readable_on_light_and_dark() -> None:
    def contrast(colour: str, ground: str) -> float:
        def light(hexed: str) -> float:
            parts = np.array([int(hexed[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            return float(linear @ [0.2126, 0.7152, 0.0722])

        low, high = sorted([light(colour), light(ground)])
        return (high + 0.05) / (low + 0.05)

    assert figures.TEMPLATE.layout.paper_bgcolor == "rgba(0,0,0,0)"
    colours = (figures.BLUE, figures.TEAL, figures.AMBER, figures.RED, figures.GREY)
    assert min(contrast(colour, ground) for colour in colours for ground in ("#ffffff", "#1a202b")) > 3.3


def test_the_forest_puts_the_worst_slice_on_top_and_sizes_dots_by_share_of_use() -> None:
    figure = figures.slice_forest(SLICES)
    assert figure.layout.yaxis.categoryarray == ("quiet", "street", "car")  # plotly draws the last on top
    dots = figure.data[0]
    assert dict(zip(dots.y, dots.x, strict=True)) == pytest.approx({"quiet": 2, "street": 6, "car": 20})
    size = dict(zip(dots.y, dots.marker.size, strict=True))
    assert size["quiet"] > size["car"] > size["street"]
    assert list(dots.error_x.array) == pytest.approx([1, 3, 5]) == list(dots.error_x.arrayminus)


def test_the_forest_says_met_cannot_tell_or_missed_by_word_colour_and_symbol() -> None:
    figure = figures.slice_forest(SLICES, target=0.05)
    assert {t.name: list(t.y) for t in figure.data} == {"met": ["quiet"], "cannot tell": ["street"], "missed": ["car"]}
    assert len({t.marker.color for t in figure.data}) == len({t.marker.symbol for t in figure.data}) == 3
    assert figure.layout.showlegend and "target ≤ 5 %" in said(figure)
    assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(0, 5)]


def test_one_slice_of_few_utterances_does_not_squeeze_the_others() -> None:
    figure = figures.slice_forest(SLICES.assign(wer_high=[0.03, 1.0, 0.09]))
    assert 20 < figure.layout.xaxis.range[1] < 50


def test_a_slice_without_words_is_left_out_of_the_forest() -> None:
    silent = SLICES.assign(wer=[0.02, np.nan, 0.06])
    assert list(figures.slice_forest(silent).data[0].y) == ["quiet", "street"]


def test_the_heatmap_leaves_small_cells_blank_and_orders_bands_by_number_and_words_by_wer() -> None:
    cells = pd.DataFrame(
        [("quiet", "10-20", 0.02, 50), ("quiet", "5-10", 0.03, 40), ("car", "<0 dB", 0.4, 30), ("car", "10-20", 0.1, 9),
         ("car", ">20", 0.05, 20), ("car", "0-5", 0.2, 25)], columns=["row", "column", "wer", "n_utterances"])
    heat = figures.slice_heatmap(cells).data[0]
    assert heat.x == ("<0 dB", "0-5", "5-10", "10-20", ">20") and heat.y == ("car", "quiet")
    assert heat.text[0][0] == "<b>40 %</b><br>n 30"
    assert heat.text[0][3] == "" and np.isnan(heat.z[0][3])


def test_confusions_show_the_most_frequent_pairs_first() -> None:
    table = pd.DataFrame({"reference_word": ["oslo", "find"], "hypothesis_word": ["also", "fine"], "n": [3, 23]})
    bars = figures.confusion_bars(table, n=12).data[0]
    assert (list(bars.y), list(bars.x), list(bars.text)) == (["find → fine", "oslo → also"], [23, 3], ["23", "3"])
    assert list(figures.confusion_bars(table, n=1).data[0].y) == ["find → fine"]


def test_counts_are_shown_as_shares() -> None:
    bars = figures.share_bars(pd.Series({"quiet": 3, "car": 1}), "By noise").data[0]
    assert list(bars.text) == ["75.0 % (3)", "25.0 % (1)"] and list(bars.x) == [0.75, 0.25]
    assert list(figures.share_bars({"quiet": 0.4}, "Use").data[0].text) == ["40.0 %"]


def test_opportunities_are_points_with_cost_and_those_not_sure_are_hatched() -> None:
    table = pd.DataFrame({"name": ["car", "babble"], "gain": [0.024, 0.002], "gain_low": [0.017, -0.001],
                          "gain_high": [0.031, 0.005], "n_clips": [1400, 0], "advice": ["collect", "look"]})
    figure = figures.opportunity_bars(table)
    assert figure.layout.yaxis.categoryarray == ("car · 1,400 clips", "babble")
    sure, doubt = trace(figure, "a gain"), trace(figure, "cannot tell yet")
    assert list(sure.x) == pytest.approx([2.4]) and list(sure.error_x.array) == pytest.approx([0.7])
    assert list(doubt.y) == ["babble"] and doubt.marker.pattern.shape == "/" and sure.marker.pattern.shape == ""


def test_power_curves_name_each_line_by_its_wer() -> None:
    power = planning.power_table([0.01, 0.05], [0.05, 0.2], design_effect=2, words_per_query=4)
    figure = figures.power_curves(power)
    assert [t.name for t in figure.data] == ["at 5 % WER", "at 20 % WER"]
    assert list(figure.data[0].y) == power.loc[power["wer"] == 0.05, "n_utterances"].tolist()
    assert list(figure.data[0].x) == [1, 5] and figure.data[0].line.dash != figure.data[1].line.dash


def test_a_histogram_counts_each_value_once_and_names_the_median() -> None:
    figure = figures.histogram(pd.Series([1.0, 2.0, 2.0, 9.0, np.nan]), "Duration", "s")
    assert sum(figure.data[0].y) == 4 and "4 utterances, median 2 s" in said(figure)


def test_a_histogram_with_a_reference_compares_shares() -> None:
    figure = figures.histogram(pd.Series([1.0, 2.0]), "SNR", "dB", reference=pd.Series([1.0] * 30 + [5.0] * 10))
    assert sum(trace(figure, "now").y) == pytest.approx(100) == sum(trace(figure, "reference").y)
    assert figure.layout.showlegend


def test_the_learning_curve_names_the_best_step_and_skips_steps_without_a_score() -> None:
    curve = pd.DataFrame({"step": [100, 200, 300], "train_loss": [3.0, 2.0, 1.5], "valid_wer": [np.nan, 0.25, 0.3]})
    figure = figures.learning_curve(curve)
    assert "WER on valid: best 25.0 % at step 200" in said(figure)
    assert list(trace(figure, "valid_wer").y[1:]) == pytest.approx([25, 30])


def test_a_learning_curve_without_scores_shows_the_loss_alone() -> None:
    curve = pd.DataFrame({"step": [1, 2], "train_loss": [3.0, 2.0], "valid_wer": [np.nan, np.nan]})
    assert [t.name for t in figures.learning_curve(curve).data] == ["train_loss"]


def test_splits_show_hours_and_speakers_but_not_their_sum() -> None:
    summary = pd.DataFrame({"split": ["train", "all"], "hours": [2.9, 2.9], "n_speakers": [60, 60]})
    bars = figures.split_bars(summary).data[0]
    assert list(bars.y) == ["train"] and list(bars.text) == ["2.9 h, 60 speakers"]


def test_paired_changes_are_called_better_worse_or_cannot_tell() -> None:
    figure = figures.before_after(ARMS)
    assert list(figure.layout.yaxis.ticktext) == ["car", "quiet", "street"]
    assert list(figure.layout.yaxis2.ticktext) == ["better", "worse", "cannot tell"]
    change = trace(figure, "change")
    assert list(change.x) == pytest.approx([-8, 3, -1]) and len(set(change.marker.symbol)) == 3
    assert list(trace(figure, "treated").x) == pytest.approx([12, 5, 5])
    many = figures.before_after(ARMS.assign(verdict="cannot tell"))  # among many slices an interval alone says too much
    assert set(many.layout.yaxis2.ticktext) == {"cannot tell"}


def test_without_a_control_there_is_none_in_the_picture() -> None:
    figure = figures.before_after(ARMS.drop(columns=[name for name in ARMS if name == "control" or "beyond" in name]))
    assert {line.name for line in figure.data} == {"before", "treated", "change"}


@pytest.mark.parametrize("figure", [
    figures.learning_curve(pd.DataFrame()), figures.slice_forest(SLICES.head(0)), figures.before_after(pd.DataFrame()),
    figures.slice_heatmap(pd.DataFrame(columns=["row", "column", "wer", "n_utterances"])),
    figures.opportunity_bars(pd.DataFrame()),
    figures.confusion_bars(pd.DataFrame(columns=["reference_word", "hypothesis_word", "n"])),
    figures.histogram(pd.Series([np.nan]), "SNR", "dB"), figures.share_bars(pd.Series(dtype=float), "Use"),
    figures.split_bars(pd.DataFrame({"split": [], "hours": [], "n_speakers": []})),
])
def test_missing_data_gets_a_sentence(figure: go.Figure) -> None:
    assert "There is nothing to show yet." in said(figure)


def test_tables_are_not_altered() -> None:
    before = ARMS.copy()
    figures.before_after(ARMS)
    pd.testing.assert_frame_equal(ARMS, before)


@pytest.mark.parametrize(("value", "verdict", "look"), [
    (Interval(0.071, 0.062, 0.081), "missed: target ≤ 6 %", "wb-no"),
    (Interval(0.05, 0.04, 0.059), "met: target ≤ 6 %", "wb-yes"),
    (Interval(0.06, 0.05, 0.07), "cannot tell: target ≤ 6 %", "wb-cannot_tell"),
])
def test_a_tile_says_its_number_its_interval_and_its_verdict(value: Interval, verdict: str, look: str) -> None:
    html = cards.tiles([cards.target_tile("wer", value, Target("wer", "<=", 0.06))])
    number, low, high = (f"{100 * x:.1f}" for x in (value.value, value.low, value.high))
    assert words_of(html) == f"Word error rate {number} % {low} – {high} {verdict}" and f'"wb-badge {look}"' in html


def test_a_tile_without_a_target_has_no_verdict_and_one_without_an_interval_says_why() -> None:
    tile = cards.target_tile("wer", Interval(0.1, float("nan"), float("nan"), "nothing to count"))
    assert words_of(cards.tiles([tile])) == "Word error rate 10.0 % nothing to count"
    assert words_of(cards.tiles([("Clips", "2,310", "41 %", "done", "new")])) == "Clips 2,310 41 % new"


def test_a_tile_says_what_its_interval_does_not_know_and_keeps_the_verdict_of_the_stages() -> None:
    unsure = Interval(0.05, 0.04, 0.059, "one speaker: interval assumes that speakers differ as usual")
    html = cards.tiles([cards.target_tile("wer", unsure, Target("wer", "<=", 0.06))])
    assert words_of(html) == f"Word error rate 5.0 % 4.0 – 5.9; {unsure.note} met: target ≤ 6 %"
    nothing = Interval(float("nan"), float("nan"), float("nan"), "nothing to count")
    html = cards.tiles([cards.target_tile("wer", nothing, Target("wer", "<=", 0.06))])
    assert words_of(html) == "Word error rate – nothing to count cannot tell: target ≤ 6 %"


def test_a_table_writes_percent_points_counts_and_dashes() -> None:
    rows = pd.DataFrame({"name": ["car", None], "wer_low": [0.123, np.nan], "change": [-0.05, 0.01],
                         "n_clips": [1400, 2], "is_good": [True, False], "hours": [2.0, 0.4567]})
    assert words_of(cards.table(rows)) == ("name WER low change clips is good hours car 12.3 % -5.0 pts 1,400 yes 2 "
                                           "– – 1.0 pts 2 no 0.457")
    assert "45.7 %" in words_of(cards.table(rows, {"hours": ".1%"}))
    assert cards.table(rows).count('<td class="wb-number">') == 2 * 4
    assert words_of(cards.table(rows.head(0))) == "Nothing to list."


def test_an_interval_stands_in_the_cell_of_its_value_and_long_words_keep_their_width() -> None:
    rows = pd.DataFrame({"change": [-0.195, 0.01], "change_low": [-0.26, np.nan], "change_high": [-0.13, np.nan],
                         "advice": ["a word", "words enough to need a width of their own"]})
    told = cards.table(rows)
    assert words_of(told) == ("change advice -19.5 pts (-26.0 to -13.0) a word "
                              "1.0 pts words enough to need a width of their own")
    assert told.count('<td class="wb-long">') == 2


def test_fields_write_nested_records_in_words() -> None:
    assert words_of(cards.fields({"use_shares": {"car": 0.2}, "layers": (4, 2), "parent": None})) == (
        "use shares car 0.2 layers 4; 2 parent –")


def test_the_word_difference_strikes_what_was_lost_and_underlines_what_was_heard_instead() -> None:
    assert cards.difference("play songs by adele", "play song by") == (
        "play <del>songs</del> <ins>song</ins> by <del>adele</del>")
    assert cards.difference("", "hello") == "<ins>hello</ins>"
    assert words_of(cards.difference("", "")) == "(nothing said)"


def test_an_utterance_card_can_be_heard_seen_and_read() -> None:
    samples = np.sin(np.arange(8000) / 5).astype(np.float32) / 2
    row = pd.Series({"utterance_id": "u-1", "reference": "find tacos", "speaker": "s017", "noise": "car",
                     "snr_db": 2.31, "accent": np.nan, "gender": "female", "device": None, "duration_s": 0.5})
    html = cards.utterance_card(row, "find talk", samples, 16_000, note="check <this>")
    assert words_of(html) == ("u-1 car · 2.3 dB 1 error in 2 words find tacos talk 0 s 0.5 s "
                              "speaker s017 · female · 0.5 s check <this>")
    sound = re.search(r'src="data:audio/wav;base64,([^"]+)"', html)
    assert sound is not None
    with wave.open(io.BytesIO(base64.b64decode(sound[1]))) as wav:
        assert (wav.getframerate(), wav.getnframes(), wav.getnchannels()) == (16_000, 8000, 1)
    assert 'aria-label="waveform"' in html and "check &lt;this&gt;" in html


def test_an_utterance_card_says_word_for_word_silence_and_leaves_unheard_ones_unjudged() -> None:
    row, samples = {"utterance_id": "u-1", "reference": "find tacos"}, np.zeros(160, np.float32)
    assert "word for word" in cards.utterance_card(row, "find tacos", samples)
    assert "words heard in silence" in cards.utterance_card({**row, "reference": ""}, "hello", samples)
    assert "wb-badge" not in cards.utterance_card(row, None, samples).replace(cards.STYLE, "")


def test_words_from_outside_cannot_become_markup() -> None:
    bad = "<script>"
    row = {"utterance_id": bad, "reference": bad, "noise": bad, "speaker": bad}
    pieces = [cards.headline(bad), cards.note(bad), cards.table(pd.DataFrame({bad: [bad]})), cards.fields({bad: bad}),
              cards.tiles([(bad, bad, bad, "yes", bad)]), cards.utterance_card(row, "a", np.zeros(9, np.float32))]
    assert not any(bad in piece for piece in pieces)


def test_every_piece_brings_its_style_and_follows_light_and_dark() -> None:
    assert cards.headline("Hello").startswith(cards.style()) and "light-dark(" in cards.style()


def test_what_says_that_there_is_nothing_leaves_room_for_its_axes() -> None:
    """plotly fails on a page where margins take all of a figure's height."""
    layout = figures.nothing("Where it fails").layout
    assert layout.height - layout.template.layout.margin.t - layout.margin.b > 20
