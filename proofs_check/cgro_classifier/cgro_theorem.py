"""Theorem 4.4 on one family of distributions, for every dimension: clean error 0, robust training error 0 and a robust
test error that tends to 1, by a network of O~(N D) parameters.

The data of the lower bound (Theorem 4.7): D - 1 coordinates are uniform on a grid of 4^(D-1) cells of spacing 1, the
label y is the parity of the cell, and the last coordinate is y h. f_clean = x_D has clean error 0 and robust error 1,
since h < delta. The library's f^ for N random points, n of them distinct, is decided on all cells at once:

    trained cells    every indicator is open on its ball and |f_clean| <= h + delta <= B, so the margin is 1 there (z3)
    other cells      are at least 1 >= 2 delta + gamma from all training points, so f^ = f_clean on their balls: right
                     at x, wrong at x - y (h + t) e_D for 0 < t <= delta - h

from the thresholds read in the weights (see the claim robust-training). In small dimensions every cell is also
evaluated, in rational arithmetic. Sizes are counted.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import xarray as xr
import z3
from matplotlib.figure import Figure

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork
from cgro.plots.style import SERIES, figure, panel_label, percent_axis

from ..sizes.cgro_classifier_size import slope
from .common import NORMS, classifier, gate, power, read

GRID = 4
Size = tuple[float, ...]


def cell_points(cells: np.ndarray, weak: float) -> tuple[np.ndarray, np.ndarray]:
    """The points of cells (n, D - 1), and their labels."""
    labels = 1 - 2 * (cells.sum(axis=1) % 2)
    return np.column_stack([cells, weak * labels]).astype(float), labels


def training_cells(samples: int, dim: int, seed: int) -> np.ndarray:
    """The distinct cells of N independent draws that contain both labels."""
    generator = np.random.default_rng([seed, dim])
    while True:
        cells = np.unique(generator.integers(1, GRID + 1, (samples, dim - 1)), axis=0)
        if len({int(v) % 2 for v in cells.sum(axis=1)}) == 2:
            return cells


def facts(built: Memorizer, weak: Fraction) -> dict[str, bool]:
    """What holds on the balls of all cells of the grid."""
    task, reading, c, t = built.task, read(built), z3.Real("c"), z3.Real("t")
    delta, gamma, zero = Fraction(task.radius), Fraction(built.options["shell"]), z3.RealVal(0)
    bounded = [t >= 1, c <= z3.Q(*reading.bound.as_integer_ratio()), c >= -z3.Q(*reading.bound.as_integer_ratio())]
    memorized = (
        prove(gate(reading, c, zero, t) >= 1, *bounded).holds and prove(gate(reading, c, t, zero) <= -1, *bounded).holds
    )
    apart = 2 * delta + gamma <= 1
    opened = min(reading.opens) >= power(task.norm, delta) and weak + delta <= reading.bound
    closed = max(reading.closes) <= power(task.norm, delta + gamma)
    elsewhere = prove(gate(reading, c, zero, zero) == c).holds
    return {
        "trained cells are robust": bool(apart and closed and opened and memorized),
        "f^ = f_clean on the balls of other cells": bool(apart and closed and elsewhere),
    }


def agrees_on_every_cell(built: Memorizer, trained: np.ndarray, weak: float) -> bool:
    """f^ at all points of the grid, and at the attacked points of cells without a training point."""
    network, known = ExactNetwork.of(built.float_network), {tuple(cell) for cell in trained.tolist()}
    dim, delta = built.task.data.dim, Fraction(built.task.radius)
    for cell in product(range(1, GRID + 1), repeat=dim - 1):
        y = 1 - 2 * (sum(cell) % 2)
        x = [*map(Fraction, cell), y * Fraction(weak)]
        attacked = [*x[:-1], x[-1] - y * delta]
        if not (y * network.evaluate(x)[0] > 0 and (cell in known or y * network.evaluate(attacked)[0] < 0)):
            return False
    return True


def parameters(norm: Norm, samples: int, dim: int, levels: int, l1: Size, linf: Size) -> float:
    """Non-zero parameters: exact in l_1 and l_2; in l_inf an upper bound, attained if the points use every side."""
    if norm == "1":
        return samples * (l1[0] * dim + l1[1]) + l1[2]
    if norm == "inf":
        return samples * (linf[0] * dim + linf[1]) + linf[2] * dim + linf[3]
    return samples * slope("2", dim, levels) + 20 + 2 * levels


def check(
    *,
    dims: tuple[int, ...] = (2, 3, 4, 32, 256),
    most: int = 32,
    radius: float = 0.4375,
    shell: float = 0.124,
    weak: float = 0.95,
    share: float = 1.0,
    base: float = 4.0,
    exponent: float = 1.0,
    l1: tuple[float, ...] = (8, 4, 20),
    linf: tuple[float, ...] = (2, 2, 16, 12),
    seed: int = 0,
) -> Finding:
    """The three errors and the size of the built network, for N = min(D, most) draws in each dimension and norm.

    Args:
        dims: dimensions D, each >= 2.
        most: largest number of draws N.
        radius: delta.
        shell: gamma.
        weak: h / delta.
        share: claimed robust test error is 1 - share n / base^(exponent (D - 1)).
        base: see share.
        exponent: see share.
        l1: a, b, c of the claimed size n (a D + b) + c in l_1.
        linf: a, b, c, d of the claimed size n (a D + b) + c D + d in l_inf.
        seed: seed of the training sets.
    """
    wrong, nonzero, attained, errors = "", np.zeros((len(NORMS), len(dims))), False, []
    for k, dim in enumerate(dims):
        cells = training_cells(min(dim, most), dim, seed)
        n = len(cells)
        points, labels = cell_points(cells, weak * radius)
        clean = ReluNetwork.of([(np.eye(1, dim, dim - 1), np.zeros(1))])
        for j, norm in enumerate(NORMS):
            built = classifier(points, labels, norm, radius, clean, shell)
            size = built.float_network.size
            missing = [words for words, true in facts(built, Fraction(weak * radius)).items() if not true]
            if dim <= 4 and weak < 1 and not missing and not agrees_on_every_cell(built, cells, weak * radius):
                missing = ["every cell"]
            # Where h >= delta f_clean is robust, and so is f^.
            robust = Fraction(n if weak < 1 else GRID ** (dim - 1), GRID ** (dim - 1))
            claimed = share * n / base ** (exponent * (dim - 1))
            levels = size.depth - 5
            law = parameters(norm, n, dim, levels, l1, linf)
            # In l_2 there are O(log D) levels of squares.
            larger = size.nonzero > law if norm == "inf" else size.nonzero != law
            larger |= norm == "2" and 4**levels > 6 * dim
            attained |= norm == "inf" and size.nonzero == law
            nonzero[j, k] = size.nonzero
            where = f"l_{norm}, D = {dim}, n = {n}"
            if missing:
                wrong = wrong or f"{where}: not proved: {', '.join(missing)}"
            elif abs(float(robust) / claimed - 1) > 1e-9:
                wrong = wrong or f"{where}: robust on {float(robust):.4g} of the cells, {claimed:.4g} claimed"
            elif larger:
                wrong = wrong or f"{where}: {size.nonzero} parameters, {law:g} claimed"
        errors.append(1 - n / GRID ** (dim - 1))
    if not wrong and not attained:
        wrong = "the size in l_inf is never attained"
    return Finding(
        holds=not wrong,
        slack=1.0 if not wrong else 0.0,
        tested=f"D = {dims[0]} to {dims[-1]}, N = min(D, {most}), in three norms: all cells",
        bound="clean error 0, robust training error 0, robust test error 1 - n / 4^(D-1)",
        measured="robust test error " + ", ".join(f"{e:.4g} (D = {d})" for e, d in zip(errors, dims, strict=True)),
        counterexample=wrong,
        data=xr.Dataset(
            {"robust": ("dim", errors), "nonzero": (("norm", "dim"), nonzero)}, {"dim": list(dims), "norm": list(NORMS)}
        ),
    )


def draw(result: xr.Dataset) -> Figure:
    """The three errors, and the sizes, as functions of D."""
    fig, (left, right) = figure(6.5, 2.5, ncols=2)
    dims = result["dim"].values
    left.plot(dims, result["robust"], "o-", color=SERIES[1], ms=3.5, label="robust test error")
    left.plot(dims, 0 * dims, "s-", color=SERIES[0], ms=3.5, label="clean and robust training error")
    percent_axis(left, "error (%)")
    for j, norm in enumerate(result["norm"].values):
        right.loglog(dims, result["nonzero"].sel(norm=norm), "o-", color=SERIES[j], ms=3.5, label=f"l_{norm}")
    right.set_ylabel("non-zero parameters")
    for ax, letter, title in ((left, "a", "errors of f^"), (right, "b", "size")):
        panel_label(ax, letter, title)
        ax.set_xscale("log", base=2)
        ax.set_xlabel("dimension D")
        ax.legend()
    return fig


def _moved(key: str, values: Size, place: int) -> Constant:
    return Constant(lambda factor: {key: tuple(v * factor if j == place else v for j, v in enumerate(values))})


CLAIM = Claim(
    statement="on a grid of 4^(D-1) cells f^ has clean error 0, robust training error 0 and robust test error "
    "1 - n / 4^(D-1) for n distinct training points, with n (8 D + 4) + 20 non-zero parameters in l_1, at most "
    "n (2 D + 2) + 16 D + 12 in l_inf, and O(n D log D) in l_2",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4, on the data of Theorem 4.7; the network derived here",
    tag="[D]",
    evidence="exact",
    check=check,
    draw=draw,
    hypotheses={
        "D >= 2": lambda dims: len(dims) > 0 and min(dims) >= 2,
        "most >= 2": lambda most: most >= 2,
        "0 < h < delta": lambda weak: 0 < weak < 1,
        "0 < gamma <= 1 - 2 delta": lambda radius, shell: radius > 0 and 0 < shell <= 1 - 2 * radius,
        "share, base > 0": lambda share, base: share > 0 and base > 0,
    },
    constants={
        "4, the cells of each coordinate": Constant(lambda factor: {"base": 4 * factor}),
        "exponent D - 1": Constant(lambda factor: {"exponent": factor}),
        "n / 4^(D-1)": Constant(lambda factor: {"share": factor}),
        "8 in n (8 D + 4) + 20": _moved("l1", (8, 4, 20), 0),
        "4 in n (8 D + 4) + 20": _moved("l1", (8, 4, 20), 1),
        "20 in n (8 D + 4) + 20": _moved("l1", (8, 4, 20), 2),
        "2 D in n (2 D + 2) + 16 D + 12": _moved("linf", (2, 2, 16, 12), 0),
        "+ 2 in n (2 D + 2) + 16 D + 12": _moved("linf", (2, 2, 16, 12), 1),
        "16 in n (2 D + 2) + 16 D + 12": _moved("linf", (2, 2, 16, 12), 2),
        "12 in n (2 D + 2) + 16 D + 12": _moved("linf", (2, 2, 16, 12), 3),
    },
    deep={"most": 256, "dims": (2, 3, 4, 8, 16, 32, 64, 128, 256)},
    controls={
        "robust on 5 % fewer cells": {"share": 0.95, "dims": (3,)},
        "a coordinate 5 % stronger than delta": {"weak": 1.05, "dims": (3,)},
        "8.4 D parameters for each point in l_1": {"l1": (8.4, 4, 20), "dims": (4,)},
    },
)
