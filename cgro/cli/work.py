"""Options and computation shared by `cgro simulate`, `cgro reproduce` and `cgro memorized`."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cgro.base.files import remove_leftovers
from cgro.base.machine import available_cores, computes_on_gpu
from cgro.cli.values import Address, Choice, DataDir, Flag, Jobs, Quiet, Results

if TYPE_CHECKING:  # imported where work begins
    import xarray as xr

    from cgro.runs.context import StoredContext
    from cgro.runs.experiment import Experiment

log = logging.getLogger(__name__)
Preset = Literal["quick", "paper"]


def results_folder() -> Path:
    """The default of --results; an empty variable counts as unset."""
    return Path(os.environ.get("CGRO_RESULTS") or "results")


@dataclass(frozen=True, kw_only=True)
class Running:
    """How to compute cells."""

    results: Results = field(default_factory=results_folder)
    jobs: Jobs[int | None] = None
    """Number of worker processes; by default one per core if each cell uses a single core, else 1."""
    dask: Address[str | None] = None
    """Compute on the Dask cluster with this scheduler address, e.g. tcp://HOST:8786; local: on one that is started on
    this machine, with --jobs workers."""
    fresh: Flag = False
    """Recompute stored results."""
    quiet: Quiet = False
    data_dir: DataDir = None


@dataclass(frozen=True, kw_only=True)
class Work(Running):
    """How to run experiments."""

    preset: Choice[Preset] = "quick"
    """quick: about a minute; paper: full scale."""


def obtain(
    experiment: Experiment[Any],
    name: str,
    config: Any,
    context: StoredContext,
    options: Work,
    fields: Sequence[str] = (),
) -> tuple[Path, xr.Dataset]:
    """The stored result of a configuration, or a new one; `fields` are its options as typed."""
    from cgro.runs import store

    path = store.result_path(options.results, name, config)
    remove_leftovers(path.parent)
    if path.exists() and not options.fresh:
        log.info("%s: already stored in %s", name, path)
        stored = store.load_result(path, name, config)
        store.require_same_files(f"result file {path}", stored.attrs, config)
        return path, stored
    log.info("%s: computing", name)
    store.git_commit()  # cached, so that it is the commit at the start of the run
    start = time.perf_counter()
    result = experiment.run(config, context)
    preset = ("--preset", options.preset) if options.preset != "quick" else ()
    command = shlex.join(["cgro", "simulate", name, *preset, *fields])
    made = store.provenance(config, time.perf_counter() - start)
    store.save(result.assign_attrs(made, experiment=name, command=command), path)
    log.info("%s: %.0f s, %s", name, time.perf_counter() - start, path)
    return path, store.load(path)


@contextmanager
def stored_context(options: Running, name: str, jobs: int, executor: Executor | None = None) -> Iterator[StoredContext]:
    """The context that computes and stores the cells of an experiment."""
    from cgro.runs.cluster import dask_cluster
    from cgro.runs.context import StoredContext

    with (
        nullcontext(executor) if options.dask is None else dask_cluster(options.dask, jobs) as there,
        StoredContext(
            options.results / name,
            jobs=jobs,
            executor=there,
            data_dir=options.data_dir,
            fresh=options.fresh,
            quiet=options.quiet,
        ) as context,
    ):
        yield context


def worker_count(options: Work, experiment: Experiment[Any], config: Any) -> int:
    """Number of worker processes: as asked for, else one per core if cells use one core each and no GPU."""
    if options.jobs is not None:
        return options.jobs
    return available_cores() if experiment.one_core_cells and not computes_on_gpu(config) else 1
