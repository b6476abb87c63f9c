"""Compute cells of work on any executor, store finished cells, and show progress with rate and remaining time."""

from __future__ import annotations

import logging
import shutil
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import xarray as xr
from tqdm import tqdm

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.files import StorageError, require_writable
from cgro.base.machine import available_cores
from cgro.base.work import C, CellFunction, Progress
from cgro.data.folder import reading_from
from cgro.runs import store
from cgro.runs.cell_store import Cells, Name, Writer
from cgro.runs.packing import Packed, attributes, pack
from cgro.runs.workers import KILLED, WorkersLostError, processes, require_jobs

log = logging.getLogger(__name__)

_AHEAD = 2
"""Batches for each worker, one of them waiting, so that no worker does."""
_BATCH_SECONDS, _MOST = 0.5, 1000
"""Expected time and number of cells of a batch: its worker may die, and messages cost little beside it."""
SHOWN_AFTER = 0.5
"""Seconds until progress is shown, so that an error in the first cell is the only line printed."""


class StoredContext:
    """A context that stores every finished cell in `folder`/cells, so that a killed sweep can be resumed.

    jobs: worker processes; 1 computes in this process, with all cores in each cell. executor: any `concurrent.futures`
    executor instead of worker processes, e.g. `cgro.runs.cluster.dask_cluster`. data_dir: folder of image data sets,
    also for workers. fresh: recompute stored cells and restart unfinished ones. quiet: no progress bar.

    In a `with` statement worker processes are started once, when first needed, and end with it; otherwise each `map`
    starts its own, which takes seconds.

    Cells are identified by the content of their dataclass and the name of their function. Only this process writes
    them, so workers need not share its file system. If two processes share a folder, both may compute a cell; the
    second overwrites it with the same numbers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        data_dir: Path | None = None,
        fresh: bool = False,
        quiet: bool = False,
    ) -> None:
        require_jobs(jobs)
        # Absolute, since workers may run in another folder.
        self.folder, self.jobs, self.executor = folder.absolute(), jobs, executor
        self.data_dir = data_dir if data_dir is None else data_dir.absolute()
        self.fresh, self.quiet = fresh, quiet
        self.cells = Cells(self.folder / "cells")
        self._entered: ExitStack | None = None
        self._started: Executor | None = None

    def __enter__(self) -> Self:
        self._entered = ExitStack().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._entered is not None
        entered, self._entered, self._started = self._entered, None, None
        entered.__exit__(kind, error, trace)

    @contextmanager
    def _workers(self) -> Iterator[Executor]:
        """The executor, or worker processes."""
        if self.executor is not None:
            yield self.executor
        elif self._entered is None:
            with processes(self.jobs) as pool:
                yield pool
        else:
            if self._started is None:
                self._started = self._entered.enter_context(processes(self.jobs))
            yield self._started

    def map(self, function: CellFunction[C], cells: Sequence[C]) -> Sequence[xr.Dataset]:
        """Results of `function` on each cell, in order. They are kept packed, and each is unpacked when asked for.

        If a cell fails, the others are still computed and stored.

        Raises: UserError for a stored cell of other image files, and after all cells if some failed; StorageError at
        once if the results folder cannot be written; WorkersLostError at once if no worker is left.
        """
        names = [Name.of(function, cell) for cell in cells]
        results = {} if self.fresh else self.cells.find(names)
        with reading_from(self.data_dir):
            for k, content in results.items():
                store.require_same_files(f"cell {names[k].key} in {self.cells.path}", attributes(content), cells[k])
        missing = [k for k in range(len(cells)) if k not in results]
        if results and missing:
            log.info("%d of %d cells are already stored", len(results), len(cells))
        if missing:
            require_writable(self.cells.folder)
        failures: list[tuple[int, Exception]] = []
        with self._progress(cells, missing) as bar, Writer(self.cells, self._remove_scratch) as writer:
            for k, finished in self._computed(function, cells, names, missing, bar):
                try:
                    content = finished()
                except (StorageError, WorkersLostError):
                    raise
                except Exception as error:
                    failures.append((k, error))
                    continue
                writer.put(names[k], content)
                results[k] = content
        if failures:
            raise _summary(sorted(failures, key=lambda failure: failure[0]), cells) from failures[0][1]
        return Packed([results[k] for k in range(len(cells))])

    def _progress(self, cells: Sequence[C], missing: Sequence[int]) -> tqdm:
        total, left = sum(cell.work for cell in cells), sum(cells[k].work for k in missing)
        return tqdm(
            total=total,
            initial=total - left,
            unit="",
            unit_scale=True,
            disable=self.quiet or not missing,
            smoothing=0.1,
            delay=SHOWN_AFTER,
            leave=False,
        )

    def _remove_scratch(self, name: Name) -> None:
        shutil.rmtree(self._scratch(name), ignore_errors=True)

    def _scratch(self, name: Name) -> Path:
        """Folder where the cell may keep unfinished work."""
        return self.cells.folder / name.key

    def _computed(
        self, function: CellFunction[C], cells: Sequence[C], names: list[Name], missing: list[int], bar: tqdm
    ) -> Iterator[tuple[int, Callable[[], bytes]]]:
        """Missing cells as they finish, each with a function that returns its packed Dataset or raises its error."""
        if self.executor is None and self.jobs == 1:
            for k in missing:
                yield (
                    k,
                    partial(
                        compute, function, cells[k], self._scratch(names[k]), self.data_dir, self.fresh, bar.update
                    ),
                )
            return
        with self._workers() as pool:
            # Longest first: a long cell started last would leave the other workers idle.
            waiting = Waiting(sorted(missing, key=lambda k: -cells[k].work), [cell.work for cell in cells])
            running: dict[Future[Batch], list[int]] = {}
            try:
                while waiting or running:
                    while waiting and len(running) < _AHEAD * (workers := workers_of(pool)):
                        batch = waiting.take(workers)
                        places = [self._scratch(names[k]) for k in batch]
                        with interrupts.unheard_by_children():
                            future = pool.submit(
                                compute_all, function, [cells[k] for k in batch], places, self.data_dir, self.fresh
                            )
                        running[future] = batch
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        batch = running.pop(future)
                        yield from zip(batch, _results(future, len(batch)), strict=True)
                        waiting.took(batch, future)
                        bar.update(sum(cells[k].work for k in batch))
            finally:
                for future in running:
                    future.cancel()


Batch = tuple[list[bytes | Exception], float]
"""Packed Datasets of cells, or their errors, and how many seconds they took."""


class Waiting:
    """Cells that wait for a worker, in batches: many quick cells at once, one slow cell alone.

    How long a unit of work takes is measured on the batches that have finished; before, a batch is one cell.
    """

    def __init__(self, order: Sequence[int], work: Sequence[float]) -> None:
        self._left, self._work = deque(order), work
        self._seconds = self._done = 0.0

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self, workers: int) -> list[int]:
        """The next batch, no more than a worker's share of what is left."""
        most = max(1, min(_MOST, len(self._left) // (_AHEAD * workers)))
        batch = [self._left.popleft()]
        if self._done > 0:
            each = self._seconds / self._done
            expected = each * self._work[batch[0]]
            while self._left and len(batch) < most and expected + each * self._work[self._left[0]] <= _BATCH_SECONDS:
                expected += each * self._work[self._left[0]]
                batch.append(self._left.popleft())
        return batch

    def took(self, batch: Sequence[int], future: Future[Batch]) -> None:
        """Learn from a finished batch."""
        if future.exception() is None:
            self._seconds += future.result()[1]
            self._done += sum(self._work[k] for k in batch)


def workers_of(pool: Executor) -> int:
    """How many cells an executor computes at a time, as far as it says."""
    for name in ("workers", "_max_workers"):
        if isinstance(found := getattr(pool, name, None), int) and found > 0:
            return found
    return available_cores()


def _results(future: Future[Batch], count: int) -> list[Callable[[], bytes]]:
    """For each cell of a batch a function that returns its packed Dataset or raises its error."""
    try:
        found: list[bytes | Exception] = future.result()[0]
    except BrokenExecutor as error:
        lost = WorkersLostError(KILLED)
        lost.__cause__ = error
        found = [lost] * count
    except Exception as error:  # of the executor, or a batch that cannot be sent
        found = [error] * count
    return [partial(_result, each) for each in found]


def _result(found: bytes | Exception) -> bytes:
    if isinstance(found, Exception):
        raise found
    return found


def compute_all(
    function: CellFunction[C], cells: Sequence[C], scratch: Sequence[Path], data_dir: Path | None, fresh: bool
) -> Batch:
    """Compute a batch of cells, one after the other. A cell that fails leaves the others alone."""
    start = time.perf_counter()
    found: list[bytes | Exception] = []
    for cell, place in zip(cells, scratch, strict=True):
        try:
            found.append(compute(function, cell, place, data_dir, fresh))
        except Exception as error:
            found.append(error)
    return found, time.perf_counter() - start


def compute(
    function: CellFunction[C],
    cell: C,
    scratch: Path,
    data_dir: Path | None = None,
    fresh: bool = False,
    tick: Callable[[float], object] = lambda _done: None,
) -> bytes:
    """Compute one cell; returns its packed Dataset with provenance. fresh: discard unfinished work in `scratch`."""
    if fresh:
        shutil.rmtree(scratch, ignore_errors=True)
    store.git_commit()  # cached, so that it is the commit at the start of the run
    start = time.perf_counter()
    with reading_from(data_dir):
        result = function(cell, Progress(tick, scratch))
        made = store.provenance(cell, time.perf_counter() - start)
    return pack(result.assign_attrs(made))


def _summary(failures: Sequence[tuple[int, Exception]], cells: Sequence[C]) -> UserError:
    """One error that summarizes all failures."""
    k, error = failures[0]
    if isinstance(error, UserError) and len(failures) == len(cells) and len({str(e) for _, e in failures}) == 1:
        return error  # the same mistake in all cells
    cell = textwrap.shorten(str(cells[k]), 200, placeholder=" ...")
    return UserError(
        f"{len(failures)} of {len(cells)} cells failed, first number {k + 1}, {cell}: {type(error).__name__}: {error}; "
        "the finished cells are stored: repeat the command to try the rest"
    )
