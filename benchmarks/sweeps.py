"""Speed of reopening a sweep: stored cells compared with one NetCDF file per cell, in one process.

    python benchmarks/sweeps.py [--cells 1000] [--rounds 3] [--output FILE]

The cells are trajectories of the patch model, the same for both. Times are CPU seconds, since reopening is bound by
computation, not by the disk. Every round measures both in turn; the median and range over rounds are reported.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from peers import publish, spread

from cgro.base.machine import available_cores
from cgro.base.work import PlainContext
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import Block, train_block
from cgro.runs import store
from cgro.runs.context import StoredContext

SETTING = PatchSetting(samples=6, patches=2, filters=4, dim=50, steps=100)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(count: int, rounds: int, folder: Path) -> dict[str, object]:
    """The two times and their ratio."""
    cells = [Block((SETTING,), (seed,), "gram", 60, 16, False, "cpu") for seed in range(count)]
    context = StoredContext(folder / "one", quiet=True)
    context.map(train_block, cells)
    files = [folder / "many" / f"{k}.nc" for k in range(count)]
    for path, result in zip(files, PlainContext().map(train_block, cells), strict=True):
        store.save(result, path)
    ours, netcdf = [], []
    for _ in range(rounds):
        ours.append(cpu_seconds(lambda: list(context.map(train_block, cells))))
        netcdf.append(cpu_seconds(lambda: [store.load(path) for path in files]))
    return {
        "cells": f"{count} of one run and 60 records",
        "machine": f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}",
        "reopen_cpu_seconds": spread(ours),
        "reopen_netcdf_files_cpu_seconds": spread(netcdf),
        "speedup_over_netcdf_files": spread([b / a for a, b in zip(ours, netcdf, strict=True)]),
        "bytes_per_cell": sum(path.stat().st_size for path in (folder / "one").rglob("*.sqlite")) / count,
        "bytes_per_netcdf_file": sum(path.stat().st_size for path in files) / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000, help="cells in the sweep (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of measurement (default 3)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options.cells, options.rounds, Path(folder))
    publish(report, options.output)


if __name__ == "__main__":
    main()
