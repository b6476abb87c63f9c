"""Computes cells of work on any executor, remembers finished ones, and shows progress with rate and time left."""

from __future__ import annotations

import logging
import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import nullcontext
from pathlib import Path

import xarray as xr
from tqdm import tqdm

from cgro import interrupts
from cgro.errors import UserError
from cgro.experiment import C, CellFunction, Progress
from cgro.files import StorageError, require_writable
from cgro.sweeps import store
from cgro.sweeps.workers import processes, require_jobs

log = logging.getLogger(__name__)


class StoredContext:
    """A context that stores every finished cell in `folder`/cells, so that a killed sweep goes on where it was.

    jobs: worker processes; 1 computes here, with all cores inside a cell. executor: any `concurrent.futures`
    executor in place of those (a Dask client's `get_executor()`, say). fresh: compute again what is stored. quiet:
    no progress bar.

    Cells are found by the content of their dataclass and the name of their function; where two processes share a folder
    they may compute a cell twice, and the second rename puts the same numbers in the same place.
    """

    def __init__(
        self,
        folder: Path,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        fresh: bool = False,
        quiet: bool = False,
    ) -> None:
        require_jobs(jobs)
        # Absolute, because workers may run elsewhere.
        self.folder, self.jobs, self.executor, self.fresh, self.quiet = (
            folder.absolute(),
            jobs,
            executor,
            fresh,
            quiet,
        )

    def map(self, function: CellFunction[C], cells: Sequence[C]) -> list[xr.Dataset]:
        """Results of `function` on each cell, in order.

        A failing cell does not keep the others from being computed and stored.

        Raises: UserError after all cells, if some failed; StorageError at once, if the results folder cannot be
        written.
        """
        paths = [self._path(function, cell) for cell in cells]
        results: dict[int, xr.Dataset] = {}
        if not self.fresh:
            results = {k: store.load(path) for k, path in enumerate(paths) if path.exists()}
        missing = [k for k in range(len(cells)) if k not in results]
        if results and missing:
            log.info("%d of %d cells are stored already", len(results), len(cells))
        if missing:
            require_writable(self.folder / "cells")
        total = sum(cell.work for cell in cells)
        done = sum(cells[k].work for k in results)
        with tqdm(
            total=total,
            initial=done,
            unit="",
            unit_scale=True,
            disable=self.quiet or not missing,
            smoothing=0.1,
            leave=False,
        ) as bar:
            failures = (
                self._here(function, cells, paths, missing, results, bar)
                if self._serial
                else (self._elsewhere(function, cells, paths, missing, results, bar))
            )
        if failures:
            raise _summary(failures, cells) from failures[0][1]
        return [results[k] for k in range(len(cells))]

    @property
    def _serial(self) -> bool:
        return self.executor is None and self.jobs == 1

    def _path(self, function: CellFunction[C], cell: C) -> Path:
        name = f"{function.__module__}.{function.__qualname__}"
        return self.folder / "cells" / f"{store.content_hash(name, store.as_json(cell))}.nc"

    def _here(
        self,
        function: CellFunction[C],
        cells: Sequence[C],
        paths: list[Path],
        missing: list[int],
        results: dict[int, xr.Dataset],
        bar: tqdm,
    ) -> list[tuple[int, Exception]]:
        failures: list[tuple[int, Exception]] = []
        for k in missing:
            try:
                results[k] = compute_and_store(function, cells[k], paths[k], bar.update)
            except StorageError:
                raise
            except Exception as error:
                failures.append((k, error))
        return failures

    def _elsewhere(
        self,
        function: CellFunction[C],
        cells: Sequence[C],
        paths: list[Path],
        missing: list[int],
        results: dict[int, xr.Dataset],
        bar: tqdm,
    ) -> list[tuple[int, Exception]]:
        failures: list[tuple[int, Exception]] = []
        with nullcontext(self.executor) if self.executor is not None else processes(self.jobs) as pool:
            with interrupts.unheard_by_children():
                futures: dict[Future[xr.Dataset], int] = {
                    pool.submit(compute_and_store, function, cells[k], paths[k]): k for k in missing
                }
            try:
                for future in as_completed(futures):
                    k = futures[future]
                    try:
                        results[k] = future.result()
                    except StorageError:
                        raise
                    except Exception as error:
                        failures.append((k, error))
                    bar.update(cells[k].work)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return sorted(failures, key=lambda failure: failure[0])


def compute_and_store(
    function: CellFunction[C], cell: C, path: Path, tick: Callable[[float], object] = lambda _done: None
) -> xr.Dataset:
    """Compute one cell, store it with its provenance, and return it as it will be read back."""
    store.git_commit()  # remembered as it is now
    start = time.perf_counter()
    scratch = path.with_suffix("")
    result = function(cell, Progress(tick, scratch))
    result = result.assign_attrs(store.provenance(cell, time.perf_counter() - start))
    store.save(result, path)
    shutil.rmtree(scratch, ignore_errors=True)
    return store.load(path)


def _summary(failures: Sequence[tuple[int, Exception]], cells: Sequence[C]) -> UserError:
    """One error that stands for all failures."""
    k, error = failures[0]
    if isinstance(error, UserError) and len(failures) == len(cells) and len({str(e) for _, e in failures}) == 1:
        return error  # a mistake in what all cells have in common
    cell = textwrap.shorten(str(cells[k]), 200, placeholder=" ...")
    return UserError(
        f"{len(failures)} of {len(cells)} cells failed, first number {k + 1}, {cell}: {type(error).__name__}: {error}; "
        "the finished cells are stored: run the same command again to try the rest"
    )
