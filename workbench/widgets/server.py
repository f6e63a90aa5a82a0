"""Voila as a program that prints the pages' links once they can be opened, and ends without a word.

While it runs, what a team's other members finish is brought for the next visitor.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
from tornado.ioloop import IOLoop, PeriodicCallback
from voila.app import Voila

from workbench import settings

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognized, not listened on
UNTRUSTED = "Notebook %s is not trusted"
"""Logged of every page, since nobody signs notebooks; its outputs are not shown anyway."""


class Dashboards(Voila):
    """Prints its links when it listens: a browser that is sent there earlier is refused."""

    bringing: subprocess.Popen[bytes] | None = None

    def listen(self) -> None:
        """Listen until the process is ended."""
        self.log.addFilter(lambda record: record.msg != UNTRUSTED)
        IOLoop.current().add_callback(self.begin)  # the loop begins when the port is open
        super().listen()

    def begin(self) -> None:
        """Print each page's address; the token lets its holder in. Ctrl-C ends the loop from now on, whatever it does.

        By Python's own way it would end whatever runs that moment, with what that prints.
        """
        signal.signal(signal.SIGINT, self._handle_signal_stop)  # as Voila does with SIGTERM
        token = self.identity_provider.token
        query = f"?token={token}" if token else ""
        host = socket.gethostname() if self.ip in EVERYWHERE else self.ip
        for page in sorted(Path(self.root_dir).glob("*.ipynb")):
            link = f"http://{host}:{self.port}/voila/render/{page.name}{query}"
            print(f"{page.stem.replace('_', ' ')}: {link}", flush=True)
        ours = settings.Settings()
        if ours.store_url:
            PeriodicCallback(self.bring, 1000 * ours.dashboard_bring_s).start()

    def bring(self) -> None:
        """Have colleagues' runs brought by a process of its own, unless one is at it; `stop` ends it with the kernels.

        A store that is away is a line in the log, and asked again the next time.
        """
        if self.bringing is None or self.bringing.poll() is not None:
            self.bringing = subprocess.Popen([sys.executable, "-m", "workbench.cli", "runs"],
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             start_new_session=True)  # Ctrl-C is the server's alone

    def stop(self) -> None:
        """Kill the kernels: they have nothing to save, and asked to end while they begin or wait they print errors."""
        for kernel in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                kernel.kill()
        shutil.rmtree(self.connection_dir)


if __name__ == "__main__":
    Dashboards.launch_instance()
