"""Clips of production to hear: only those that their users consented to, for whoever may open the page."""

import pandas as pd

from workbench import audio, cards, consented_audio, query_log

MAX_CLIPS = 3


def hear(rows: pd.DataFrame) -> str:
    """Show up to three queries to hear, with what was answered; says so when none may be heard, or none lies here."""
    given = rows[rows["consent"].eq(query_log.CONSENTED) & rows["audio_sha"].ne("")].to_dict("records")
    if not given:
        return cards.note("None of these users lets us listen.")
    here = [row for row in given if consented_audio.clip_path(row["audio_sha"]).is_file()]
    if not here:
        return cards.note("These users let us listen, but not here: their sound stays on the machine whose server "
                          "heard it. Open the dashboards there, unless it was deleted meanwhile.")
    shown = [_card({str(name): value for name, value in row.items()}) for row in here[:MAX_CLIPS]]
    n_more = len(here) - MAX_CLIPS
    return "".join(shown) + (cards.note(f"{n_more} more may be heard.") if n_more > 0 else "")


def _card(row: dict[str, object]) -> str:
    letters = f"letters heard: {row['heard_letters']}" if row.get("heard_letters") else ""
    said = row.get("told") or f"answered: {row['hypothesis'] or '(nothing)'}"
    known = {"utterance_id": str(row["request_id"])[:8], "reference": row["hypothesis"], "snr_db": row.get("snr_db"),
             "device": row.get("device"), "duration_s": row.get("duration_s")}
    samples = audio.read(consented_audio.clip_path(str(row["audio_sha"])))
    return cards.utterance_card(known, None, samples, note=" · ".join(filter(None, [str(said), letters])))
