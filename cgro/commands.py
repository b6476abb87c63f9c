"""What the commands of `cgro` do."""

from __future__ import annotations

import argparse
import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cgro.configure import parse_config
from cgro.experiment import UserError
from cgro.plots.output import draw_figure
from cgro.plots.report import Section, Tables, write_report
from cgro.registry import find, find_all
from cgro.sweeps import store
from cgro.sweeps.context import StoredContext
from cgro.verdict import Verdict

log = logging.getLogger(__name__)
CHECK_FAILED = 1
OPENING = "phase-transition image-cgro certified-cgro phase-diagram"
"""Figures that open the report, in this order; the others follow by name."""


def show_list() -> int:
    """Print every experiment, check and figure with a line on each."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("kind", "name", "what it is"):
        table.add_column(heading)
    for kind in ("experiment", "check", "figure"):
        for name, module in find_all(kind).items():
            table.add_row(kind, name, module.TITLE)
    Console().print(table)
    return 0


def simulate(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run one experiment, store its result and say where it lies."""
    module = find("experiment", options.name)
    config = parse_config(module, options, fields)
    with _context(options, options.name) as context:
        path, _ = obtain(module, options.name, config, context, options, fields)
    print(path)
    return 0


def obtain(
    module: ModuleType,
    name: str,
    config: Any,
    context: StoredContext,
    options: argparse.Namespace,
    fields: Sequence[str] = (),
) -> tuple[Path, xr.Dataset]:
    """The stored result of a configuration, computed now if it is not there."""
    path = store.result_path(options.results, name, config)
    if path.exists() and not options.fresh:
        log.info("%s: stored already, %s", name, path)
        return path, store.load(path)
    log.info("%s: computing", name)
    start = time.perf_counter()
    result = module.run(config, context)
    preset = ("--preset", options.preset) if options.preset != "quick" else ()
    command = shlex.join(["cgro", "simulate", name, *preset, *fields])
    made = store.provenance(config, time.perf_counter() - start)
    store.save(result.assign_attrs(made, experiment=name, command=command), path)
    log.info("%s: %.0f s, %s", name, time.perf_counter() - start, path)
    return path, store.load(path)


@contextmanager
def _context(options: argparse.Namespace, name: str) -> Iterator[StoredContext]:
    executor = None
    client = None
    if options.dask:
        try:
            from distributed import Client
        except ImportError as error:
            raise UserError("--dask: the package distributed is not installed; pip install 'cgro[dask]'") from error
        try:
            client = Client(options.dask)
        except (OSError, ValueError) as error:
            raise UserError(
                f"--dask {options.dask}: no scheduler answers ({error}); give the address that it printed, tcp://HOST:PORT"
            ) from error
        executor = client.get_executor()
    try:
        yield StoredContext(
            options.results / name,
            jobs=options.jobs,
            executor=executor,
            fresh=options.fresh,
            quiet=options.quiet,
        )
    finally:
        if client is not None:
            client.close()


def check(names: Sequence[str]) -> int:
    """Run checks and print a table of verdicts; 1 if one fails."""
    verdicts = run_checks(names)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("claim", "source", "evidence", "bound", "measured", "slack", "verdict"):
        table.add_column(heading, overflow="fold")
    for v in verdicts.values():
        outcome = "[green]holds[/green]" if v.holds else "[red]FAILS[/red]"
        words = (v.claim, f"{v.source} {v.tag}", v.evidence, v.bound, v.measured, f"{v.slack:.3g}")
        table.add_row(*(escape(word) for word in words), outcome)
    Console().print(table)
    return 0 if all(v.holds for v in verdicts.values()) else CHECK_FAILED


def run_checks(names: Sequence[str]) -> dict[str, Verdict]:
    """Verdicts by name of check."""
    modules = {name: find("check", name) for name in names} if names else find_all("check")
    return {name: module.check() for name, module in modules.items()}


def figure(options: argparse.Namespace) -> int:
    """Draw figures from stored results; prints the files."""
    modules = {name: find("figure", name) for name in options.names} if options.names else find_all("figure")
    if options.result is not None and len(modules) != 1:
        raise UserError(f"--result {options.result}: one result belongs to one figure; name the figure")
    output = options.output or options.results / "figures"
    for name, module in modules.items():
        result = _stored_result(module, options)
        print(*draw_figure(module, name, result, output).values(), sep="\n")
    return 0


def _stored_result(module: ModuleType, options: argparse.Namespace) -> xr.Dataset:
    if options.result is not None:
        if not options.result.exists():
            raise UserError(f"result file {options.result}: not found; give a file that `cgro simulate` printed")
        result = store.load(options.result)
        if result.attrs.get("experiment") != module.EXPERIMENT:
            raise UserError(
                f"result file {options.result}: of {result.attrs.get('experiment', 'a part of a sweep')}; the figure "
                f"draws results of {module.EXPERIMENT}"
            )
        return result
    experiment = module.EXPERIMENT
    config = getattr(find("experiment", experiment).Config, options.preset)()
    path = store.result_path(options.results, experiment, config)
    if not path.exists():
        raise UserError(
            f"result {path}: not there; make it with `cgro simulate {experiment} --preset {options.preset} "
            f"--results {options.results}`"
        )
    return store.load(path)


def reproduce(options: argparse.Namespace) -> int:
    """Every experiment, check and figure, and the report of them; 1 if a check fails."""
    start = time.perf_counter()
    results: dict[str, xr.Dataset] = {}
    for name, module in find_all("experiment").items():
        with _context(options, name) as context:
            _, results[name] = obtain(module, name, getattr(module.Config, options.preset)(), context, options)
    verdicts = run_checks(())
    sections, highlights = [], []
    figures = find_all("figure")
    for name in sorted(figures, key=lambda name: (name not in OPENING, OPENING.find(name), name)):
        module = figures[name]
        result = results[module.EXPERIMENT]
        files = draw_figure(module, name, result, options.results / "figures")
        sections.append(Section.of(name, module, result, files))
        if hasattr(module, "highlight"):
            highlights.append(module.highlight(result))
    reference = find("experiment", "reference-points")
    measured = results["reference-points"]
    tables = Tables(
        highlights=highlights,
        comparisons=reference.table_rows(measured),
        notes=reference.notes(),
        seeds=measured.sizes["seed"],
        verdicts=list(verdicts.values()),
    )
    path = write_report(options.results / "report.html", sections, results, tables)
    log.info("%.0f s in all", time.perf_counter() - start)
    print(path)
    return 0 if all(v.holds for v in verdicts.values()) else CHECK_FAILED
