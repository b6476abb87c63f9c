"""What `cgro simulate` and `cgro check` do."""

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
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cgro.base.errors import UserError
from cgro.base.files import remove_leftovers
from cgro.base.machine import available_cores, computes_on_gpu
from cgro.base.work import count_diverged
from cgro.claims import checking
from cgro.claims.claim import Verdict
from cgro.cli.configure import parse_config, parse_parameters
from cgro.plots.words import found_words, slack_words
from cgro.runs import store
from cgro.runs.cluster import dask_cluster
from cgro.runs.context import StoredContext
from cgro.runs.experiment import Experiment
from cgro.runs.registry import did_you_mean, find, find_all

log = logging.getLogger(__name__)
CHECK_FAILED = 1
ALL_DIVERGED = 1


def simulate(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run one experiment, store its result and say where it lies; 1 if all of its runs diverged."""
    experiment: Experiment[Any] = find("experiment", options.name)
    config = parse_config(experiment, options, fields)
    with stored_context(options, options.name, worker_count(options, experiment, config)) as context:
        path, result = obtain(experiment, options.name, config, context, options, fields)
    print(path)
    diverged, runs = count_diverged(result)
    if diverged:
        log.warning(
            "warning: %s runs diverged: a number overflowed, and records from there on are missing (NaN); "
            "give a smaller learning rate",
            f"all {runs:,}" if diverged == runs else f"{diverged:,} of {runs:,}",
        )
    return ALL_DIVERGED if runs and diverged == runs else 0


def obtain(
    experiment: Experiment[Any],
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
        stored = store.load_result(path, name, config)
        store.require_same_files(f"result file {path}", stored.attrs, config)
        return path, stored
    log.info("%s: computing", name)
    store.git_commit()  # remembered as it is now
    start = time.perf_counter()
    result = experiment.run(config, context)
    preset = ("--preset", options.preset) if options.preset != "quick" else ()
    command = shlex.join(["cgro", "simulate", name, *preset, *fields])
    made = store.provenance(config, time.perf_counter() - start)
    store.save(result.assign_attrs(made, experiment=name, command=command), path)
    log.info("%s: %.0f s, %s", name, time.perf_counter() - start, path)
    return path, store.load(path)


@contextmanager
def stored_context(
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


def worker_count(options: argparse.Namespace, experiment: Experiment[Any], config: Any) -> int:
    """Worker processes: as asked for, else one for each core where cells use one core; on a GPU they would share it."""
    if options.jobs is not None:
        return int(options.jobs)
    return available_cores() if experiment.one_core_cells and not computes_on_gpu(config) else 1


def check(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run checks and print a table of verdicts, or JSON; 1 if one is not as expected."""
    claims = {name: find("check", name) for name in options.names} if options.names else find_all("check")
    if fields and len(claims) != 1:
        hint = did_you_mean(fields[0].partition("=")[0], options.own_options, cutoff=0.6)
        raise UserError(
            f"{fields[0]}: {hint}parameters belong to one check; name it, `cgro check NAME {fields[0]} ...`"
        )
    wanted = {
        name: parse_parameters(claim, name, options, fields) if fields else claim.preset(options.preset)
        for name, claim in claims.items()
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
