"""The kernels that stages run in: processes of this very Python, in the project's root, that can be started ahead.

A kernel that waits for its stage has imported other people's libraries already, most of what a stage waits for. It
imports nothing of ours: a researcher may edit the package until the stage begins.
"""

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

from workbench import fingerprints, settings
from workbench.notebooks import StageNotebook

# jsonschema, which checks notebooks for nbformat, and so for papermill and plotly, would compile 39 grammars of
# addresses (IRIs) when imported, a second each time. It does without where this module is absent; notebooks have none.
_GRAMMARS = "rfc3987_syntax"
# As nbclient starts kernels: they neither read nor write the user's history.
_NO_HISTORY = "--HistoryManager.hist_file=:memory:"
# A kernel begins to watch its parent once it serves; one whose parent died while it imported ends here.
_END_WITH_PARENT = "exec('import os; os.getppid() == {parent} or os._exit(1)', {{}})"


class Kernel(AsyncKernelManager):
    """One kernel's process; `client` is remembered, so that the stage's environment can be told at its start."""

    def __init__(self) -> None:
        # Without folders to look in, `python3` is this interpreter, whatever kernels the user has installed.
        super().__init__(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self.stage_environment: Mapping[str, str] = {}

    def client(self, **options: Any) -> Any:
        """Connect to the kernel."""
        self._client = super().client(**options)
        return self._client

    async def tell_environment(self, **_: Any) -> None:
        """Set what only this stage has in its environment; nbclient calls it when the kernel is ready."""
        code = f"__import__('os').environ.update({dict(self.stage_environment)!r})"
        await self._client.execute(code, silent=True, store_history=False, reply=True)

    def is_running(self) -> bool:
        """Tell whether its process lives."""
        return bool(run_sync(self.is_alive)())

    def stop(self) -> None:
        """End its process at once, whatever it does."""
        run_sync(self.shutdown_kernel)(now=True)


def start(imports: Sequence[str], *, environment: Mapping[str, str], lock: int, log: Path) -> Kernel:
    """Start a kernel without waiting for it; it inherits the run's lock and logs its words.

    `imports` are statements that it runs before it serves, in a namespace of their own: the notebook sees no name. One
    that fails is left to the notebook, which knows whether it is needed.
    """
    sys.modules.setdefault(_GRAMMARS, None)  # type: ignore[arg-type]  # this process is about to import papermill
    kernel = Kernel()
    ahead = "\n".join(["from contextlib import suppress", *(f"with suppress(Exception): {line}" for line in imports)])
    lines = (f"__import__('sys').modules.setdefault({_GRAMMARS!r}, None)", f"exec({ahead!r}, {{}})",
             _END_WITH_PARENT.format(parent=os.getpid()))
    arguments = [_NO_HISTORY, *(f"--IPKernelApp.exec_lines={line}" for line in lines)]
    with log.open("w") as words:
        run_sync(kernel.start_kernel)(extra_arguments=arguments, env=dict(environment), cwd=str(settings.root()),
                                      pass_fds=(lock,), stdout=words, stderr=words)
    return kernel


def imports(notebook: StageNotebook) -> list[str]:
    """Collect what a notebook's modules import from libraries: all of them as they load, those it names also later."""
    named = fingerprints.files_of(notebook.modules)
    nodes = (node for path in fingerprints.source_files(notebook.modules)
             for node in (ast.walk if path in named else ast.iter_child_nodes)(fingerprints.tree(path)))
    return sorted({ast.unparse(node) for node in nodes if _is_library(node)})


def _is_library(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
    roots = {name.partition(".")[0] for name in names}
    return bool(roots) and not roots & (sys.stdlib_module_names | {"workbench"})
