"""The certifier compared with its peers: do the verdicts agree, and how long does each take?

    python benchmarks/certify.py [--cases 500] [--marabou-python PYTHON] [--output FILE]

Peers: (a) Marabou 2 (maraboupy), an SMT-based verifier, in a separate process that is killed when it exceeds the time
limit, since it may hang past its own limit; (b) the textbook mixed-integer program: big-M constants from plain
intervals, no tightening, no scaling, solved by the same HiGHS. Every case asks whether the sign of a network is
constant on an l_inf ball (l_1 too, for b). All verifiers take each case in turn, so that a noisy machine slows all of
them. The peers have a time limit, the certifier a limit on the nodes of its MILP, 10,000 by default.

Cases: random networks whose weights are exact in float32, and robust memorizers at their radius and beyond it. If
maraboupy is not installed, it is left out and the report says so; --marabou-python names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from cgro.base.errors import UserError
from cgro.base.machine import available_cores
from cgro.base.norms import Norm
from cgro.certify.certify import certify
from cgro.data.separated import random_points
from cgro.data.separation import opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.relu import ReluNetwork, dense

Answer = tuple[str, float]
"""Verdict, and seconds."""
MEMORIZERS: tuple[tuple[Norm, str], ...] = (
    ("inf", "hinge_sum"),
    ("inf", "shared_hinges"),
    ("inf", "sequential"),
    ("inf", "lipschitz"),
    ("1", "absolute_sum"),
)


@dataclass(frozen=True, eq=False)
class Case:
    """One network, one centre with label +-1, one ball."""

    name: str
    network: ReluNetwork
    point: np.ndarray
    label: int
    norm: Norm
    radius: float


def random_cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Small Gaussian networks of one to three hidden layers; the radius varies so that the verdicts do, too."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        inputs = dim = int(rng.integers(2, 6))
        layers = []
        for width in [*rng.integers(3, 11, size=rng.integers(1, 4)).tolist(), 1]:
            weight = rng.standard_normal((width, inputs)) * np.sqrt(2 / inputs)
            bias = 0.2 * rng.standard_normal(width)
            layers.append((weight.astype(np.float32).astype(float), bias.astype(np.float32).astype(float)))
            inputs = width
        # The decision boundary passes through another random point, near which the ball ends.
        point, other = rng.standard_normal((2, dim))
        weight, bias = layers[-1]
        layers[-1] = (weight, (bias - ReluNetwork.of(layers)(other)).astype(np.float32).astype(float))
        network = ReluNetwork.of(layers)
        label = 1 if network(point)[0] > 0 else -1
        radius = float(abs(point - other).max() * rng.uniform(0.05, 0.8))
        yield Case("random", network, point, label, "inf", radius)


def memorizer_cases(samples: int, dim: int, seed: int = 0) -> Iterator[Case]:
    """Every point of robust memorizers, at the radius they are built for and 3 % beyond half the separation."""
    data = random_points(samples, dim, seed=seed)
    for norm, construction in MEMORIZERS:
        half = opposite_separation(data, norm).distance / 2
        for ratio in (0.5, 0.9):
            network = memorize(data, None, norm, ratio * half, construction=construction).float_network
            for radius in (ratio * half, 1.03 * half):
                for point, label in zip(data.points, data.labels, strict=True):
                    yield Case(construction, network, point, int(label), norm, radius)


def ours(case: Case, limit: float) -> Answer:
    """The certifier, all tiers, with its own limit on work instead of time."""
    start = time.perf_counter()
    found = certify(case.network, case.point[None], np.array([case.label]), case.norm, case.radius)
    return str(found.status[0]), time.perf_counter() - start


def plain_milp(case: Case, limit: float) -> Answer:
    """min y f as a big-M program in x, each neuron, and a binary for each neuron that plain intervals leave open."""
    start = time.perf_counter()
    dim, x0, r = len(case.point), case.point, case.radius
    low, high = [*(x0 - r)], [*(x0 + r)]
    integer = [0] * dim
    rows: list[tuple[dict[int, float], float, float]] = []
    if case.norm == "1":
        for k in range(dim):  # t_k >= |x_k - x0_k|
            rows += [({k: 1.0, dim + k: -1.0}, -np.inf, x0[k]), ({k: 1.0, dim + k: 1.0}, x0[k], np.inf)]
        low, high, integer = low + [0.0] * dim, high + [r] * dim, integer + [0] * dim
        rows.append(({dim + k: 1.0 for k in range(dim)}, -np.inf, r))
    inner, lower, upper = list(range(dim)), np.array(low[:dim]), np.array(high[:dim])
    for weight, bias in case.network.layers[:-1]:
        W = dense(weight)
        z_low = np.maximum(W, 0) @ lower + np.minimum(W, 0) @ upper + bias
        z_high = np.maximum(W, 0) @ upper + np.minimum(W, 0) @ lower + bias
        outer = []
        for j in range(len(bias)):
            a, below, above = len(low), float(z_low[j]), float(z_high[j])
            z = {i: -float(w) for i, w in zip(inner, W[j], strict=True) if w}
            outer.append(a)
            low, high, integer = [*low, max(below, 0.0)], [*high, max(above, 0.0)], [*integer, 0]
            if below >= 0:
                rows.append(({a: 1.0} | z, bias[j], bias[j]))
            elif above > 0:
                low, high, integer = [*low, 0.0], [*high, 1.0], [*integer, 1]
                rows += [
                    ({a: 1.0} | z, bias[j], np.inf),
                    ({a: 1.0, a + 1: -below} | z, -np.inf, bias[j] - below),
                    ({a: 1.0, a + 1: -above}, -np.inf, 0.0),
                ]
        inner, lower, upper = outer, np.maximum(z_low, 0), np.maximum(z_high, 0)
    weight, bias = case.network.layers[-1]
    cost = np.zeros(len(low))
    cost[inner] = case.label * dense(weight)[0]
    matrix = np.zeros((len(rows), len(low)))
    for k, (entries, _, _) in enumerate(rows):
        matrix[k, list(entries)] = list(entries.values())
    answer = milp(
        cost,
        integrality=np.array(integer),
        bounds=Bounds(np.array(low), np.array(high)),
        constraints=LinearConstraint(matrix, [row[1] for row in rows], [row[2] for row in rows]) if rows else (),
        options={"time_limit": limit},
    )
    taken = time.perf_counter() - start
    if answer.status != 0:
        return "undecided", taken
    return ("certified" if answer.fun + case.label * bias[0] > 0 else "counterexample"), taken


MARABOU = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Marabou prints to the standard output.
try:
    import numpy as np
    from maraboupy import Marabou
    from maraboupy.MarabouNetwork import MarabouNetwork
except ImportError as error:
    print(json.dumps({"missing": str(error)}), file=answers, flush=True)
    sys.exit()
print(json.dumps({"ready": True}), file=answers, flush=True)
for line in sys.stdin:
    case = json.loads(line)
    start = time.perf_counter()
    net = MarabouNetwork()
    values = [net.getNewVariable() for _ in case["low"]]
    net.inputVars = [np.array([values])]
    for v, low, high in zip(values, case["low"], case["high"]):
        net.setLowerBound(v, low)
        net.setUpperBound(v, high)
    for k, (weight, bias) in enumerate(case["layers"], 1):
        after = []
        for row, b in zip(weight, bias):
            z = net.getNewVariable()
            pairs = [(v, w) for v, w in zip(values, row) if w]
            net.addEquality([v for v, _ in pairs] + [z], [w for _, w in pairs] + [-1.0], -b)
            if k < len(case["layers"]):
                a = net.getNewVariable()
                net.addRelu(z, a)
                z = a
            after.append(z)
        values = after
    net.addInequality([values[0]], [float(case["label"])], 0.0)
    net.outputVars = [np.array([values])]
    options = Marabou.createOptions(verbosity=0, timeoutInSeconds=int(case["limit"]) + 1)
    verdict = net.solve(verbose=False, options=options)[0]
    answer = {"verdict": verdict, "seconds": time.perf_counter() - start}
    print(json.dumps(answer), file=answers, flush=True)
"""


