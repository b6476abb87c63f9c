"""What `cgro reproduce` does: every experiment, check and figure, and the report of them."""

from __future__ import annotations

import argparse
import logging
import time
from itertools import repeat
from pathlib import Path
from typing import Literal

import xarray as xr

from cgro.base.files import remove_leftovers
from cgro.base.machine import available_cores
from cgro.claims import checking
from cgro.cli.commands import CHECK_FAILED, obtain, stored_context, worker_count
from cgro.plots.figure import Figure
from cgro.plots.output import draw_figure
from cgro.plots.report import Check, Section, write_report
from cgro.runs.registry import find, find_all
from cgro.runs.workers import processes

log = logging.getLogger(__name__)


def reproduce(options: argparse.Namespace) -> int:
    """Every experiment, check and figure, and the report of them; 1 if a check fails."""
    start = time.perf_counter()
    preset: Literal["quick", "deep"] = "quick" if options.preset == "quick" else "deep"
    jobs = available_cores() if options.jobs is None else options.jobs
    results: dict[str, xr.Dataset] = {}
    for folder in (options.results, options.results / "figures"):
        remove_leftovers(folder)
    with processes(jobs) as pool:  # once for everything: starting them takes seconds
        for name, experiment in find_all("experiment").items():
            config = experiment.preset(options.preset)
            own = worker_count(options, experiment, config)
            with stored_context(options, name, own, pool if own > 1 else None) as context:
                _, results[name] = obtain(experiment, name, config, context, options)
        wanted = {name: claim.preset(preset) for name, claim in find_all("check").items()}
        checked = checking.run_checks(wanted, options.results / "check", executor=pool, quiet=options.quiet)
        figures: dict[str, Figure] = find_all("figure")
        names = sorted(figures, key=lambda name: (figures[name].order, name))
        shown = [results[figures[name].experiment] for name in names]
        drawn = list(pool.map(_draw, names, shown, repeat(options.results / "figures")))
    sections = [
        Section.of(name, figures[name], result, files) for name, result, files in zip(names, shown, drawn, strict=True)
    ]
    highlights = [
        highlight(result)
        for name, result in zip(names, shown, strict=True)
        if (highlight := figures[name].highlight) is not None
    ]
    checks = [Check.of(verdict, find("check", verdict.name), data) for verdict, data in checked]
    path = write_report(options.results / "report.html", sections, results, highlights, checks)
    log.info("%.0f s in all", time.perf_counter() - start)
    print(path)
    return 0 if all(verdict.as_expected for verdict, _ in checked) else CHECK_FAILED


def _draw(name: str, result: xr.Dataset, folder: Path) -> dict[str, Path]:
    return draw_figure(find("figure", name), name, result, folder)
