"""Worker processes of a sweep: how they share the cores and how they end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread

from cgro.errors import UserError
from cgro.machine import available_cores


class WorkersLostError(UserError):
    """No worker is left: nothing that follows could be computed."""


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Worker processes that share the cores; on Ctrl-C they end at once, their files being whole or not there.

    Raises: UserError unless jobs >= 1.
    """
    require_jobs(jobs)
    share = max(1, available_cores() // jobs)
    others = active_children()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(share,)) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for worker in set(active_children()) - set(others):
                worker.terminate()
            raise


def require_jobs(jobs: int) -> None:
    """Raises: UserError unless jobs >= 1."""
    if jobs < 1:
        raise UserError(f"jobs = {jobs}: must be a positive integer; give jobs >= 1")


def _begin(threads: int) -> None:
    """What a worker does first: take its share of the cores, and see to it that it does not outlive its parent."""
    import torch

    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["CGRO_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, which would compute on for nobody. Files are whole or not there."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
