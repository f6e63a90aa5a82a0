"""Starts the dashboards: Voila over `notebooks/dashboards/`, with a token, warm kernels, and no source or traceback."""

import os
import secrets
import sys
from pathlib import Path

from workbench import settings
from workbench.errors import SettingsError

PAGES = ("error_analysis", "monitoring")
IDLE_S = 600
"""A page that was left for so long gives its kernel back; an open one asks every few seconds and keeps it."""

N_WARM = 1
"""Kernels of each page that wait, imports done, for their next visitor: 200 MB each."""


def folder() -> Path:
    """Give where the pages' notebooks lie. Raises: SettingsError when a page is missing."""
    found = settings.root() / "notebooks" / "dashboards"
    missing = [name for name in PAGES if not (found / f"{name}.ipynb").is_file()]
    if missing:
        raise SettingsError(f"{found} lacks {', '.join(missing)}.ipynb; take it from git again")
    return found


def links(host: str, port: int, token: str) -> list[str]:
    """Give each page's address; the token lets its holder in."""
    query = f"?token={token}" if token else ""
    return [f"http://{host}:{port}/voila/render/{name}.ipynb{query}" for name in PAGES]


def command(host: str, port: int, token: str, *, n_warm: int = N_WARM) -> list[str]:
    """Give Voila's own command line."""
    flags = {
        "port": port, "Voila.ip": host, "Voila.auto_token": bool(token), "Voila.port_retries": 0,
        "VoilaConfiguration.show_tracebacks": False, "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.preheat_kernel": n_warm > 0, "VoilaConfiguration.default_pool_size": n_warm,
        "VoilaConfiguration.allow_template_override": "NO", "VoilaConfiguration.file_allowlist": "^$",
        "VoilaKernelManager.fill_delay": 0.5, "MappingKernelManager.cull_idle_timeout": IDLE_S,
        "MappingKernelManager.cull_interval": 60,
    }
    return [sys.executable, "-m", "voila", str(folder()), "--no-browser", *(f"--{k}={v}" for k, v in flags.items())]


def serve(*, host: str, port: int, token: str, needs_token: bool, n_warm: int = N_WARM) -> None:
    """Become the server: print the links, then run Voila in this process's place."""
    token = (token or secrets.token_urlsafe(24)) if needs_token else ""
    words = command(host, port, token, n_warm=n_warm)
    for name, link in zip(PAGES, links(host, port, token), strict=True):
        print(f"{name.replace('_', ' ')}: {link}", flush=True)
    os.environ |= {"WORKBENCH_ROOT": str(settings.root()), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                   "VOILA_APP_IP": host, "PYTHONWARNINGS": "ignore",
                   "JUPYTER_TOKEN": token}  # not among the words, which everybody on the machine can read
    os.execv(sys.executable, words)
