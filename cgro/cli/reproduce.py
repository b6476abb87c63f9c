"""`cgro reproduce`: run every experiment, check and figure, and write the report."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgro.base.files import remove_leftovers
from cgro.base.machine import available_cores
from cgro.cli.check import CHECK_FAILED
from cgro.cli.check import Preset as CheckPreset
from cgro.cli.reading import Rest
from cgro.cli.work import Work, obtain, stored_context, worker_count
from cgro.runs.registry import find, find_all

if TYPE_CHECKING:  # imported where work begins
    from concurrent.futures import Future

    import xarray as xr

    from cgro.plots.figure import Figure

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Run every experiment and check, draw every figure, and write RESULTS/report.html."""


def run(options: Options, _rest: Rest) -> int:
    """Run, check, draw, write the report and print its path; returns 1 if a check fails."""
    from cgro.claims import checking
    from cgro.plots.report import Check, Section, Top, write_report
    from cgro.runs.workers import processes

    start = time.perf_counter()
    preset: CheckPreset = "quick" if options.preset == "quick" else "deep"
    jobs = available_cores() if options.jobs is None else options.jobs
    results: dict[str, xr.Dataset] = {}
    figures: dict[str, Figure] = find_all("figure")
    drawn: dict[str, Future[dict[str, Path]]] = {}
    for folder in (options.results, options.results / "figures"):
        remove_leftovers(folder)
    with processes(jobs) as pool:  # one pool for everything: starting it takes seconds
        for name, experiment in find_all("experiment").items():
            config = experiment.preset(options.preset)
            own = worker_count(options, experiment, config)
            with stored_context(options, experiment.cells or name, own, pool if own > 1 else None) as context:
                _, results[name] = obtain(experiment, name, config, context, options)
            for drawing, figure in figures.items():
                if figure.experiment == name:  # drawn where a process is idle, while the next experiment is computed
                    drawn[drawing] = pool.submit(_draw, drawing, results[name], options.results / "figures")
        wanted = {name: claim.preset(preset) for name, claim in find_all("check").items()}
        checked = checking.run_checks(wanted, options.results / "check", executor=pool, quiet=options.quiet)
        files = {name: written.result() for name, written in drawn.items()}
    names = sorted(figures, key=lambda name: (figures[name].order, name))
    shown = [results[figures[name].experiment] for name in names]
    sections = [Section.of(name, figures[name], result, files[name]) for name, result in zip(names, shown, strict=True)]
    top = Top.of({name: figures[name] for name in names}, results)
    checks = [Check.of(verdict, find("check", verdict.name), data) for verdict, data in checked]
    path = write_report(options.results / "report.html", sections, results, top, checks)
    log.info("%.0f s in all", time.perf_counter() - start)
    print(path)
    return 0 if all(verdict.as_expected for verdict, _ in checked) else CHECK_FAILED


def _draw(name: str, result: xr.Dataset, folder: Path) -> dict[str, Path]:
    from cgro.plots.output import draw_figure

    return draw_figure(find("figure", name), name, result, folder)
