"""Production as it is now: the running log read on, each model held against its own basis, and who answers since when.

What a page asks again and again is remembered: closed windows are looked at once, rows get their features once. No
torch. What the scene means in words is `standing`'s.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from workbench import bases, gates, model_registry, monitoring, rephrasing, shared_runs, storage
from workbench.errors import RegistryError, ServiceError, StageError, StoreError
from workbench.live_log import LiveLog, Reading
from workbench.marks import Marks
from workbench.model_registry import ModelVersion
from workbench.monitoring import Basis, Look, Report, Rules

FEATURES = ["block", "is_empty", "piece", "has_unseen"]
SLACK = 0.02
"""A window that has grown by less is not judged anew: what is counted is exact meanwhile."""
SLOW_S = 60.0
"""How often is read what needs the whole log: clips that may be heard."""
N_PAIRS = 2_000
CLIPS_SINCE_S = 21 * 86_400.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be seen at a moment. `rows` are people's, with window, version and features; `reports` are by version.

    `version` is whose windows hold now: the champion's, or, before anybody has asked it, those of who answered last.
    """

    reading: Reading
    rows: pd.DataFrame
    lineup: Mapping[str, Any]
    released: Mapping[str, ModelVersion]
    reports: Mapping[str, Report]
    bases: Mapping[str, Basis]
    rules: Rules
    labelled: pd.DataFrame
    marks: pd.DataFrame
    clips: Mapping[str, int]
    pairs: pd.DataFrame
    version: str

    @property
    def report(self) -> Report | None:
        """What holds now; None where the version was released without a basis."""
        return self.reports.get(self.version)

    @property
    def share(self) -> float:
        """The share of users whose rows the latest window is judged by."""
        return float(self.reading.shares.iloc[-1]) if len(self.reading.shares) else 1.0


