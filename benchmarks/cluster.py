"""What a Dask cluster costs and gains: the quick phase diagram in this process, on one worker and on two.

    python benchmarks/cluster.py [--rounds 3] [--output FILE]

Workers have one thread each and are processes of this machine. A sweep of other seeds goes first, so that starting
workers, loading libraries and compiling count nowhere. Every round measures all three in turn, and stores all cells.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peers import publish, spread

from cgro.runs.cluster import LOCAL, dask_cluster
from cgro.runs.context import StoredContext
from cgro.runs.registry import find

DIAGRAM = find("experiment", "phase-diagram")


def seconds(context: StoredContext, config: Any) -> float:
    """Time of one sweep."""
    start = time.perf_counter()
    DIAGRAM.run(config, context)
    return time.perf_counter() - start


def measure(rounds: int, folder: Path, config: Any = None) -> dict[str, object]:
    """Times and their ratios."""
    config = config or DIAGRAM.Config.quick()
    small = replace(config, setting=replace(config.setting, steps=100))
    alone: list[float] = []
    workers: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        place = folder / str(number)
        DIAGRAM.run(small, StoredContext(place / "warm", quiet=True))
        alone.append(seconds(StoredContext(place / "alone", quiet=True), config))
        for count, times in workers.items():
            with dask_cluster(LOCAL, count) as cluster:
                DIAGRAM.run(small, StoredContext(place / f"warm-{count}", executor=cluster, quiet=True))
                times.append(seconds(StoredContext(place / str(count), executor=cluster, quiet=True), config))
    return {
        "sweep": "quick phase diagram",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "seconds_in_one_process": spread(alone),
        "seconds_on_one_worker": spread(workers[1]),
        "seconds_on_two_workers": spread(workers[2]),
        "overhead_of_one_worker": spread([b / a - 1 for a, b in zip(alone, workers[1], strict=True)]),
        "speedup_of_two_workers": spread([a / b for a, b in zip(workers[1], workers[2], strict=True)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of measurement (default 3)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    os.environ["CGRO_THREADS"] = "1"  # of this process, as of a worker
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options.rounds, Path(folder))
    publish(report, options.output)


if __name__ == "__main__":
    main()
