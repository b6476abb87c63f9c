"""Speed of the gram engine, as ratios within one process, to a plain training loop and to the hardware limit.

    python benchmarks/dynamics.py [--runs 1024] [--rounds 5] [--output FILE]

Peers: (a) what a researcher would write: a torch nn.Module, autograd, SGD, one run at a time, on the same
configuration, with its best number of threads (one or all cores; both rates are reported); (b) the machine's own
float64 matrix-product rate (2048 x 2048, all cores or one, whichever is faster). Every round measures all of them in
turn, so that a noisy machine slows all of them; the median and range over rounds are reported.

Where the time goes is measured on one thread: the product W G of every step alone, in a compiled loop, run by run and
for several runs stacked, which would have to share their draw; and the whole step.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numba as nb
import numpy as np
import torch
from peers import best_threads, publish, spread, steps_per_second, thread_counts, threads
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import softplus

from cgro.base.machine import available_cores
from cgro.data.patches import draw_patches
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

SETTING = PatchSetting(samples=40, patches=2, filters=20, dim=1000)
STACKED = (1, 4, 16)
"""Runs whose products are measured as one."""
DIMENSIONS = (100, 1_000, 10_000, 100_000, 1_000_000)


class PlainNetwork(nn.Module):
    """The cubic patch network as a textbook module."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, X: Tensor) -> Tensor:
        return ((X @ self.weights.T) ** 3).sum((1, 2))


def plain_steps(setting: PatchSetting, seed: int) -> Callable[[int], None]:
    """The plain loop for one run: clean and attacked loss, autograd, SGD."""
    draw = draw_patches(
        seed, samples=setting.samples, patches=setting.patches, dim=setting.dim, filters=setting.filters
    )
    X = torch.from_numpy(draw.patches(setting.signal, setting.noise))
    attacked = torch.from_numpy(draw.patches(setting.signal - setting.radius, setting.noise))
    y = torch.from_numpy(draw.labels)
    network = PlainNetwork(torch.from_numpy(setting.init_scale * draw.filters))
    optimizer = torch.optim.SGD(network.parameters(), lr=setting.learning_rate)
    lam = setting.adversarial_weight

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            loss = (1 - lam) * softplus(-y * network(X)).mean() + lam * softplus(-y * network(attacked)).mean()
            loss.backward()
            optimizer.step()

    return steps


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matrix_rate(matrix: Tensor, repeat: int = 4) -> float:
    """Floating-point operations per second of a large float64 product: the best of several runs and thread counts."""
    size, times = len(matrix), []
    for count in thread_counts():
        with threads(count):
            times += [seconds(lambda: matrix @ matrix) for _ in range(repeat)]
    return 2 * size**3 / min(times)


@nb.njit
def _products(W, G, out, repeat):  # type: ignore[no-untyped-def]
    for _ in range(repeat):
        np.dot(W, G, out)


def product_rate(together: int, repeat: int = 2_000) -> float:
    """Run-steps per second of the products of a step alone, with the filters of so many runs in one."""
    rng, n = np.random.default_rng(0), SETTING.noise_patches
    W, G = rng.standard_normal((together * SETTING.filters, n)), rng.standard_normal((n, n))
    out = np.empty_like(W)
    _products(W, G, out, 1)
    times = [seconds(lambda: _products(W, G, out, repeat // together)) for _ in range(5)]
    return together * (repeat // together) / min(times)


def one_thread(rounds: int, steps: int, size: int) -> dict[str, object]:
    """Shares of the matrix-product rate of one thread: products alone, and whole steps."""
    matrix = torch.randn(size, size, dtype=torch.float64)
    engine = GramEngine(Runs.product([SETTING], range(64)), threads=1)
    engine.advance(20)
    rates: dict[str, list[float]] = {name: [] for name in ("step", *(f"products_of_{k}" for k in STACKED))}
    with threads(1), threadpool_limits(1):
        for _ in range(rounds):
            peak = 2 * size**3 / min(seconds(lambda: matrix @ matrix) for _ in range(3))
            for k in STACKED:
                rates[f"products_of_{k}"].append(product_rate(k) * SETTING.multiplications / peak)
            elapsed = min(seconds(lambda: engine.advance(steps)) for _ in range(3))
            rates["step"].append(64 * steps / elapsed * SETTING.multiplications / peak)
    return {name: spread(values) for name, values in rates.items()}


def measure(runs: int, rounds: int, steps: int, size: int = 2048) -> dict[str, object]:
    """All ratios; `size` is the size of the matrices whose product gives the hardware limit."""
    matrix = torch.randn(size, size, dtype=torch.float64)
    plain = plain_steps(SETTING, 0)
    engine = GramEngine(Runs.product([SETTING], range(runs)))
    by_dimension = {d: GramEngine(Runs.product([replace(SETTING, dim=d)], range(runs))) for d in DIMENSIONS}
    for warm in (plain, engine.advance, *(e.advance for e in by_dimension.values())):
        warm(20)

    share, gram_rate, peak = [], [], []
    plain_rates: dict[int, list[float]] = {count: [] for count in thread_counts()}
    times: dict[int, list[float]] = {d: [] for d in DIMENSIONS}
    for _ in range(rounds):
        before = matrix_rate(matrix)
        for count, rates in plain_rates.items():
            with threads(count):
                rates.append(steps_per_second(plain, 500, limit=3.0))
        gram_rate.append(runs * steps / seconds(lambda: engine.advance(steps)))
        peak.append(max(before, matrix_rate(matrix)))
        share.append(gram_rate[-1] * SETTING.multiplications / peak[-1])
        for d, e in by_dimension.items():
            times[d].append(seconds(lambda e=e: e.advance(steps // 2)))  # type: ignore[misc]
    best = best_threads(plain_rates)
    # Other processes can only add time, so the fastest round is the time of the step itself.
    fastest = {d: min(t) for d, t in times.items()}
    return {
        "setting": f"N={SETTING.samples} P={SETTING.patches} m={SETTING.filters} d={SETTING.dim} float64, {runs} runs",
        "machine": f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}",
        "plain_run_steps_per_second": spread(plain_rates[best]),
        "plain_threads": best,
        "plain_run_steps_per_second_by_threads": {count: spread(rates) for count, rates in plain_rates.items()},
        "gram_run_steps_per_second": spread(gram_rate),
        "speedup_over_plain_loop": spread([a / b for a, b in zip(gram_rate, plain_rates[best], strict=True)]),
        "matrix_product_gflops": spread([p / 1e9 for p in peak]),
        "share_of_matrix_product_rate": spread(share),
        "shares_on_one_thread": one_thread(rounds, steps, size),
        "microseconds_per_step_by_dimension": {d: t / (steps // 2) * 1e6 for d, t in fastest.items()},
        "slowest_over_fastest_dimension": max(fastest.values()) / min(fastest.values()),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1024, help="runs in the batch (default 1024)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of measurement (default 7)")
    parser.add_argument("--steps", type=int, default=300, help="gradient steps in a round (default 300)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(available_cores())
    report = measure(options.runs, options.rounds, options.steps)
    publish(report, options.output)


if __name__ == "__main__":
    main()
