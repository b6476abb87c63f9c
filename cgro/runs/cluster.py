"""A Dask cluster as an executor that fails, rather than waits, when its scheduler or last worker is gone."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.machine import available_cores
from cgro.runs import store
from cgro.runs.workers import WorkersLostError, require_jobs

log = logging.getLogger(__name__)
T = TypeVar("T")
_ANSWER = 4.0
"""Seconds within which a scheduler must answer."""
_GONE = 4.0
"""Seconds without a connection, or without any worker, before giving up."""
_BUSY = 60.0
"""Seconds without an answer before giving up."""
LOCAL = "local"
LIBRARIES = ("cgro", *store.LIBRARIES, "distributed")
"""Packages whose versions must agree between this process and the workers."""
RESUME = "finished cells are stored: repeat the command to resume"


@contextmanager
def dask_cluster(address: str, jobs: int = 1) -> Iterator[Executor]:
    """An executor on the cluster whose scheduler listens at this address, tcp://HOST:PORT.

    'local' starts a scheduler and `jobs` workers of one thread on this machine, and ends them with the block. Futures
    fail with a WorkersLostError once the scheduler stops answering or all workers are gone. They wait for the first
    worker. Libraries of other versions than here are named in warnings.

    Raises: UserError within ten seconds if no scheduler answers or the package distributed is not installed, and for a
    scheduler or worker without cgro.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--dask: the package distributed is not installed; pip install 'cgro[dask]'") from error
    with _silent("distributed"), _started(jobs) if address == LOCAL else nullcontext(address) as address:
        count, threads = _workers(address)
        if not count:
            log.info("the cluster at %s has no workers yet; waiting for them", address)
        # Not the default client: xarray would ask it for locks.
        client = Client(address, timeout=_ANSWER, set_as_default=False)
        executor = _Watched(client, address)
        executor.workers = threads
        try:
            _compare_versions(client.get_versions(packages=LIBRARIES), address)
            yield executor
        finally:
            executor.shutdown(wait=False)
            with suppress(Exception):  # Any failure has already been reported.
                client.close(timeout=2)


@contextmanager
def _started(jobs: int) -> Iterator[str]:
    """The address of a scheduler with so many workers on this machine, which share the cores."""
    from distributed import LocalCluster

    require_jobs(jobs)
    threads = str(max(1, available_cores() // jobs))
    names = ("CGRO_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with (
        interrupts.unheard_by_children(),
        LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            dashboard_address=":0",
            memory_limit=0,
            env=dict.fromkeys(names, threads),
        ) as cluster,
    ):
        yield cluster.scheduler_address


def _compare_versions(found: Mapping[str, Any], address: str) -> None:
    """Warn of libraries whose versions differ from those of this process: results may then differ in their last bits.

    Raises: UserError for a worker without cgro.
    """
    here = found["client"]["packages"]
    for place, there in found["workers"].items():
        packages = there["packages"]
        if packages.get("cgro") is None:
            raise UserError(f"--dask {address}: the worker {place} has no cgro; install it there, as here")
        other = [
            f"{name} {packages.get(name) or 'missing'} instead of {here[name]}"
            for name in ("python", *LIBRARIES)
            if here.get(name) is not None and packages.get(name) != here[name]
        ]
        if other:
            log.warning("the worker %s has %s: results may differ", place, ", ".join(map(_short, other)))


def _short(words: str) -> str:
    """Python's version without the words that follow it."""
    return words.replace(".final.0", "")


class _Watched(Executor):
    """Passes work to the executor of a client, while a thread polls the scheduler for its number of workers."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._inner, self._address = client, client.get_executor(pure=False), address
        self._open: set[Future[Any]] = set()
        self.workers = 1
        """How many cells are computed at a time."""
        self._end = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> Future[T]:
        outer: Future[T] = Future()
        self._open.add(outer)
        self._inner.submit(function, *arguments, **options).add_done_callback(lambda inner: _copy(inner, outer))
        outer.add_done_callback(self._open.discard)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._end.set()
        self._inner.shutdown(wait=wait)

    def _watch(self) -> None:
        """Give up all open work once the scheduler is gone, or once all workers are gone after there had been some.

        A lost connection means that the scheduler has ended; one that merely does not answer may be busy and gets more
        time.
        """
        had_workers, connected, answered, staffed = False, *[time.monotonic()] * 3
        while not self._end.wait(1.0):
            now = time.monotonic()
            if self._client.status == "running":
                connected = now
            with suppress(UserError):
                workers, self.workers = _workers(self._address)
                answered, had_workers = now, had_workers or workers > 0
                staffed = now if workers or not had_workers else staffed
            if now - connected > _GONE or now - answered > _BUSY:
                self._give_up("no longer answers")
            elif answered - staffed > _GONE:
                self._give_up("has lost all its workers")

    def _give_up(self, words: str) -> None:
        for future in list(self._open):
            _fail(future, WorkersLostError(f"the cluster at {self._address} {words}; {RESUME}"))


def _copy(inner: Future[T], outer: Future[T]) -> None:
    if inner.cancelled():  # the client cancels futures when it gives up its scheduler
        _fail(outer, WorkersLostError(f"the cluster no longer answers; {RESUME}"))
    elif (error := inner.exception()) is not None:
        _fail(outer, error)
    else:
        with suppress(Exception):  # The watcher may have failed it already.
            outer.set_result(inner.result())


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(Exception):  # It may have ended in the meantime.
        future.set_exception(error)


def _workers(address: str) -> tuple[int, int]:
    """Number of workers of the scheduler, and of their threads, at least one. Raises: UserError if no scheduler
    answers."""
    from distributed.comm import get_address_host_port

    advice = "give the address that `dask scheduler` printed, tcp://HOST:PORT, or local"
    try:
        get_address_host_port(address, strict=True)
    except ValueError as error:
        raise UserError(f"--dask {address!r}: no address ({error}); {advice}") from error
    try:
        # In a separate thread, since a notebook already runs an event loop in this one.
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(asyncio.run, _identity(address)).result()
    except Exception as error:  # Another program may listen there and send anything.
        raise UserError(f"--dask {address}: no scheduler answers within {_ANSWER:.0f} s; {advice}") from error
    if answer.get("type") != "Scheduler":
        raise UserError(f"--dask {address}: a Dask {str(answer.get('type')).lower()}, not a scheduler; {advice}")
    return len(answer["workers"]), max(1, sum(int(each["nthreads"]) for each in answer["workers"].values()))


async def _identity(address: str) -> dict[str, Any]:
    from distributed.core import connect

    async with asyncio.timeout(_ANSWER):
        comm = await connect(address, timeout=_ANSWER)
        try:
            await comm.write({"op": "identity", "reply": True})
            return dict(await comm.read())
        finally:
            comm.abort()


@contextmanager
def _silent(library: str) -> Iterator[None]:
    """Silence the library's tracebacks about lost connections; we report them in one line."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.split(".")[0] == library]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
