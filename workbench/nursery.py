"""A process that imports what stages need, once, and forks a kernel whenever it is asked for one.

It runs as a script and imports nothing of ours: a researcher may edit the package until a stage begins. Its words are a
line of JSON each: what to import and how to start a kernel, and back the kernel's process. It ends with its input.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn


def main() -> None:
    """Answer orders until there are no more, then end all kernels."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # whoever asks for kernels decides when they end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a kernel that ended is gone at once
    born, nursery = list[int](), os.getpid()
    with suppress(BrokenPipeError):  # nobody hears the answer: whoever asked was killed
        for line in sys.stdin:
            order = json.loads(line)
            for statement in order["imports"]:
                with suppress(Exception):  # one that fails is left to the notebook, which knows whether it is needed
                    exec(statement, {})
            pid = os.fork()
            if not pid:
                become_kernel(order, nursery)
            born.append(pid)
            print(pid, flush=True)
    for pid in born:
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)  # what could not be said is not tried again


def become_kernel(order: dict[str, Any], nursery: int) -> NoReturn:
    """Turn a fresh copy of this process into a kernel in a session of its own; it ends when its nursery does."""
    code = 1
    try:
        os.setsid()
        nothing, words = os.open(os.devnull, os.O_RDONLY), os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for source, target in ((nothing, 0), (words, 1), (words, 2)):
            os.dup2(source, target)
        for name in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(name, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        sys.argv = order["arguments"]
        from ipykernel.kernelapp import IPKernelApp

        # The environment's JPY_PARENT_PID would come too late: ipykernel reads it as it is imported.
        IPKernelApp.launch_instance([*order["arguments"], f"--IPKernelApp.parent_handle={nursery}"])
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
