"""Peers of a benchmark, run with their best number of threads.

Small operations wait for all threads at every step: if another process occupies a core, a peer on two threads may be
a hundred times slower than on one, and a ratio to it would mean nothing.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap

from cgro.base.machine import available_cores


def thread_counts() -> tuple[int, ...]:
    """The numbers of threads to try for a peer: one, and one per core."""
    return tuple(sorted({1, available_cores()}))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch uses `count` CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def steps_per_second(steps: Callable[[int], object], count: int, limit: float) -> float:
    """Rate over `count` steps, run in tenths; no tenth starts after `limit` seconds."""
    start, taken = time.perf_counter(), 0
    while taken < count and time.perf_counter() - start < limit:
        part = min(max(1, count // 10), count - taken)
        steps(part)
        taken += part
    return taken / (time.perf_counter() - start)


def best_threads(rates: dict[int, list[float]]) -> int:
    """The number of threads with the highest median rate."""
    return max(rates, key=lambda count: statistics.median(rates[count]))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compared(
    work: Callable[[], object], parts: list[Callable[[], object]], count: int, device: torch.device
) -> dict[str, float]:
    """Median time of `work` over that of its `parts` together, and a 95 % bootstrap interval.

    Both take turns for a minute, at least 20 times each.
    """
    whole: list[float] = []
    base: list[float] = []
    pairs = [(whole, [work]), (base, parts)]
    with threads(count):
        end = time.perf_counter() + 60
        while time.perf_counter() < end or len(whole) < 20:
            for times, steps in pairs:
                times.append(sum(seconds(step, device) for step in steps))
            pairs.reverse()  # neither always follows the other
    found = bootstrap(
        (np.array(whole), np.array(base)),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=0,
    ).confidence_interval
    return {
        "ratio": float(np.median(whole) / np.median(base)),
        "low": float(found.low),
        "high": float(found.high),
        "turns": len(whole),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def publish(report: object, output: Path | None) -> None:
    """Print the numbers, and write them to this JSON file."""
    text = json.dumps(report, indent=2)
    print(text)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n")
