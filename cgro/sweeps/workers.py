"""Worker processes of a sweep: how they share the cores and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from cgro.machine import available_cores


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Worker processes that share the cores; on Ctrl-C they end at once, their files being whole or not there."""
    share = max(1, available_cores() // jobs)
    others = active_children()
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(share,)
    ) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for worker in set(active_children()) - set(others):
                worker.terminate()
            raise


@contextmanager
def children_deaf_to_interrupts() -> Iterator[None]:
    """Processes started here ignore Ctrl-C, which a terminal sends to all: this process alone answers it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _limit_threads(threads: int) -> None:
    import torch

    os.environ["CGRO_THREADS"] = str(threads)
    torch.set_num_threads(threads)
