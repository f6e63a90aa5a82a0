"""What people said on the pages, with who and when: causes of errors, corrected references, names, labels, alarms.

It is only ever added to; a later word on the same thing counts, and the earlier ones stay. It lies in the query log's
database, so that a team shares it, and forgetting a user takes the marks of what they said along.
"""

import time
from typing import TYPE_CHECKING

import sqlalchemy as sql

from workbench import log_database
from workbench.errors import MarkError
from workbench.log_database import Database, clean, queries
from workbench.log_database import marks as said

if TYPE_CHECKING:
    import pandas as pd  # half a second, which an unchanged run does not need

CAUSES = ("noise", "cut off", "accent", "wrong reference", "new name", "homophone", "other")
KINDS = ("cause", "reference", "name", "name sounds", "name removed", "name learned", "label", "alarm")
OF_RECORDINGS = ("cause", "reference")
SUSPECT, RANDOM = "suspect", "random"
COLUMNS = tuple(str(column.name) for column in said.columns)


class Marks:
    """The marks beside the query log at a URL, or at WORKBENCH_QUERY_LOG_URL, or in `data/queries.db`."""

    def __init__(self, url: str = "") -> None:
        """Point at a database. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self._database = Database(log_database.address(url))

    def add(self, kind: str, value: str, *, utterance_id: str = "", audio_sha: str = "", by: str, run: str = "",
            drawn: str = "", now_s: float | None = None) -> None:
        """Keep one mark; when this returns it is on the disk.

        A reference's value is what the person heard, "" where nobody speaks; `drawn` says why it was listened to, as
        `to_correct` gives it. A cause is one of CAUSES. What an alarm's value is, its page decides; what
        marks of names come to is `name_list`'s.
        Raises: MarkError when nobody's name is with it, or it is about a query whose user did not consent, or left;
            ValueError for a kind or cause that does not exist, or for a cause or reference of no recording.
        """
        if kind not in KINDS or (kind == "cause" and value not in CAUSES):
            raise ValueError(f"{kind} {value!r} cannot be kept; kinds are {', '.join(KINDS)}, causes "
                             f"{', '.join(CAUSES)}")
        if kind in OF_RECORDINGS and not (utterance_id and audio_sha):
            raise ValueError(f"a {kind} needs the utterance_id, by which it can be forgotten, and the audio_sha")
        if not by.strip():
            raise MarkError("nobody's name is with this mark; type yours once at the top of the page, or give --by "
                            "NAME")
        row = {"time_s": time.time() if now_s is None else now_s, "kind": kind, "utterance_id": utterance_id,
               "audio_sha": audio_sha, "value": clean(value.strip()),
               "by": clean(by.strip()), "run": run, "drawn": drawn}
        with self._database.writing() as connection:
            if utterance_id and _is_withheld(connection, utterance_id):
                raise MarkError(f"query {utterance_id} is of somebody who did not consent or asked to be forgotten; "
                                "nothing about it is kept, so go on with the next")
            connection.execute(sql.insert(said), [row])

    def rows(self, *kinds: str) -> list[dict[str, object]]:
        """Give all marks, or those of some kinds, in the order in which they were made; none without a database."""
        if not self._database.is_there:
            return []
        query = sql.select(said).order_by(said.c.mark_id)
        with self._database.reading() as connection:
            found = connection.execute(query.where(said.c.kind.in_(kinds)) if kinds else query)
            return [dict(row) for row in found.mappings()]

    def table(self, kind: str = "") -> "pd.DataFrame":
        """Give all marks, or those of a kind, a row each in the order in which they were made.

        Returns: mark_id, time_s (UTC), kind, utterance_id, audio_sha, value, by, run, drawn.
        """
        import pandas as pd

        return pd.DataFrame(self.rows(*[kind] if kind else []), columns=list(COLUMNS)).astype(
            {name: {"mark_id": "int64", "time_s": "float64"}.get(name, "str") for name in COLUMNS})

    def latest(self, kind: str) -> "pd.DataFrame":
        """Give the last word on each recording, or, where a mark names none, each utterance_id, or else each value."""
        table = self.table(kind)
        about = table["audio_sha"].where(table["audio_sha"].ne(""), table["utterance_id"])
        about = about.where(about.ne(""), table["value"])
        return table[~about.duplicated(keep="last")].reset_index(drop=True)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


def _is_withheld(connection: sql.Connection, request_id: str) -> bool:
    """Whether a production query of this id is there, and nothing of it may be kept."""
    consents = connection.scalars(sql.select(queries.c.consent).where(queries.c.request_id == request_id)).all()
    return bool(consents) and not any(consents)


def to_correct(suspects: "pd.DataFrame", listened: "pd.DataFrame", *, n_random: int, seed: int) -> "pd.DataFrame":
    """List whose references people should hear again: all suspects, and some that nobody suspects, in mixed order.

    What a model heard is not in it, since it would sway those who listen; `drawn` is for the mark, not for their eyes.
    Returns: utterance_id, audio_sha, audio_path, speaker, duration_s, reference, drawn ("suspect" or "random").
    """
    is_suspect = listened["utterance_id"].isin(set(suspects["utterance_id"]))
    others = listened[~is_suspect]
    drawn = others.sample(min(n_random, len(others)), random_state=seed)
    listed = listened.loc[is_suspect | listened.index.isin(drawn.index)]
    listed = listed.assign(drawn=is_suspect.map({True: SUSPECT, False: RANDOM}))
    columns = ["utterance_id", "audio_sha", "audio_path", "speaker", "duration_s", "reference", "drawn"]
    return listed[columns].sample(frac=1, random_state=seed).reset_index(drop=True)
