"""Worker processes of a sweep: how they share the cores and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.machine import available_cores, require_memory

_WORKER_BYTES = 200 * 2**20
"""What a worker takes at least: Python, numpy, scipy and torch."""


class WorkersLostError(UserError):
    """No worker is left: nothing that follows could be computed."""


class _Process(SpawnProcess):
    """A process that Ctrl-C does not reach, whoever starts it and when."""

    def start(self) -> None:
        with interrupts.unheard_by_children():
            super().start()


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Worker processes that share the cores; where the block fails they end at once, files being whole or not there.

    Raises: UserError as `require_jobs`.
    """
    require_jobs(jobs)
    share = max(1, available_cores() // jobs)
    others = active_children()
    with interrupts.unheard_by_children():  # a helper of multiprocessing's starts here
        new = ProcessPoolExecutor(jobs, mp_context=_Context(), initializer=_begin, initargs=(share,))
    with new as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C, a full disk, or a sweep that is given up
            # First, for a pool that loses its workers cannot deal with cancelled work.
            manager = getattr(pool, "_executor_manager_thread", None)
            pool.shutdown(wait=False, cancel_futures=True)
            workers = set(active_children()) - set(others)
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            if manager is not None:  # a process that ended before it would leave semaphores behind
                manager.join()
            raise


def require_jobs(jobs: int) -> None:
    """Raises: UserError unless jobs >= 1, and for more of them than memory holds."""
    if jobs < 1:
        raise UserError(f"jobs = {jobs}: must be a positive integer; give jobs >= 1")
    require_memory(jobs * _WORKER_BYTES, f"jobs = {jobs:,}")


def _begin(threads: int) -> None:
    """What a worker does first: take its share of the cores, and see to it that it does not outlive its parent."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["CGRO_THREADS"] = str(threads)
    # Read where torch and BLAS are loaded: with a thread for each core in every worker they would wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(min(threads, _number(os.environ.get(name, ""), threads)))
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)  # what was loaded before
    if "torch" in sys.modules:  # which takes a second to import, and not every cell needs it
        import torch

        torch.set_num_threads(threads)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else default


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, which would compute on for nobody. Files are whole or not there."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
