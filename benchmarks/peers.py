"""Peers of a benchmark, run with their best number of threads.

Small operations wait for all threads at every step: if another process occupies a core, a peer on two threads may be
a hundred times slower than on one, and a ratio to it would mean nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

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
