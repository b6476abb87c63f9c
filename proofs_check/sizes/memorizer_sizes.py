"""Sizes of all constructions are the polynomials of the papers, exactly (K16): all parameters, depth, and non-zero
parameters of three of them.

The polynomials are written out here independently of the code that states them for each construction. All widths are
affine in n, D and S (and in k, the dimensions of a projection) at fixed depth, so all parameters are polynomials of
degree at most 2 in each of them, the depth is affine in m and n, and agreement on a grid with three or more values of
each variable decides the identity. n counts stored points, those of the rarer label (sign read-out). The points are
drawn in general position, so that no weight vanishes by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize

Polynomial = Callable[[int, int, int], float]
"""A function of n stored points, dimension D, and m levels or S pieces."""

Projected = Callable[[int, int, int, int], float]
"""The same, and k projected dimensions."""

TOTALS: dict[str, Polynomial] = {
    "ball_sum": lambda n, D, m: n * (D + 3) + 11 * D**2 + 12 * D + 4 + (m - 2) * (9 * D**2 + 9 * D + 2),
    "shallow_ball_sum": lambda n, D, S: D * S * (D + 1) + (D * S + 1) * (D + 1) + n * (D + 2) + n + 1,
    "hinge_sum": lambda n, D, _: 2 * D * n * (D + 1) + n * (2 * D * n + 1) + n + 1,
    "absolute_sum": lambda n, D, _: (D + 1) * (D * n + 1) + n * (D * n + 2) + n + 1,
    "sequential": lambda n, D, _: (
        3 * D * (D + 1)
        + (D + 2) * (3 * D + 1)
        + (n - 1) * (3 * D + 1) * (D + 3)
        + (n - 2) * (D + 2) * (3 * D + 2)
        + 2 * (3 * D + 2)
        + 3
    ),
}
NONZERO: dict[str, Polynomial] = {
    "ball_sum": lambda n, D, m: n * (D + 3) + 15 * D + 2 + (m - 2) * (8 * D + 1),
    "hinge_sum": lambda n, D, _: n * (6 * D + 2) + 1,
    "absolute_sum": lambda n, D, _: n * (3 * D + 3) + D + 2,
}
DEPTHS: dict[str, Polynomial] = {
    "ball_sum": lambda n, D, m: m + 3,
    "shallow_ball_sum": lambda n, D, _: 4,
    "hinge_sum": lambda n, D, _: 3,
    "absolute_sum": lambda n, D, _: 3,
    "sequential": lambda n, D, _: 2 * n + 1,
}
NORM: dict[str, Norm] = {
    "ball_sum": "2",
    "shallow_ball_sum": "2",
    "hinge_sum": "inf",
    "absolute_sum": "1",
    "sequential": "inf",
}


def after_projection(n: int, D: int, m: int, k: int) -> float:
    """All parameters of construction S after a projection to k dimensions."""
    return k * (D + 1) + n * (k + 3) + 11 * k**2 + 12 * k + 4 + (m - 2) * (9 * k**2 + 9 * k + 2)


def check(
    *,
    stored: tuple[int, ...] = (2, 3, 5),
    dims: tuple[int, ...] = (1, 2, 4),
    ratios: tuple[float, ...] = (0.5, 0.99),
    seed: int = 0,
    totals: Mapping[str, Polynomial] = TOTALS,
    nonzero: Mapping[str, Polynomial] = NONZERO,
    projected: Projected = after_projection,
) -> Finding:
    """Counts of built networks compared with the polynomials.

    Args:
        stored: numbers n of stored points; n + 1 points carry the other label.
        dims: dimensions D.
        ratios: robustness ratios, which set levels and pieces.
        seed: seed of the points.
    """
    generator = np.random.default_rng(seed)
    compared, wrong, levels = 0, "", set()
    for name, norm in NORM.items():
        for n in stored:
            for D in dims:
                x = generator.uniform(size=(2 * n + 1, D))
                y = np.repeat([1, -1], [n, n + 1])
                apart = opposite_separation(LabelledPoints(x, y), norm).distance
                for ratio in ratios:
                    network = memorize(x, y, norm, ratio * apart / 2, construction=name).float_network
                    size = network.size
                    extra = size.depth - 3 if name == "ball_sum" else network.widths[0] // D
                    if name == "ball_sum":
                        levels.add(extra)
                        if extra < 2:
                            continue
                    pairs = [(size.total, totals[name](n, D, extra)), (size.depth, DEPTHS[name](n, D, extra))]
                    pairs += [(size.nonzero, nonzero[name](n, D, extra))] if name in nonzero else []
                    compared += len(pairs)
                    for counted, claimed in pairs:
                        if counted != claimed:
                            wrong = wrong or f"{name} at n = {n}, D = {D}, m or S = {extra}: {counted}, not {claimed}"
    for n in stored:
        for D in (6, 9, 11):
            x, y = generator.uniform(size=(2 * n + 1, D)), np.repeat([1, -1], [n, n + 1])
            radius = 0.1 * opposite_separation(LabelledPoints(x, y), "2").distance / 2
            # Points span at most 2 n dimensions.
            for k in sorted({min(2 * n, k) for k in (2, 3, 4)}):
                network = memorize(
                    x, y, "2", radius, construction="projected_ball_sum", dim=k, trials=300
                ).float_network
                m = network.size.depth - 4
                levels.add(m)
                compared += 1
                claimed = projected(n, D, m, k)
                if m >= 2 and network.size.total != claimed:
                    wrong = (
                        wrong or f"projected at n = {n}, D = {D}, m = {m}, k = {k}: {network.size.total}, not {claimed}"
                    )
    return Finding(
        holds=not wrong,
        slack=float("inf") if not wrong else 0.0,
        tested=f"{compared} counts of 6 constructions, n = {stored}, D = {dims}, m = {sorted(levels)}",
        bound="all parameters: S n (D+3) + 11 D^2 + 12 D + 4 + (m-2)(9 D^2 + 9 D + 2), projected k (D+1) + that of k, "
        "shallow S of s pieces D s (D+1) + (D s + 1)(D+1) + n (D+2) + n + 1, hinge_sum 2 D n (D+1) + n (2 D n + 1) + n "
        "+ 1, absolute_sum (D+1)(D n + 1) + n (D n + 2) + n + 1, sequential 3 D (D+1) + (D+2)(3 D + 1) + (n-1)(3 D + 1)"
        "(D+3) + (n-2)(D+2)(3 D + 2) + 2 (3 D + 2) + 3; depth: hinges 3, shallow S 4, sequential 2 n + 1; non-zero: S "
        "n (D+3) + 15 D + 2 + (m-2)(8 D + 1), hinge_sum n (6 D + 2) + 1, absolute_sum n (3 D + 3) + D + 2",
        measured="all equal" if not wrong else "not all equal",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="for two labels, n points of the rarer one, all parameters of construction S, also projected to k "
    "dimensions, of hinge sums and of the sequential network, and the depths of the last two, are the polynomials of "
    "this check in n, D, m, k, for m >= 2 levels, the depth of S less 3, and so are non-zero parameters of S and of "
    "hinge sums for points in general position",
    source="constructions of cgro; sequential network after Yu, Gao & Zhang, ICLR 2024 (K16)",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "n >= 2": lambda stored: min(stored) >= 2,
        "D >= 1": lambda dims: min(dims) >= 1,
        "0 < rho < 1": lambda ratios: all(0 < rho < 1 for rho in ratios),
    },
    deep={"stored": (2, 3, 5, 9, 20), "dims": (1, 2, 4, 8, 16)},
    constants={
        f"the polynomial of {name}": Constant(
            lambda factor, name=name: {  # type: ignore[misc]
                "totals": TOTALS | {name: lambda n, D, m: factor * TOTALS[name](n, D, m)}
            }
        )
        for name in TOTALS
    }
    | {
        "the polynomial after a projection": Constant(
            lambda factor: {"projected": lambda n, D, m, k: factor * after_projection(n, D, m, k)}
        ),
        "depth of S less 3": Constant(None, refuted=(), otherwise="defines m; less 4 after a projection"),
        "m >= 2 levels": Constant(
            None, refuted=(), otherwise="one level has another count, 4 k^2 + 5 k + 2 + n (k + 3): not claimed"
        ),
    },
    controls={
        "after a projection, n (k+2)": {
            "projected": lambda n, D, m, k: after_projection(n, D, m, k) - n,
            "stored": (2,),
            "dims": (2,),
        },
        "construction S with n (D+2)": {
            "totals": TOTALS | {"ball_sum": lambda n, D, m: TOTALS["ball_sum"](n, D, m) - n},
            "stored": (2, 3),
            "dims": (2,),
        },
        "hinge sums with 5 D non-zero weights for each point": {
            "nonzero": NONZERO | {"hinge_sum": lambda n, D, _: n * (5 * D + 2) + 1},
            "stored": (2,),
            "dims": (2,),
        },
    },
)
