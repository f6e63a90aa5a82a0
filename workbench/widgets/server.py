"""Voila as a program that prints the pages' links once they can be opened, and ends without a word."""

import contextlib
import shutil
import signal
import socket
from pathlib import Path

import psutil
from tornado.ioloop import IOLoop
from voila.app import Voila

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - recognized, not listened on
UNTRUSTED = "Notebook %s is not trusted"
"""Logged of every page, since nobody signs notebooks; its outputs are not shown anyway."""


class Dashboards(Voila):
    """Prints its links when it listens: a browser that is sent there earlier is refused."""

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

    def stop(self) -> None:
        """Kill the kernels: they have nothing to save, and asked to end while they begin or wait they print errors."""
        for kernel in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                kernel.kill()
        shutil.rmtree(self.connection_dir)


if __name__ == "__main__":
    Dashboards.launch_instance()
