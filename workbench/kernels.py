"""The kernels that stages run in: processes of this very Python, in the project's root, that can be started ahead.

They are forked from a nursery, which has imported other people's libraries already, most of what a stage waits for. It
imports nothing of ours: a researcher may edit the package until the stage begins.
"""

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.utils import run_sync

from workbench import fingerprints, settings
from workbench.errors import StageError

# jsonschema, which checks notebooks for nbformat, and so for papermill and plotly, would compile 39 grammars of
# addresses (IRIs) when imported, a second each time. It does without where this module is absent; notebooks have none.
_GRAMMARS = "rfc3987_syntax"
# As nbclient starts kernels: they neither read nor write the user's history.
_NO_HISTORY = "--HistoryManager.hist_file=:memory:"
_LAUNCHER = "ipykernel.kernelapp"  # it serves, and is imported before all else


class Nursery:
    """The process that kernels are forked from, and how they are asked for; it inherits the run's lock."""

    def __init__(self, environment: Mapping[str, str], *, lock: int) -> None:
        sys.modules.setdefault(_GRAMMARS, None)  # type: ignore[arg-type]  # this process is about to import papermill
        self.environment, self._born = dict(environment), list[int]()
        self._n_ordered = 0
        self._sockets = tempfile.TemporaryDirectory(prefix="workbench_")  # a short path: sockets' names are short
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("nursery.py"))], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(lock,))

    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self._process.poll() is None

    def start(self, imports: Sequence[str], *, log: Path) -> "Kernel":
        """Start a kernel without waiting for it to import or to serve; its words go to a log.

        `imports` are statements that it has run before it serves, in a namespace of their own: the notebook sees no
        name. One that fails is left to the notebook, which knows whether it is needed.
        """
        log.touch()
        kernel = Kernel(Path(self._sockets.name) / f"{self._n_ordered}.json")
        kernel.provisioner = _Fork(kernel_id=kernel.kernel_id, kernel_spec=kernel.kernel_spec, parent=kernel)
        kernel.provisioner.nursery, kernel.provisioner.words = self, log
        ahead = [f"import sys; sys.modules.setdefault({_GRAMMARS!r}, None)", f"import {_LAUNCHER}", *imports]
        run_sync(kernel.start_kernel)(extra_arguments=[_NO_HISTORY], env=self.environment, cwd=str(settings.root()),
                                      imports=ahead)
        return kernel

    def order(self, order: Mapping[str, Any]) -> int:
        """Ask for a kernel. Returns: its number. Raises: StageError when the nursery was killed."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise StageError("the process that starts kernels was killed; run the same command") from error
        self._n_ordered += 1
        return self._n_ordered - 1

    def born(self, number: int) -> int:
        """Wait for a kernel that was asked for. Returns: its process, 0 when the nursery died over it."""
        assert self._process.stdout is not None
        while len(self._born) <= number:
            self._born.append(int(self._process.stdout.readline() or 0))
        return self._born[number]

    def close(self) -> None:
        """End it and every kernel that still runs."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._sockets.cleanup()


class _Forked:
    """A forked kernel's process, as jupyter_client knows processes; who it is is asked for when it is needed."""

    stdin = stdout = stderr = None

    def __init__(self, nursery: Nursery, number: int) -> None:
        self._nursery, self._number = nursery, number

    @property
    def pid(self) -> int:
        return self._nursery.born(self._number)

    def poll(self) -> int | None:
        try:
            if self.pid:
                os.kill(self.pid, 0)
                return None
        except ProcessLookupError:
            pass
        return 1

    def wait(self) -> int:
        return 1

    def send_signal(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class _Fork(LocalProvisioner):
    """Has a kernel forked instead of started."""

    nursery: Nursery
    words: Path
    process: Any = None

    async def launch_kernel(self, cmd: list[str], *, imports: Sequence[str] = (), **how: Any) -> Any:
        """Ask for a kernel; the connection is there at once, the process once all is imported."""
        order = {"imports": list(imports), "arguments": cmd[cmd.index("-f"):], "log": str(self.words),
                 "environment": how["env"], "folder": str(how["cwd"])}
        self.process = _Forked(self.nursery, self.nursery.order(order))
        self.cwd = how["cwd"]
        return self.connection_info

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel and all that it started: it leads a session of its own, but for its first moment."""
        if self.process and self.process.pid:
            try:
                os.killpg(self.process.pid, signum)
            except ProcessLookupError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.process.pid, signum)


class Kernel(AsyncKernelManager):
    """One kernel's process; `client` is remembered, so that the stage's environment can be told at its start.

    It is spoken to by sockets in a folder that is its user's alone. A port would be heard by all on the machine, and
    might be taken while the kernel still imports.
    """

    def __init__(self, connection: Path) -> None:
        # Without folders to look in, `python3` is this interpreter, whatever kernels the user has installed.
        super().__init__(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
                         transport="ipc", connection_file=str(connection))
        self.stage_environment: Mapping[str, str] = {}
        self.has_answered = False

    def client(self, **options: Any) -> Any:
        """Connect to the kernel."""
        self._client = super().client(**options)
        return self._client

    async def tell_environment(self, **_: Any) -> None:
        """Set what only this stage has in its environment; nbclient calls it when the kernel is ready."""
        self.has_answered = True
        code = f"__import__('os').environ.update({dict(self.stage_environment)!r})"
        await self._client.execute(code, silent=True, store_history=False, reply=True)

    def wait_until_born(self) -> int:
        """Wait until all is imported and it is forked, minutes where libraries lie on a slow disk. Returns: its pid."""
        return int(cast(_Fork, self.provisioner).process.pid)

    def is_running(self) -> bool:
        """Tell whether its process lives."""
        return bool(run_sync(self.is_alive)())

    def stop(self) -> None:
        """End its process at once, whatever it does."""
        run_sync(self.shutdown_kernel)(now=True)


def imports(modules: Collection[str]) -> list[str]:
    """Collect what modules import from libraries: as they load, these and all they need; these alone also later."""
    named = fingerprints.files_of(modules)
    nodes = (node for path in fingerprints.source_files(modules)
             for node in (ast.walk if path in named else ast.iter_child_nodes)(fingerprints.tree(path)))
    return sorted({ast.unparse(node) for node in nodes if _is_library(node)})


def _is_library(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
    roots = {name.partition(".")[0] for name in names}
    return bool(roots) and not roots & (sys.stdlib_module_names | {"workbench"})