class Watcher:
    """Follows the project's log; one a visitor."""

    def __init__(self, url: str = "") -> None:
        """Point at a log. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self.marks, self._url = Marks(url), url
        self._log, self._rules, self._names = LiveLog(url), Rules(), list[str]()
        self._features = pd.DataFrame(columns=FEATURES)
        self._memory = dict[str, dict[tuple[int, ...], Look]]()
        self._bases = dict[str, Basis | None]()
        self._slow_s, self._clips, self._n_forgotten = 0.0, dict[str, int](), 0
        self._width_s, self._catalogue = 0.0, tuple[str, ...]()
        self._lineup, self._released = dict[str, Any](), dict[str, ModelVersion]()

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()
        self.marks.close()

    def refresh(self) -> Scene:
        """Read on and look again.

        Raises: ServiceError while nobody has asked anything; QueryLogError, RegistryError when those do not answer.
        """
        lineup = model_registry.alias_state()
        if lineup != self._lineup:
            self._released = {version.version: version for version in model_registry.versions()}
            _bring_rules(self._released.get(lineup["champion"]))
            self._lineup = lineup
        released = self._released
        self._follow(released.get(lineup["champion"]))
        self._log.refresh()
        reading = self._log.reading
        if reading.rows.empty:
            raise ServiceError("Nobody has asked anything yet: the query log holds no query of people. Start the "
                               "server with `workbench serve`, or send some with `workbench simulate --week 1`.")
        rows, said = self._with_versions(reading.rows), self.marks.table()
        self._know([*self._names, *said.loc[said["kind"].eq("name"), "value"]])
        self._bases |= {v: self._basis(v) for v in rows["version"].unique() if v not in self._bases}
        rows, labelled = self._with_features(rows), self._labelled(reading)
        found = {version: part for version, part in rows.groupby("version", sort=False)}
        known = {version: basis for version, basis in self._bases.items() if basis is not None}
        reports = {v: self._report(v, part, known[v], labelled) for v, part in found.items() if v in known}
        version = lineup["champion"] if lineup["champion"] in found else str(rows["version"].iloc[-1])
        return Scene(reading, rows, lineup, released, reports, known, self._rules, labelled, said,
                     self._slowly(reading), self._log.reader.pairs(N_PAIRS), version)

    def _follow(self, champion: ModelVersion | None) -> None:
        """Take the rules of the champion's run; other windows mean that all is read anew."""
        before = self._rules
        self._rules, self._names = promised(champion.tags.get("run", "") if champion else "")
        self._memory = self._memory if self._rules == before else {}
        if self._rules.width_s != self._width_s:
            self._log.close()
            self._log, self._width_s = LiveLog(self._url, width_s=self._rules.width_s), self._rules.width_s
        if self._log.reader.is_there and (n := self._log.reader.n_forgotten()) != self._n_forgotten:
            self._log.forget()
            self._features, self._memory, self._n_forgotten = self._features.head(0), {}, n

    def _know(self, names: Sequence[str]) -> None:
        """Let terms be held against the names that people may ask for, and those that somebody accepted."""
        if tuple(names) != self._catalogue:
            self._catalogue, self._memory = tuple(names), {}
            self._bases = {version: basis and replace(basis, catalogue=names) for version, basis in self._bases.items()}

    def _basis(self, version: str) -> Basis | None:
        try:
            basis = bases.load(version, self._catalogue)
        except RegistryError:
            return None
        return replace(basis, rows=monitoring.with_features(basis.rows, basis.known, basis.gap_limit))

    def _with_versions(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Count a refused query to the version that answered at that time."""
        version = rows["model_version"].mask(rows["model_version"].eq("")).ffill().bfill().fillna("")
        return rows.assign(version=version)

    def _with_features(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add features to those rows that have none yet, by the basis of the model that answered."""
        fresh = rows[~rows["row_id"].isin(self._features.index)]
        made = [_featured(part, self._bases[version]) for version, part in fresh.groupby("version")]
        self._features = pd.concat([self._features, *made]) if len(self._features) else pd.concat(made)
        self._features = self._features.loc[rows["row_id"]]
        return rows.assign(**{name: self._features[name].to_numpy() for name in FEATURES},
                           is_again=rephrasing.rephrased(rows))

    def _labelled(self, reading: Reading) -> pd.DataFrame:
        """Give the labelled queries with their window, version and block, drawn or not."""
        rows = self._log.reader.labelled()
        window = ((rows["time_s"] - reading.start_s) // self._width_s).astype(int) + 1
        block = rows["user_hash"].where(rows["user_hash"].ne(""), rows["request_id"])
        return rows.assign(window=window, version=rows["model_version"], block=block)

    def _report(self, version: str, rows: pd.DataFrame, basis: Basis, labelled: pd.DataFrame) -> Report:
        """Look at the windows that one model answered; what is no longer so is no longer remembered."""
        memory = self._memory.setdefault(version, {})
        looks = monitoring.look_through(rows, basis, labels=labelled, rules=self._rules, memory=memory, slack=SLACK)
        self._memory[version] = {key: look for key, look in memory.items() if any(look is one for one in looks)}
        return monitoring.report_of(looks, pd.DataFrame(columns=["day", "window"]), self._rules)

    def _slowly(self, reading: Reading) -> Mapping[str, int]:
        if time.monotonic() - self._slow_s > SLOW_S or not self._clips:
            self._clips = self._log.reader.consented(reading.last_s - CLIPS_SINCE_S)
            self._slow_s = time.monotonic()
        return self._clips


def _featured(rows: pd.DataFrame, basis: Basis | None) -> pd.DataFrame:
    seen = monitoring.with_features(rows, basis.known if basis else [], basis.gap_limit if basis else np.inf)
    seen = seen if basis else seen.assign(has_unseen=np.nan)
    return seen.set_index("row_id")[FEATURES]


def _bring_rules(champion: ModelVersion | None) -> None:
    """Bring the rules that a colleague left with the champion up to date; with the store away, those here hold."""
    run = champion.tags.get("run", "") if champion else ""
    with contextlib.suppress(StoreError):
        shared_runs.bring(run)


def promised(run: str) -> tuple[Rules, list[str]]:
    """Find what a run watches by: its rules, and the names that people may ask for.

    A run that has not monitored yet watches by scope's target and the rules that go without saying.
    """
    seen = _left(run, "monitor", "seen")
    if "rules" in seen:
        return monitoring.read_rules(seen["rules"]), list(seen.get("names", []))
    promises = _left(run, "scope", "promises")
    return Rules(target=gates.read(promises).target("wer") if promises else None), []


def _left(run: str, stage: str, name: str) -> dict[str, Any]:
    """Read what a stage left, or {} where it did not."""
    try:
        record = storage.read_record(run, stage) if run else None
        return dict(record.json(name)) if record else {}
    except StageError:
        return {}
