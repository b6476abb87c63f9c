"""Theorem 4.4 on one family of distributions, for every dimension: clean error 0, robust training error 0 and a robust
test error that tends to 1, by a network of O~(N D) parameters.

The data of the lower bound (Theorem 4.7), and continuous laws near it: D - 1 coordinates are uniform within tau of the
points of the grid {1, ..., 4}^(D-1), one cell each; the label y is the parity of the cell, and the last coordinate is
y h. f_clean = x_D has clean error 0 and robust error 1, since h < delta. The library's f^ for N distinct random points,
in n of the cells, is decided on all cells at once:

    training balls   all indicators of the label are open, all others closed and |f_clean| <= h + delta <= B: margin 1
    trained cells    indicators of the other label vanish, f_clean has the right sign, and so does f^, wherever x is
    other cells      are at least 1 - 2 tau >= 2 delta + gamma from all training points, so f^ = f_clean on all balls:
                     right at x, wrong at x - y delta e_D

by z3, with the thresholds read in the weights (see the claim robust-training). For tau = 0 trained cells are training
points, and the robust test error is known exactly. If h exceeds delta, z3 proves instead that f^ is right on the balls
of all cells. In small dimensions f^ is evaluated, in rational arithmetic, at the center of every cell and at its
attacked point, and cells are counted. So are the parameters.
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
from cgro.claims.solver import prove, real
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork
from cgro.plots.style import SERIES, figure, panel_label, percent_axis

from ..sizes.cgro_classifier_size import slope
from .common import NORMS, Reading, classifier, gate, power, read

GRID = 4
EVALUATED = 3
"""Largest dimension in which all cells are evaluated."""
Size = tuple[float, ...]


def training_points(samples: int, dim: int, weak: float, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct points (n, D) of N independent draws that contain both labels, and their labels."""
    generator = np.random.default_rng([seed, dim])
    while True:
        cells = generator.integers(1, GRID + 1, (samples, dim - 1))
        labels = 1 - 2 * (cells.sum(axis=1) % 2)
        if len(set(labels.tolist())) == 2:
            break
    near = cells + generator.uniform(-spread, spread, cells.shape)
    points, first = np.unique(np.column_stack([near, weak * labels]), axis=0, return_index=True)
    return points, labels[first]


MARGINS, SIGNS, SAME = "margin 1 on training balls", "right on trained cells", "f^ = f_clean on other balls"
WRONG, RIGHT = "wrong at attacked points of other cells", "right on all balls"


def of_the_gate(reading: Reading, weak: Fraction, delta: Fraction) -> dict[str, bool]:
    """What z3 proves of f^ as a function of c = f_clean and of the sum t of one label's indicators, by symmetry for
    y = 1: c = h - delta at attacked points, and c >= h - delta on balls."""
    c, t, zero, bound = z3.Real("c"), z3.Real("t"), z3.RealVal(0), real(reading.bound)
    minus, plus, none = gate(reading, c, t, zero), gate(reading, c, zero, t), gate(reading, c, zero, zero)
    bounded, lost = [t >= 1, c <= bound, c >= -bound], real(weak - delta)
    proofs = {
        MARGINS: (prove(plus >= 1, *bounded), prove(minus <= -1, *bounded)),
        SIGNS: (prove(plus > 0, t >= 0, c > 0), prove(minus < 0, t >= 0, c < 0)),
        SAME: (prove(none == c),),
        WRONG: (prove(none < 0, c == lost), prove(none > 0, c == -lost)),
        RIGHT: (prove(plus > 0, t >= 0, c >= lost), prove(minus < 0, t >= 0, c <= -lost)),
    }
    return {name: all(part.holds is True for part in parts) for name, parts in proofs.items()}


def facts(built: Memorizer, weak: Fraction, spread: Fraction, known: dict[str, dict[str, bool]]) -> dict[str, bool]:
    """What holds on the balls of all points of all cells. Gates are the same in many networks: `known` keeps proofs."""
    task, reading = built.task, read(built)
    delta, gamma = Fraction(task.radius), Fraction(built.options["shell"])
    key = repr((reading.tail.layers, weak, delta))
    if key not in known:
        known[key] = of_the_gate(reading, weak, delta)
    apart = 2 * delta + gamma + 2 * spread <= 1 and max(reading.closes) <= power(task.norm, delta + gamma)
    opened = min(reading.opens) >= power(task.norm, delta) and weak + delta <= reading.bound
    return {name: proved and apart and (opened or name != MARGINS) for name, proved in known[key].items()}


