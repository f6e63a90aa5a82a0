"""The batch run: which stages are out of date, each executed in a kernel of its own, skipped or resumed.

What starts kernels and executes notebooks loads once a kernel is really needed: an unchanged run ends within a second.
"""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from workbench import (
    execution,
    fingerprints,
    locks,
    notebooks,
    pages,
    parameters,
    preflight,
    runs,
    settings,
    shared_runs,
    storage,
    twins,
)
from workbench.errors import ParameterError, StageError, StageWaits, StoreError, WorkbenchError
from workbench.execution import Failure
from workbench.live import Display
from workbench.notebooks import StageNotebook
from workbench.storage import StageRecord

if TYPE_CHECKING:
    from workbench.kernels import Kernel, Nursery  # needs jupyter, which an unchanged run does not

DONE, FAILED = 0, 1
KERNEL_LOG = ".{stage}.kernel.log"
MODEL = "model.pt"
MOST_KERNELS = 2
"""How many a stage is given until one of them answers."""
STILLS = "stills"
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one `workbench run` asks for; `folder` is where the caller stands.

    What the run was given before holds where nothing else is given, unless the order is plain.
    """

    stages: Sequence[str] = ()
    run: str = "default"
    size: str = ""
    first: str = ""
    last: str = ""
    assignments: Sequence[str] = ()
    parameter_file: Path | None = None
    is_forced: bool = False
    is_plain: bool = False
    folder: Path = field(default_factory=Path.cwd)


def run(order: Order, console: Console) -> int:
    """Bring the ordered stages of a run up to date and say how each ended.

    Returns: the exit code: 0 done or waiting, 1 a stage failed.
    Raises: ParameterError and its like before any kernel starts; the WorkbenchError that a stage met, once its evidence
        is kept; RunHeldError when another runner is at it; StoreError when all is done but could not be published.
    """
    if not _RUN_NAME.fullmatch(order.run) or order.run.startswith("lab-"):
        raise ParameterError(f"run {order.run!r} cannot name a batch run; use letters, digits, . _ - (not lab-...)")
    every = notebooks.discover()
    chosen = parameters.select(every, order.stages, first=order.first, last=order.last)
    given = parameters.read_given(order.assignments, order.parameter_file)
    size, before = ("", {}) if order.is_plain else parameters.kept(order.run, every)
    told = parameters.check(every, given, run=order.run, size=order.size or size, folder=order.folder, before=before)
    passed = parameters.follow(every, told)
    _check_upstream(every, chosen, order.run)
    preflight.check(fingerprints.bases(chosen, passed, order.run, is_forced=order.is_forced))
    shared_runs.claim(order.run)
    with locks.held(order.run) as lock:
        parameters.keep(order.run, order.size or size, told)
        if again := parameters.words("" if order.size else size, parameters.without(before, given)):
            console.print(f"as given before: {again}  (--defaults forgets it)", markup=False, highlight=False,
                          soft_wrap=True)
        batch = _Batch(order, every, passed, console, lock)
        try:
            return batch.go(chosen)
        except WorkbenchError:  # what a stage was given may be the mistake; the others go on with theirs
            parameters.keep(order.run, order.size or size, told | {batch.stage: before.get(batch.stage, {})})
            raise


def _check_upstream(every: Sequence[StageNotebook], chosen: Sequence[StageNotebook], run_name: str) -> None:
    names = [notebook.name for notebook in every]
    ready = {name for name in names if storage.read_record(run_name, name)}
    for notebook in chosen:
        missing = [name for name in notebook.inputs if name in names and name not in ready]
        if missing:
            raise StageError(f"{notebook.name} reads {' and '.join(missing)}, not finished in run {run_name}; "
                             f"do `workbench run --to {notebook.name} --run {run_name}`")
        ready.add(notebook.name)


class _Batch:
    """One runner at work on one run."""

    def __init__(self, order: Order, every: Sequence[StageNotebook], passed: parameters.Given, console: Console,
                 lock: int) -> None:
        self.order, self.every, self.passed, self.lock = order, every, passed, lock
        self.reports = settings.root() / "reports" / order.run
        self.progress_file = storage.run_folder(order.run) / ".progress.json"
        self.display = Display(console, self.progress_file)
        self.has_run, self.stage = False, ""
        self.waiting: Kernel | None = None
        self.nursery: Nursery | None = None

    def go(self, chosen: Sequence[StageNotebook]) -> int:
        with storage.explaining(self.reports / pages.INDEX):
            self.reports.mkdir(parents=True, exist_ok=True)
        try:
            code = self._go_through(chosen)
            if self.has_run:
                self._write_stills()
        except WorkbenchError:
            with contextlib.suppress(StoreError):  # the mistake is what the user has to hear of
                shared_runs.publish(self.order.run)
            raise
        finally:
            self._end_kernels()
        self._write_index()
        self.display.line(f"report: {self.reports / pages.INDEX}")
        published = shared_runs.publish(self.order.run)
        if published:
            self.display.line(f"published: {published}")
        return code

    def _go_through(self, chosen: Sequence[StageNotebook]) -> int:
        for notebook, after in zip_longest(chosen, chosen[1:]):
            self.stage = notebook.name
            code = self._bring_up_to_date(notebook, after)
            record = storage.read_record(self.order.run, notebook.name)
            if code != DONE or (record is not None and record.decision.outcome == "waiting"):
                return code
        return DONE

    def _bring_up_to_date(self, notebook: StageNotebook, after: StageNotebook | None) -> int:
        passed = self.passed[notebook.name]
        fingerprint = fingerprints.fingerprint(notebook, passed, self.order.run)
        record = storage.read_record(self.order.run, notebook.name)
        if record and not self.order.is_forced and self._is_unchanged(record, fingerprint):
            self.display.unchanged(notebook.folder_name, record.decision)
            return DONE
        self._forget(notebook)
        self.has_run = True
        started_s = time.monotonic()
        with self.display.stage(notebook.folder_name, notebook.n_code_cells):
            failure = self._execute(notebook, after, passed, fingerprint)
        record = storage.read_record(self.order.run, notebook.name)
        if failure is None and record is None:
            failure = Failure("the notebook ended without closing its stage; its last cell must call stage.close(...)")
        if failure is not None and not isinstance(failure.mistake, StageWaits):
            return self._fail(notebook, failure)
        assert record is not None
        self._keep_later_model(record)
        pages.write_page(self._executed(notebook), notebook, record)
        self._write_index()
        self.display.ended(notebook.folder_name, record.decision, time.monotonic() - started_s)
        return DONE

    def _keep_later_model(self, record: StageRecord) -> None:
        """Let the run's model stay that of a later stage, where this one left again what the later one began from."""
        left, last = {record.stage: storage.hash_value(record.content["outputs"])}, record
        for later in filter(None, (storage.read_record(self.order.run, notebook.name) for notebook in self.every)):
            outputs, read = later.content["outputs"], later.content["inputs"].keys() & left.keys()
            if MODEL in outputs and read:
                is_valid = all(later.content["inputs"][name] == left[name] for name in read)
                left[later.stage] = storage.hash_value(outputs) if is_valid else ""
                last = later if is_valid else last
        if MODEL in record.content["outputs"] and last is not record and last.path(MODEL).is_file():
            with storage.replacing(storage.run_folder(self.order.run) / MODEL) as temporary:
                shutil.copyfile(last.path(MODEL), temporary)

    def _is_unchanged(self, record: StageRecord, fingerprint: str) -> bool:
        is_whole = all((record.folder / name).is_file() for name in record.content["outputs"])
        has_page = (self.reports / f"{record.folder.name}.html").is_file()
        return record.content["fingerprint"] == fingerprint and is_whole and has_page

    def _executed(self, notebook: StageNotebook) -> Path:
        return self.reports / notebook.path.name

    def _forget(self, notebook: StageNotebook) -> None:
        """Take away what the stage left before, so that a kill never leaves an old page beside a new record."""
        folder = storage.run_folder(self.order.run) / notebook.folder_name
        fixed = [folder.parent / storage.FIXED.format(stage=folder.name)] if self.order.is_forced else []
        page = self._executed(notebook).with_suffix(".html")
        for path in (*fixed, folder / storage.RECORD, folder / runs.FAILURE, page, self.progress_file):
            with storage.explaining(path):
                path.unlink(missing_ok=True)

    def _fail(self, notebook: StageNotebook, failure: Failure) -> int:
        page = pages.write_failed_page(self._executed(notebook), notebook, self.order.run, failure.sentence())
        storage.write_json(storage.run_folder(self.order.run) / notebook.folder_name / runs.FAILURE,
                           {"message": failure.message, "cell": failure.cell})
        self._write_index()
        where = f"in cell [{failure.cell}]" if failure.mistake else failure.sentence()
        self.display.failed(notebook.folder_name, where)
        self.display.line(f"the executed notebook: {self._executed(notebook)}\nas a page: {page}")
        if failure.mistake:
            raise failure.mistake
        return FAILED

    def _write_stills(self) -> None:
        """Have the pages' stills written by the kernel that waits for it; without them a run is done all the same."""
        twins.clear(self.reports)
        if not twins.due(self.order.run):
            return
        code = twins.CODE.format(run=self.order.run, folder=str(self.reports))
        try:
            kernel = self._take_kernel(STILLS, twins.MODULES)
            try:
                for line in execution.run_code(code, kernel):
                    self.display.line(line)
            finally:
                kernel.stop()
        except StageError as error:
            self.display.line(f"no stills of the pages: {error}")

    def _write_index(self) -> None:
        pages.write_index(self.reports, self.order.run, self.every)

    def _execute(self, notebook: StageNotebook, after: StageNotebook | None, passed: Mapping[str, Any],
                 fingerprint: str) -> Failure | None:
        """Execute a stage in the kernel that waits for it, while the kernel of the stage after it starts."""
        target, why = self._executed(notebook), ""
        for _ in range(MOST_KERNELS):
            kernel = self._take_kernel(notebook.folder_name, notebook.modules)
            try:
                self.waiting = self._start_next(after)
                with storage.explaining(target):
                    kernel.stage_environment = {"WORKBENCH_FINGERPRINT": fingerprint}
                    return execution.execute(notebook, target, passed, kernel, self.display)
            except execution.KernelLost as lost:
                why = str(lost)
                self.display.line(f"{notebook.folder_name}: a kernel was lost before the first cell ({why})")
            finally:
                kernel.stop()
            self._end_kernels()  # those that are forked of the same process may be lost the same way
        return Failure(f"{MOST_KERNELS} kernels in turn were lost before the first cell: {why}; what the last one "
                       f"printed: {self._kernel_log(notebook.folder_name)}")

    def _end_kernels(self) -> None:
        """End what waits and what kernels are forked from."""
        if self.waiting:
            self.waiting.stop()
        if self.nursery:
            self.nursery.close()
        self.waiting = self.nursery = None

    def _take_kernel(self, name: str, modules: Collection[str]) -> "Kernel":
        """Give the kernel that waits, or a new one where none does."""
        waiting, self.waiting = self.waiting, None
        return waiting if waiting and waiting.is_running() else self._start_kernel(name, modules)

    def _start_next(self, after: StageNotebook | None) -> "Kernel | None":
        if after:
            return self._start_kernel(after.folder_name, after.modules)
        return self._start_kernel(STILLS, twins.MODULES) if twins.due(self.order.run) else None

    def _start_kernel(self, name: str, modules: Collection[str]) -> "Kernel":
        from workbench import kernels

        if self.nursery is None or not self.nursery.is_running():
            self.nursery = kernels.Nursery({
                **os.environ, "WORKBENCH_ROOT": str(settings.root()),
                "WORKBENCH_PROGRESS_FILE": str(self.progress_file),
                "PLOTLY_RENDERER": "plotly_mimetype", "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            }, lock=self.lock)
        log = self._kernel_log(name)
        with storage.explaining(log):
            return self.nursery.start(kernels.imports(modules), log=log)

    def _kernel_log(self, name: str) -> Path:
        return storage.run_folder(self.order.run) / KERNEL_LOG.format(stage=name)


def stop_on_sigterm() -> None:
    """Let SIGTERM end a run as Ctrl-C does: the kernel is stopped and the next run resumes."""
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