class Marabou:
    """Marabou in a process that is killed and restarted when an answer takes too long."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.process: subprocess.Popen[str] | None = None
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.missing = self._start()

    def _start(self) -> str:
        """Why Marabou is unavailable, or ''."""
        try:
            self.process = subprocess.Popen(
                [self.python, "-c", MARABOU],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            return str(error)
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self.process, self.answers), daemon=True).start()
        answer = self._answer(120.0)
        return "" if answer and "ready" in answer else str((answer or {"missing": "does not start"}).get("missing"))

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
        for line in process.stdout or ():
            answers.put(line)
        answers.put("")

    def _answer(self, limit: float) -> dict[str, Any] | None:
        try:
            line = self.answers.get(timeout=limit)
        except queue.Empty:
            return None
        return json.loads(line) if line else None

    def __call__(self, case: Case, limit: float) -> Answer:
        if case.norm != "inf":
            return "unasked", 0.0
        assert self.process is not None
        assert self.process.stdin is not None
        question = {
            "low": (case.point - case.radius).tolist(),
            "high": (case.point + case.radius).tolist(),
            "layers": [(dense(w).tolist(), b.tolist()) for w, b in case.network.layers],
            "label": case.label,
            "limit": limit,
        }
        start = time.perf_counter()
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self._answer(limit)
        if answer is None:
            self.close()
            self._start()
            return "undecided", time.perf_counter() - start
        return {"unsat": "certified", "sat": "counterexample"}.get(answer["verdict"], "undecided"), answer["seconds"]

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def compare(cases: Iterator[Case], peers: dict[str, Callable[[Case, float], Answer]], limit: float) -> dict[str, Any]:
    """All verdicts, pairs of verdicts, seconds and ratios."""
    answers: dict[str, list[Answer]] = {name: [] for name in ("cgro", *peers)}
    names: list[str] = []
    for case in cases:
        names.append(case.name)
        for name, verifier in ({"cgro": ours} | peers).items():
            answers[name].append(verifier(case, limit))
    report: dict[str, Any] = {"cases": len(names), "verdicts": {}, "total_seconds": {}, "against": {}}
    for name, given in answers.items():
        asked = [a for a in given if a[0] != "unasked"]
        report["verdicts"][name] = dict(Counter(verdict for verdict, _ in asked))
        report["total_seconds"][name] = sum(seconds for _, seconds in asked)
    for name in peers:
        pairs = [(a, b, n) for a, b, n in zip(answers["cgro"], answers[name], names, strict=True) if b[0] != "unasked"]
        both = [(a, b, n) for a, b, n in pairs if "undecided" not in (a[0], b[0])]
        report["against"][name] = {
            "decided_by_both": len(both),
            "agree": sum(a[0] == b[0] for a, b, _ in both),
            "differ": Counter(f"{n}: cgro {a[0]}, {name} {b[0]}" for a, b, n in both if a[0] != b[0]),
            "only_cgro_decides": sum(b[0] == "undecided" != a[0] for a, b, _ in pairs),
            "only_peer_decides": sum(a[0] == "undecided" != b[0] for a, b, _ in pairs),
            "seconds_of_both": [sum(a[1] for a, _, _ in both), sum(b[1] for _, b, _ in both)],
            "median_of_peer_over_cgro": statistics.median(b[1] / a[1] for a, b, _ in both) if both else None,
        }
    return report


def measure(cases: int, samples: int, dim: int, limit: float, python: str) -> dict[str, Any]:
    """All comparisons."""
    marabou = Marabou(python)
    peers: dict[str, Callable[[Case, float], Answer]] = {"plain_milp": plain_milp}
    if not marabou.missing:
        peers["marabou"] = marabou
    try:
        # Only the first call pays for imports and memory.
        for case in random_cases(3, seed=1):
            for verifier in (ours, *peers.values()):
                verifier(case, limit)
        return {
            "machine": f"{platform.machine()}, {available_cores()} cores, scipy {scipy.__version__}",
            "limit_seconds": limit,
            "marabou": "asked" if not marabou.missing else f"left out: {marabou.missing}",
            "random_networks": compare(random_cases(cases), peers, limit),
            "memorizers": compare(memorizer_cases(samples, dim), peers, limit),
            "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    finally:
        marabou.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500, help="random networks (default 500)")
    parser.add_argument("--samples", type=int, default=6, help="points of each memorizer (default 6)")
    parser.add_argument("--dim", type=int, default=3, help="dimension of the memorizers' points (default 3)")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for each peer and case (default 10)")
    parser.add_argument("--marabou-python", default=sys.executable, help="interpreter that has maraboupy")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        report = measure(options.cases, options.samples, options.dim, options.limit, options.marabou_python)
    except UserError as error:
        parser.error(str(error))
    text = json.dumps(report, indent=2)
    print(text)
    if options.output is not None:
        os.makedirs(options.output.parent, exist_ok=True)
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
