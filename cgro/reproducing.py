"""What `cgro reproduce` does: every experiment, check and figure, and the report of them."""

from __future__ import annotations

import argparse
import logging
import time
from itertools import repeat
from pathlib import Path
from typing import Literal

import xarray as xr

from cgro import checking
from cgro.commands import CHECK_FAILED, obtain, stored_context, worker_count
from cgro.files import remove_leftovers
from cgro.machine import available_cores
from cgro.plots.output import draw_figure
from cgro.plots.report import Check, Section, Tables, write_report
from cgro.registry import find, find_all
from cgro.sweeps.workers import processes

log = logging.getLogger(__name__)
OPENING = (
    "phase-transition", "image-cgro", "image-stages", "robust-overfitting", "width-sweep", "flatness", "certified-cgro",
)  # fmt: skip
"""Figures that open the report, in this order; the others follow by name."""


def reproduce(options: argparse.Namespace) -> int:
    """Every experiment, check and figure, and the report of them; 1 if a check fails."""
    start = time.perf_counter()
    preset: Literal["quick", "deep"] = "quick" if options.preset == "quick" else "deep"
    jobs = available_cores() if options.jobs is None else options.jobs
    results: dict[str, xr.Dataset] = {}
    for folder in (options.results, options.results / "figures"):
        remove_leftovers(folder)
    with processes(jobs) as pool:  # once for everything: starting them takes seconds
        for name, module in find_all("experiment").items():
            config = getattr(module.Config, options.preset)()
            own = worker_count(options, module, config)
            with stored_context(options, name, own, pool if own > 1 else None) as context:
                _, results[name] = obtain(module, name, config, context, options)
        wanted = {name: module.CLAIM.preset(preset) for name, module in find_all("check").items()}
        checked = checking.run_checks(wanted, options.results / "check", executor=pool, quiet=options.quiet)
        figures = find_all("figure")
        names = sorted(figures, key=lambda name: (OPENING.index(name) if name in OPENING else len(OPENING), name))
        shown = [results[figures[name].EXPERIMENT] for name in names]
        drawn = list(pool.map(_draw, names, shown, repeat(options.results / "figures")))
    sections = [
        Section.of(name, figures[name], result, files) for name, result, files in zip(names, shown, drawn, strict=True)
    ]
    reference = find("experiment", "reference-points")
    measured = results["reference-points"]
    tables = Tables(
        highlights=[
            figures[name].highlight(result)
            for name, result in zip(names, shown, strict=True)
            if hasattr(figures[name], "highlight")
        ],
        comparisons=reference.table_rows(measured),
        notes=reference.notes(),
        seeds=measured.sizes["seed"],
        checks=[Check.of(verdict, find("check", verdict.name), data) for verdict, data in checked],
    )
    path = write_report(options.results / "report.html", sections, results, tables)
    log.info("%.0f s in all", time.perf_counter() - start)
    print(path)
    return 0 if all(verdict.as_expected for verdict, _ in checked) else CHECK_FAILED


def _draw(name: str, result: xr.Dataset, folder: Path) -> dict[str, Path]:
    return draw_figure(find("figure", name), name, result, folder)
