"""Peers of a benchmark at the number of threads that is best for them.

Small operations wait for all threads at every step: with a core taken by somebody else, a peer on two threads may be a
hundred times slower than on one, and a ratio to it would mean nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from cgro.base.machine import available_cores


def thread_counts() -> tuple[int, ...]:
    """What a peer is tried with: one thread, and one for each core."""
    return tuple(sorted({1, available_cores()}))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch on `count` CPU threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def steps_per_second(steps: Callable[[int], object], count: int, limit: float) -> float:
    """Rate of `count` steps, or of as many tenths of them as begin within `limit` seconds."""
    start, taken = time.perf_counter(), 0
    while taken < count and time.perf_counter() - start < limit:
        part = min(max(1, count // 10), count - taken)
        steps(part)
        taken += part
    return taken / (time.perf_counter() - start)


def best_threads(rates: dict[int, list[float]]) -> int:
    """The number of threads with the highest median rate."""
    return max(rates, key=lambda count: statistics.median(rates[count]))
