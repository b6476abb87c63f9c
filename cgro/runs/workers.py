"""Worker processes of a sweep: they share the cores and end with their parent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.machine import available_cores, require_memory
from cgro.base.validate import integer

_WORKER_BYTES = 200 * 2**20
"""Minimum memory of a worker: Python, numpy, scipy and torch."""


KILLED = (
    "a worker process ended abruptly, perhaps out of memory; finished cells are stored: repeat the command to resume, "
    "with fewer --jobs if memory is short"
)


class WorkersLostError(UserError):
    """No worker is left, so nothing more can be computed."""


class _Process(SpawnProcess):
    """A process that Ctrl-C does not reach, no matter who starts it and when."""

    def start(self) -> None:
        with interrupts.unheard_by_children():
            super().start()


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Worker processes that share the cores. If the block fails they end at once, which is safe: writes are atomic.

    Raises: UserError like `require_jobs`; WorkersLostError if one is killed.
    """
    require_jobs(jobs)
    share = max(1, available_cores() // jobs)
    others = active_children()
    with interrupts.unheard_by_children():  # multiprocessing starts a helper process here
        new = ProcessPoolExecutor(jobs, mp_context=_Context(), initializer=_begin, initargs=(share,))
    with new as pool:
        try:
            yield pool
        except BaseException as error:  # Ctrl-C, a full disk, or an abandoned sweep
            # Shut down first: a pool that has lost its workers cannot cancel work.
            manager = getattr(pool, "_executor_manager_thread", None)
            pool.shutdown(wait=False, cancel_futures=True)
            workers = set(active_children()) - set(others)
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            if manager is not None:  # ending before this thread would leak semaphores
                manager.join()
            if isinstance(error, BrokenExecutor):
                raise WorkersLostError(KILLED) from error
            raise


def require_jobs(jobs: int) -> None:
    """Raises: UserError unless jobs >= 1, or for more workers than fit into memory."""
    integer("jobs", jobs, low=1)
    require_memory(jobs * _WORKER_BYTES, f"jobs = {jobs:,}")


def _begin(threads: int) -> None:
    """Start of a worker: take its share of the cores, and make sure that it does not outlive its parent."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["CGRO_THREADS"] = str(threads)
    # Torch and BLAS read these when loaded. With one thread per core in each worker, threads would wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(min(threads, _number(os.environ.get(name, ""), threads)))
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)  # for libraries that were loaded before
    if "torch" in sys.modules:  # not every cell needs torch, which takes a second to import
        import torch

        torch.set_num_threads(threads)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else default


def _end_with_parent() -> None:
    """End this worker when its parent is killed, which cannot end it itself. This is safe: writes are atomic."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
