"""Starts the dashboards: Voila over `notebooks/dashboards/`, with a token, warm kernels, and no source or traceback."""

import os
import secrets
import socket
import sys
from pathlib import Path

from workbench import preflight, settings, shared_runs
from workbench.errors import ServiceError, SettingsError

PAGES = ("error_analysis", "monitoring")
N_WARM = 1
"""Kernels of each page that wait, imports done, for their next visitor: 200 MB each."""

TEMPLATES = Path(__file__).parent / "assets" / "jupyter"
"""Where Jupyter finds our page template, without an installation."""

EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
"""What of JupyterLab the pages need; anything else would only be loaded."""


def folder() -> Path:
    """Give where the pages' notebooks lie. Raises: SettingsError when a page is missing."""
    found = settings.root() / "notebooks" / "dashboards"
    missing = [name for name in PAGES if not (found / f"{name}.ipynb").is_file()]
    if missing:
        raise SettingsError(f"{found} lacks {', '.join(missing)}.ipynb; take it from git again")
    return found


def command(host: str, port: int, *, needs_token: bool, n_warm: int = N_WARM) -> list[str]:
    """Give Voila's own command line; the token is not among the words, which everybody on the machine can read."""
    idle_s = settings.Settings().dashboard_idle_s
    flags = {
        "port": port, "Voila.ip": host, "Voila.auto_token": needs_token, "Voila.port_retries": 0,
        "Voila.log_level": "WARN", "Voila.identity_provider_class": "workbench.widgets.door.Door",
        "VoilaConfiguration.template": "workbench", "VoilaConfiguration.classic_tree": True,
        "VoilaConfiguration.allow_template_override": "NO", "VoilaConfiguration.allow_theme_override": "NO",
        "VoilaConfiguration.show_tracebacks": False, "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.file_allowlist": "^$", "VoilaConfiguration.preheat_kernel": n_warm > 0,
        "VoilaConfiguration.default_pool_size": n_warm, "VoilaKernelManager.fill_delay": 0.5,
        "KernelManager.transport": "ipc",  # files of this user's, where sockets would be open to all on the machine
        "MappingKernelManager.cull_idle_timeout": idle_s, "MappingKernelManager.cull_interval": max(1, idle_s // 10),
    }
    allowed = [f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS]
    return [sys.executable, "-m", "workbench.widgets.server", str(folder()), "--no-browser",
            *(f"--{k}={v}" for k, v in flags.items()), *allowed]


def environment(host: str, token: str) -> dict[str, str]:
    """Give what Voila and the pages' kernels find in their environment: the project, the template, the token."""
    searched = [str(TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH", "")])]
    return {"WORKBENCH_ROOT": str(settings.root()), "JUPYTER_PATH": os.pathsep.join(searched), "JUPYTER_TOKEN": token,
            "VOILA_APP_IP": host, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONWARNINGS": "ignore"}


def serve(*, host: str, port: int, token: str, needs_token: bool, n_warm: int = N_WARM) -> None:
    """Become the server: bring colleagues' runs, then run Voila in this process's place, which prints the links.

    Raises: ServiceError when the port is taken; SettingsError when a page is missing.
    """
    token = (token or secrets.token_urlsafe(24)) if needs_token else ""
    words = command(host, port, needs_token=needs_token, n_warm=n_warm)
    _check_port(host, port)
    preflight.check()
    shared_runs.bring_all()
    os.environ |= environment(host, token)
    os.execv(sys.executable, words)


def _check_port(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ServiceError(f"the dashboards cannot listen on {host}:{port} ({reason}); end what does, or take another "
                           f"port: workbench dashboards --port {port + 1}") from error
