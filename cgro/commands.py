"""What the commands of `cgro` do."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cgro import checking
from cgro.claim import Verdict
from cgro.configure import parse_config, parse_parameters
from cgro.errors import UserError
from cgro.files import remove_leftovers
from cgro.machine import available_cores, computes_on_gpu
from cgro.plots.output import draw_figure
from cgro.plots.report import Check, Section, Tables, found_words, slack_words, write_report
from cgro.registry import find, find_all
from cgro.sweeps import store
from cgro.sweeps.cluster import dask_cluster
from cgro.sweeps.context import StoredContext
from cgro.sweeps.workers import processes

log = logging.getLogger(__name__)
CHECK_FAILED = 1
OPENING = (
    "phase-transition", "image-cgro", "image-stages", "robust-overfitting", "width-sweep", "flatness", "certified-cgro",
)  # fmt: skip
"""Figures that open the report, in this order; the others follow by name."""


def show_list() -> int:
    """Print every experiment, check and figure with a line on each."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("kind", "name", "what it is"):
        table.add_column(heading)
    for kind in ("experiment", "check", "figure"):
        for name, module in find_all(kind).items():
            table.add_row(kind, name, module.CLAIM.statement if kind == "check" else module.TITLE)
    Console().print(table)
    return 0


def simulate(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run one experiment, store its result and say where it lies."""
    module = find("experiment", options.name)
    config = parse_config(module, options, fields)
    with _context(options, options.name, _jobs(options, module, config)) as context:
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
    remove_leftovers(path.parent)
    if path.exists() and not options.fresh:
        log.info("%s: stored already, %s", name, path)
        return path, store.load_result(path, name, config)
    log.info("%s: computing", name)
    store.git_commit()  # remembered as it is now
    start = time.perf_counter()
    result = module.run(config, context)
    preset = ("--preset", options.preset) if options.preset != "quick" else ()
    command = shlex.join(["cgro", "simulate", name, *preset, *fields])
    made = store.provenance(config, time.perf_counter() - start)
    store.save(result.assign_attrs(made, experiment=name, command=command), path)
    log.info("%s: %.0f s, %s", name, time.perf_counter() - start, path)
    return path, store.load(path)


@contextmanager
def _context(
    options: argparse.Namespace, name: str, jobs: int, executor: Executor | None = None
) -> Iterator[StoredContext]:
    with nullcontext(executor) if options.dask is None else dask_cluster(options.dask) as there:
        yield StoredContext(
            options.results / name,
            jobs=jobs,
            executor=there,
            data_dir=options.data_dir,
            fresh=options.fresh,
            quiet=options.quiet,
        )


def _jobs(options: argparse.Namespace, module: ModuleType, config: Any) -> int:
    """Worker processes: as asked for, else one for each core where cells use one core; on a GPU they would share it."""
    if options.jobs is not None:
        return int(options.jobs)
    return available_cores() if getattr(module, "ONE_CORE_CELLS", False) and not computes_on_gpu(config) else 1


def check(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run checks and print a table of verdicts, or JSON; 1 if one is not as expected."""
    modules = {name: find("check", name) for name in options.names} if options.names else find_all("check")
    if fields and len(modules) != 1:
        raise UserError(f"{fields[0]}: parameters belong to one check; name it, `cgro check NAME {fields[0]} ...`")
    wanted = {
        name: parse_parameters(module.CLAIM, name, options, fields) if fields else module.CLAIM.preset(options.preset)
        for name, module in modules.items()
    }
    jobs = available_cores() if options.jobs is None else options.jobs
    run = {"jobs": jobs, "time_limit": options.time_limit, "quiet": options.quiet}
    verdicts = [verdict for verdict, _ in checking.run_checks(wanted, options.results / "check", **run)]
    again = checking.repeat(verdicts, options.seeds, options.results / "check", **run) if options.seeds else {}
    verdicts = [checking.shown(v, again.get(v.name, ())) for v in verdicts]
    if options.json:
        print(json.dumps([asdict(v) | {"as_expected": v.as_expected} for v in verdicts], indent=2))
    else:
        _print_verdicts(verdicts, in_full=bool(options.names))
    return 0 if all(v.as_expected for v in verdicts) else CHECK_FAILED


def _print_verdicts(verdicts: Sequence[Verdict], *, in_full: bool) -> None:
    """The table; below it what was found, of all or of those that did not simply hold."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, ratio in (("check", 5), ("claim", 12), ("evidence", 3), ("tested", 8)):
        table.add_column(heading, overflow="fold", ratio=ratio)
    table.add_column("slack", justify="right")
    table.add_column("verdict")
    area = ""
    for v in verdicts:
        if v.area != area:
            area = v.area
            table.add_row(f"[bold]{escape(area)}[/bold]")
        claim = f"{escape(v.statement)}\n[dim]{escape(f'{v.source} {v.tag}')}[/dim]"
        cells = (escape(word) for word in (v.name, v.evidence, v.tested, slack_words(v)))
        name, evidence, tested, slack = cells
        table.add_row(name, claim, evidence, tested, slack, f"[{_color(v)}]{v.words}[/{_color(v)}]")
    console.print(table)
    for v in verdicts:
        if in_full or v.outcome != "holds" or not v.as_expected:
            console.print(f"\n[bold]{escape(v.name)}[/bold]: {escape(found_words(v))}", highlight=False)
    outcomes, kinds = Counter(v.words for v in verdicts), Counter(v.evidence for v in verdicts)
    console.print(f"\nVerdicts: {_listed(outcomes)}. Evidence: {_listed(kinds)}.", highlight=False, soft_wrap=True)


def _color(verdict: Verdict) -> str:
    return "green" if verdict.as_expected else "yellow" if verdict.outcome == "undecided" else "red"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def _draw(name: str, result: xr.Dataset, folder: Path) -> dict[str, Path]:
    return draw_figure(find("figure", name), name, result, folder)


def figure(options: argparse.Namespace) -> int:
    """Draw figures from stored results; prints the files."""
    modules = {name: find("figure", name) for name in options.names} if options.names else find_all("figure")
    if options.result is not None and len(modules) != 1:
        raise UserError(f"--result {options.result}: one result belongs to one figure; name the figure")
    output = options.output or options.results / "figures"
    remove_leftovers(output)
    for name, module in modules.items():
        result = _stored_result(module, options)
        print(*draw_figure(module, name, result, output).values(), sep="\n")
    return 0


def _stored_result(module: ModuleType, options: argparse.Namespace) -> xr.Dataset:
    if options.result is not None:
        if not options.result.exists():
            raise UserError(f"result file {options.result}: not found; give a file that `cgro simulate` printed")
        return store.load_result(options.result, module.EXPERIMENT)
    experiment = module.EXPERIMENT
    config = getattr(find("experiment", experiment).Config, options.preset)()
    path = store.result_path(options.results, experiment, config)
    if not path.exists():
        raise UserError(
            f"result {path}: not there; make it with `cgro simulate {experiment} --preset {options.preset} "
            f"--results {options.results}`"
        )
    return store.load_result(path, experiment, config)


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
            own = _jobs(options, module, config)
            with _context(options, name, own, pool if own > 1 else None) as context:
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
