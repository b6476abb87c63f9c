"""Compute cells of work on any executor, store finished cells, and show progress with rate and remaining time."""

from __future__ import annotations

import logging
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import xarray as xr
from tqdm import tqdm

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.files import StorageError, require_writable
from cgro.base.work import C, CellFunction, Progress
from cgro.data.folder import reading_from
from cgro.runs import store
from cgro.runs.cell_store import Cells, Name, Writer
from cgro.runs.packing import Packed, attributes, pack
from cgro.runs.workers import KILLED, WorkersLostError, processes, require_jobs

log = logging.getLogger(__name__)

SHOWN_AFTER = 0.5
"""Seconds until progress is shown, so that an error in the first cell is the only line printed."""


class StoredContext:
    """A context that stores every finished cell in `folder`/cells, so that a killed sweep can be resumed.

    jobs: worker processes; 1 computes in this process, with all cores in each cell. executor: any `concurrent.futures`
    executor instead of worker processes, e.g. `cgro.runs.cluster.dask_cluster`. data_dir: folder of image data sets,
    also for workers. fresh: recompute stored cells and restart unfinished ones. quiet: no progress bar.

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
        with nullcontext(self.executor) if self.executor is not None else processes(self.jobs) as pool:
            # Longest first: a long cell started last would leave the other workers idle.
            order = sorted(missing, key=lambda k: -cells[k].work)
            with interrupts.unheard_by_children():
                futures: dict[Future[bytes], int] = {
                    pool.submit(compute, function, cells[k], self._scratch(names[k]), self.data_dir, self.fresh): k
                    for k in order
                }
            try:
                for future in as_completed(futures):
                    yield futures[future], partial(_result, future)
                    bar.update(cells[futures[future]].work)
            finally:
                for future in futures:
                    future.cancel()


def _result(future: Future[bytes]) -> bytes:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise WorkersLostError(KILLED) from error


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
