"""Fits that do not wait for one another, run at once; what interrupts one ends all."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import ContextVar
from typing import TypeVar

import torch

from workbench import settings

_STOP: ContextVar[threading.Event] = ContextVar("stop", default=threading.Event())  # noqa: B039 - nobody sets this one
T = TypeVar("T")


def run(fits: Sequence[Callable[[], T]]) -> list[T]:
    """Run fits that do not wait for one another at once, each on its share of the cores; on a GPU one after the other.

    A second core makes a small model's step hardly faster, for its products are too small to be shared. What interrupts
    one, or the caller, ends all. Models are built before: new weights are drawn from the one chance of all threads.
    """
    n_threads = torch.get_num_threads()
    is_alone = torch.cuda.is_available() or settings.Settings().engine == "ray"  # a cluster is each fit's own in turn
    n_at_once = 1 if is_alone else min(len(fits), n_threads)
    if n_at_once <= 1:
        return [one() for one in fits]
    stop = threading.Event()

    def begin() -> None:
        torch.set_num_threads(n_threads // n_at_once)
        _STOP.set(stop)

    try:
        with ThreadPoolExecutor(n_at_once, "fit", begin) as pool:
            running = [pool.submit(one) for one in fits]
            try:
                for each in wait(running, return_when=FIRST_EXCEPTION).done:
                    each.result()
                return [each.result() for each in running]
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(n_threads)  # threads to come would have the share of these


def end_if_told() -> None:
    """End a fit whose neighbour or caller was interrupted. Raises: KeyboardInterrupt."""
    if _STOP.get().is_set():
        raise KeyboardInterrupt
