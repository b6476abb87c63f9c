"""Speed of SGD on data with two features, beside the public code of Lee & Chung (ICML 2026).

    python benchmarks/unlearnable.py CLONE [--rounds 5] [--steps 4000] [--output FILE]

CLONE is a clone of github.com/HongsinLee/why-robust-teachers-fail, whose network and training attack are run unchanged,
without its evaluations. Both train from the same filters on the same samples in the same order, and the report says by
how much the filters differ at the end. Every round measures in turn the public code (NumPy with one thread of linear
algebra, and with one per core), the compiled loop on one core, and a run on every core at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from peers import best_threads, publish, spread, thread_counts
from threadpoolctl import threadpool_limits

from cgro.base.machine import available_cores
from cgro.dynamics.sgd import descend
from cgro.dynamics.two_features import Samples, TwoFeatureSetting, draw_filters, draw_samples, first_targets


def public_code(clone: Path) -> ModuleType:
    """The module of its adversarial training."""
    spec = importlib.util.spec_from_file_location("run_at", clone / "synthetic_exp" / "run_at.py")
    if spec is None or spec.loader is None or not (clone / "synthetic_exp" / "run_at.py").is_file():
        raise SystemExit(f"{clone}: no synthetic_exp/run_at.py; clone github.com/HongsinLee/why-robust-teachers-fail")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer_steps(code: ModuleType, setting: TwoFeatureSetting, samples: Samples, W: np.ndarray, order: np.ndarray) -> Any:
    """The filters after these steps of the public code, in our order of coordinates and filters."""
    last = [0, *range(2, setting.dim), 1]  # it has u first and v last
    network = code.ReLUNet(2, setting.filters, setting.dim, 3, setting.init_scale, setting.dim - 1)
    network.w = np.stack(np.split(W, 2)[::-1])[:, :, last].copy()  # the output of class 1 minus that of class 0
    X, labels = samples.X[:, :, last], (samples.labels > 0).astype(int)
    for i in order:
        attacked = network.train_attack(X[i], labels[i], setting.radius, 0)
        network.w -= setting.learning_rate * network.grad_weights(attacked, labels[i])
        network.project_unlearnable_feature()
    found = np.empty_like(W)
    found[:, last] = np.concatenate(network.w[::-1])
    return found


def measure(clone: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Steps per second of both, and how far their filters are apart after the same steps."""
    code, setting = public_code(clone), replace(TwoFeatureSetting(), steps=steps)
    rng = np.random.default_rng(0)
    samples, W = draw_samples(setting, rng), draw_filters(setting, rng)
    order = rng.integers(setting.samples, size=steps)
    cores = available_cores()

    def own(_run: int) -> np.ndarray:
        filters = W.copy()
        descend(filters, samples, first_targets(samples, setting), order, setting)
        return filters

    def rate(work: Any, runs: int = 1) -> float:
        start = time.perf_counter()
        work()
        return runs * steps / (time.perf_counter() - start)

    descend(W.copy(), samples, first_targets(samples, setting), order[:1], setting)  # compiles
    difference = float(np.abs(own(0) - peer_steps(code, setting, samples, W, order)).max())
    tried: dict[int, list[float]] = {count: [] for count in thread_counts()}
    one: list[float] = []
    every: list[float] = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(rounds):
            for count, found in tried.items():
                with threadpool_limits(count):
                    found.append(rate(lambda: peer_steps(code, setting, samples, W, order)))
            one.append(rate(lambda: own(0)))
            every.append(rate(lambda: list(pool.map(own, range(4 * cores))), 4 * cores))
    best = best_threads(tried)
    return {
        "setting": f"N={setting.samples} P={setting.patches} m={setting.filters} d={setting.dim}, {steps} steps",
        "machine": f"{platform.machine()}, {cores} cores, NumPy {np.__version__}",
        "largest_difference_of_filters": difference,
        "peer_threads": best,
        "peer_steps_per_second": spread(tried[best]),
        "steps_per_second_one_core": spread(one),
        "steps_per_second_all_cores": spread(every),
        "speedup_one_core": spread([a / b for a, b in zip(one, tried[best], strict=True)]),
        "speedup_all_cores": spread([a / b for a, b in zip(every, tried[best], strict=True)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, help="clone of github.com/HongsinLee/why-robust-teachers-fail")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement (default 5)")
    parser.add_argument("--steps", type=int, default=4000, help="gradient steps of each run (default 4000)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    publish(measure(options.clone, options.rounds, options.steps), options.output)


if __name__ == "__main__":
    main()