def robust_cells(built: Memorizer, weak: float) -> Fraction:
    """The share of all cells at whose center f^ is right, and right at the attacked point, too."""
    network = ExactNetwork.of(built.float_network)
    dim, delta = built.task.data.dim, Fraction(built.task.radius)
    right, cells = 0, list(product(range(1, GRID + 1), repeat=dim - 1))
    for cell in cells:
        y = 1 - 2 * (sum(cell) % 2)
        x = [*map(Fraction, cell), y * Fraction(weak)]
        attacked = [*x[:-1], x[-1] - y * delta]
        right += all(y * network.evaluate(z)[0] > 0 for z in (x, attacked))
    return Fraction(right, len(cells))


def parameters(norm: Norm, samples: float, dim: float, levels: int, l1: Size, linf: Size) -> float:
    """Non-zero parameters: exact in l_1 and l_2, and in l_inf if no two points share a coordinate but the last."""
    if norm == "1":
        return samples * (l1[0] * dim + l1[1]) + l1[2]
    if norm == "inf":
        return samples * (linf[0] * dim - linf[1]) + linf[2]
    return samples * slope("2", int(dim), levels) + 20 + 2 * levels


def check(
    *,
    dims: tuple[int, ...] = (2, 3, 64),
    most: int = 16,
    spreads: tuple[float, ...] = (0.0, 0.03125),
    radius: float = 0.40625,
    shell: float = 0.124,
    weak: float = 0.96875,
    share: float = 1.0,
    base: float = 4.0,
    exponent: float = 1.0,
    l1: tuple[float, ...] = (8, 4, 20),
    linf: tuple[float, ...] = (6, 2, 28),
    powers: tuple[float, ...] = (1.0, 1.0),
    seed: int = 0,
) -> Finding:
    """The three errors and the size of the built network, for N = min(D, most) draws in each dimension and norm.

    Args:
        dims: dimensions D, each >= 2.
        most: largest number of draws N.
        spreads: half-widths tau of cells; the robust test error is exact at 0, and a lower bound elsewhere.
        radius: delta.
        shell: gamma.
        weak: h / delta.
        share: claimed robust test error is 1 - share n / base^(exponent (D - 1)).
        base: see share.
        exponent: see share.
        l1: a, b, c of the claimed size N (a D + b) + c in l_1.
        linf: a, b, c of the claimed size N (a D - b) + c in l_inf, attained for tau > 0.
        powers: claimed exponents of N and D in l_1 and l_inf.
        seed: seed of the training sets.
    """
    wrong, open_ended, nonzero, errors = "", False, np.zeros((len(NORMS), len(dims))), []
    known: dict[str, dict[str, bool]] = {}
    for (k, dim), spread in product(enumerate(dims), spreads):
        points, labels = training_points(min(dim, most), dim, weak * radius, spread, seed)
        trained = {tuple(cell) for cell in np.rint(points[:, :-1]).astype(int).tolist()}
        claimed = share * len(trained) / base ** (exponent * (dim - 1))
        clean = ReluNetwork.of([(np.eye(1, dim, dim - 1), np.zeros(1))])
        for j, norm in enumerate(NORMS):
            built = classifier(points, labels, norm, radius, clean, shell)
            size, where = built.float_network.size, f"l_{norm}, D = {dim}, N = {len(points)}, tau = {spread:g}"
            proved = facts(built, Fraction(weak * radius), Fraction(spread), known)
            open_ended |= not (proved[MARGINS] and proved[SIGNS] and proved[SAME] and (proved[WRONG] or proved[RIGHT]))
            robust = Fraction(1) if proved[RIGHT] else Fraction(len(trained), GRID ** (dim - 1))
            counted = robust_cells(built, weak * radius) if dim <= EVALUATED else robust
            levels = size.depth - 5
            n, d = (1.0, 1.0) if norm == "2" else powers
            law = parameters(norm, len(points) ** n, dim**d, levels, l1, linf)
            # In l_inf points of a grid share hinges. In l_2 4^levels is about D over the gap of squared distances.
            other = size.nonzero > law if norm == "inf" and spread == 0 else size.nonzero != law
            other |= norm == "2" and 4**levels * shell * (2 * radius + shell) > 0.7 * dim
            excess = float(counted if spread == 0 else robust) / claimed - 1
            nonzero[j, k] = size.nonzero
            if counted > robust or (spread == 0 and counted < robust):
                wrong = wrong or f"{where}: right at centers and attacked points of {float(counted):.4g} of the cells"
            elif excess > 1e-9 or (spread == 0 and excess < -1e-9):
                wrong = wrong or f"{where}: robust on {float(robust):.4g} of the cells, {claimed:.4g} claimed"
            elif other:
                wrong = wrong or f"{where}: {size.nonzero} parameters, {law:g} claimed"
        errors.append((spread, dim, 1 - float(robust)))
    least = [min(e for _, d, e in errors if d == dim) for dim in dims]
    return Finding(
        holds=False if wrong else None if open_ended else True,
        slack=0.0 if wrong or open_ended else 1.0,
        tested=f"D = {dims[0]} to {dims[-1]}, N = min(D, {most}), tau up to {max(spreads):g}, in three norms: "
        f"all points of all cells; every cell evaluated for D <= {EVALUATED}",
        bound="clean error 0, robust training error 0, robust test error at least 1 - n / 4^(D-1)",
        measured="robust test error " + ", ".join(f"{e:.4g} (D = {d})" for e, d in zip(least, dims, strict=True)),
        counterexample=wrong,
        data=xr.Dataset(
            {"robust": ("dim", least), "nonzero": (("norm", "dim"), nonzero)}, {"dim": list(dims), "norm": list(NORMS)}
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
    statement="for data whose first D - 1 coordinates are within tau of a point of the grid {1, ..., 4}^(D-1), all "
    "points equally likely, whose label y is the parity of the point and last coordinate y h, h < delta, 2 delta + "
    "gamma + 2 tau <= 1, the CGRO classifier f^ around x_D (with own parts in l_2) has clean error 0, robust training "
    "error 0 and robust test error at least 1 - n / 4^(D-1), exactly for tau = 0, where n grid points have training "
    "points nearby; for N distinct ones it has N (8 D + 4) + 20 non-zero parameters in l_1, at most N (6 D - 2) + 28 "
    "in l_inf, and O(N D log D) in l_2 for given delta and gamma",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4, on the data of Theorem 4.7; the network derived here",
    tag="[D]",
    evidence="exact",
    check=check,
    draw=draw,
    hypotheses={
        "D >= 2": lambda dims: len(dims) > 0 and min(dims) >= 2,
        "most >= 2": lambda most: most >= 2,
        "0 < h < delta": lambda weak: 0 < weak < 1,
        "delta, gamma > 0, tau >= 0, the spacing of the grid is at least twice delta and tau plus gamma": (
            lambda radius, shell, spreads: (
                min(radius, shell) > 0 and min(spreads) >= 0 and 2 * radius + shell + 2 * max(spreads) <= 1
            )
        ),
        "share, base > 0": lambda share, base: share > 0 and base > 0,
    },
    constants={
        "2 delta + gamma + 2 tau <= 1": Constant(
            None, refuted=(), otherwise="a hypothesis: beyond it shells reach other cells, and the proof fails"
        ),
        "h < delta": Constant(
            lambda factor: {"weak": 0.96875 * factor},
            refuted=(1.05,),
            otherwise="a smaller h is a special case; at h = delta an attacked point lies on the boundary",
        ),
        "4, the cells of each coordinate": Constant(lambda factor: {"base": 4 * factor}),
        "exponent D - 1": Constant(lambda factor: {"exponent": factor}),
        "n / 4^(D-1)": Constant(lambda factor: {"share": factor}),
        "exponent of N in the sizes": Constant(lambda factor: {"powers": (factor, 1.0)}),
        "exponent of D in the sizes": Constant(lambda factor: {"powers": (1.0, factor)}),
        "8 in N (8 D + 4) + 20": _moved("l1", (8, 4, 20), 0),
        "4 in N (8 D + 4) + 20": _moved("l1", (8, 4, 20), 1),
        "20 in N (8 D + 4) + 20": _moved("l1", (8, 4, 20), 2),
        "6 in N (6 D - 2) + 28": _moved("linf", (6, 2, 28), 0),
        "2 in N (6 D - 2) + 28": _moved("linf", (6, 2, 28), 1),
        "28 in N (6 D - 2) + 28": _moved("linf", (6, 2, 28), 2),
    },
    deep={"most": 256, "dims": (2, 3, 4, 8, 16, 32, 64, 128, 256)},
    controls={
        "robust on 5 % fewer cells": {"share": 0.95, "dims": (3,)},
        "a coordinate 5 % stronger than delta": {"weak": 1.05, "dims": (3,)},
        "8.4 D parameters for each point in l_1": {"l1": (8.4, 4, 20), "dims": (4,)},
    },
)
