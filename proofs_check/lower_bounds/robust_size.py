"""Robust classification of the grid family takes about K^((D-1)/2) parameters, no fewer and no more: the lower bound
exp(Omega(D)) of Li & Li with its exponent, while a hyperplane of D + 1 parameters classifies cleanly.

Exhaustive, for two layers and the smallest D: over all real weights z3 decides, for every labelling up to symmetry, how
many ReLUs are right at all cells. Networks that are right at the cells are robust at small radii, and no robust network
has fewer neurons at any radius. For radius 1/(4 K), half the largest, whole balls are decided: 1 neuron for K = D = 2,
and, in the deep preset, 3 for D = 3, one more than at the cells.

For all networks of W non-zero parameters, whatever their depth, a bound with constants (`robust_size_lower_bound`), in
balls: if networks err on at most a share 0.1 of the cells of every labelling,

    patterns sum_{i <= a n} C(n, i) >= 2^n        and   sum_{i <= a n} C(n, i) <= 2^(n H(a)),
    patterns <= 2^(W + W^2 log2(2 e n)) (W (D + W))^W,   n = K^(D-1).

The first is decided for all families of patterns on 3 cells, where repetition attains it. The second follows term by
term from 1 = (a + 1 - a)^n, since a^i (1 - a)^(n-i) is least at i = a n (z3, all n and a < 1/2). The third, closed,
form bounds Bartlett's product over the layers for every graph, by ln x <= x - 1 twice (z3, all sizes; the inequality of
means is the first). Both are seen once more, in integers and for all ways to arrange few parameters. The product, hence
Warren's bound of sign patterns of polynomials, is cited. A network that is robust on balls of radius r >= e has the
labels at the cells (`grid-family`); at smaller radii D + 1 parameters do.

From above, layers that look up cells are at most 10 wide after those that compute the index (z3), which gives
`lookup_total` for all sizes (sympy); plans of the library are within it, and `grid_cells` networks are built for random
labellings, evaluated exactly at corners of balls, and counted.

So size is between K^((D-1)/2) / (2 sqrt(D log2 K)) and 310 K^((D-1)/2) sqrt(D log2(2 K)) at the K and D tested. A moved
claim is refuted if the other side contradicts it, and undecided in between: the two bounds differ by a factor of about
300 D log2 K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from math import comb
from types import MappingProxyType

import numpy as np
import sympy as sp
import z3
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.exhaustive import fewest_neurons, labellings_up_to_symmetry
from cgro.claims.solver import prove
from cgro.claims.symbolic import decide
from cgro.data.separated import grid_family
from cgro.memorizers.cells import Plan
from cgro.memorizers.constructions import memorize
from cgro.memorizers.robust_size import (
    graph_bits,
    group_size,
    labelling_bits,
    lookup_total,
    robust_size_lower_bound,
    robust_size_upper_bound,
)
from cgro.networks.exact import ExactNetwork

SMALL = MappingProxyType({(2, 2, 1): 1, (2, 3, 1): 3, (2, 2, 0): 1, (2, 3, 0): 2, (2, 4, 0): 3, (3, 2, 0): 2})
"""Least neurons for the worst labelling, by K, D, and whether on balls of radius 1/(4 K) or at the cells only."""


def worst(side: int, dim: int, on_balls: int) -> int | None:
    """The least number of neurons, for the worst labelling; None if the solver cannot tell."""
    cells = [tuple(map(Fraction, c)) for c in product(range(side), repeat=dim - 1)]
    labellings = labellings_up_to_symmetry(side, dim - 1)
    needed = [fewest_neurons(cells, y, Fraction(on_balls, 4), 4) for y, _ in labellings]
    return None if None in needed else max(k for k in needed if k is not None)


def layerings(parameters: int) -> Iterator[list[tuple[int, int]]]:
    """(neurons, parameters) of the layers: every neuron has a parameter, and the last layer is one neuron."""
    for last in range(1, parameters + 1):
        if last == parameters:
            yield [(1, last)]
        for before in layerings(parameters - last) if last < parameters else ():
            for neurons in range(1, before[-1][1] + 1):
                yield [*before[:-1], (neurons, before[-1][1]), (1, last)]


def product_bits(cells: int, layers: list[tuple[int, int]]) -> arb:
    """log2 of the product over layers of 2 (2 e n k_i i / W_i)^(W_i)."""
    bits, above = arb(0), 0
    for i, (neurons, parameters) in enumerate(layers, 1):
        above += parameters
        bits += 1 + above * (2 * arb(1).exp() * cells * neurons * i / above).log() / arb(2).log()
    return bits


def entropy_bounds_sums() -> bool:
    """a^i (1 - a)^(n - i) >= a^(a n) (1 - a)^(n - a n) for i <= a n, a <= 1/2, in logarithms: so 1, the sum of C(n, i)
    times the left side over all i, is at least 2^(-n H(a)) sum_{i <= a n} C(n, i)."""
    i, n, a, x, y = z3.Reals("i n a ln(a) ln(1-a)")
    return prove(i * x + (n - i) * y >= a * n * x + (n - a * n) * y, i <= a * n, x <= y, n > 0, a > 0).holds is True


def closed_form_bounds_product() -> bool:
    """sum_i W_i ln(c i k_i / W_i) <= L W ln c for c >= e, with W_i <= W and i k_i <= L p_i, sum_i p_i = W
    parameters."""
    w, a, total, sums, log = z3.Reals("W_i a_i sum(W_i) sum(a_i) ln(a_i.sum(W_i)/(W_i.sum(a_i)))")
    positive = (w > 0, a > 0, total > 0, sums > 0)
    # ln x <= x - 1. Over the layers the right side, shares of a_i and of W_i, adds up to 0.
    means = prove(w * log <= total * (a / sums) - w, *positive, log <= (a / w) * (total / sums) - 1)
    # The rest is S ln(c A / S) for S = sum W_i <= L W and A = sum i k_i <= L W; x = S / (L W).
    x, log_x, log_c = z3.Reals("x ln(x) ln(c)")
    whole = prove(x * (log_c - log_x) <= log_c, x > 0, x <= 1, -log_x <= 1 / x - 1, log_c >= 1)
    layer, layers, neurons, parameters = z3.Reals("i L k_i p_i")
    depth = prove(
        layer * neurons <= layers * parameters, layer <= layers, neurons <= parameters, layer >= 1, neurons >= 1
    )
    return all(part.holds is True for part in (means, whole, depth))


def lookup_total_covers() -> bool:
    """Layers of a look-up are at most 10 wide, for all sizes, so that `lookup_total` is at least what they have."""
    index, label, later, next_cell = z3.Ints("index label later next_cell")
    flags = [z3.And(flag >= 0, flag <= 1) for flag in (index, label, later, next_cell)]
    narrow = prove(3 + 2 * index + later + 2 * label + later + next_cell <= 10, *flags).holds is True
    D, q, G, x = sp.symbols("D q G x")
    layers = x * (q * D + 2)
    # Inputs and index; 3 to 2; groups of 5 and 4; layers of at most 10; the output.
    most = (D + 1) * (3 * D + 1) + (q - 1) * (3 * D + 2) * (3 * D + 1) + 3 * (3 * D + 2)
    most += 4 * 2 + (G - 1) * (5 * 5 + 6 * 4) + layers * 11 * 10 + 11
    total = (3 * D + 2) * (q * (3 * D + 1) + 3) + 19 + 49 * G + 110 * layers
    return narrow and decide(total - most, {D: 1, q: 1, G: 1, x: 1}).holds is True


def plans_within_total() -> bool:
    """The library's plans, over a grid of sizes: the groups of the formula, and those that the library takes."""
    for dim, digits, cells in product(range(2, 9), (2, 3, 5), (1, 2, 5, 13, 50, 400)):
        bits, total = digits * dim, lookup_total(cells, digits, dim)
        plans = (Plan(cells, bits, 1, digits, dim, group_size(cells, bits)), Plan.best(cells, bits, 1, digits, dim))
        for plan in plans:
            widths = plan.look_up_widths
            if plan.size.total > total or widths[: 2 * plan.groups] != [3, 2] + [5, 4] * (plan.groups - 1):
                return False
            if max(widths[2 * plan.groups :]) > 10 or len(widths) != 2 * plan.groups + plan.per_group * (bits + 2):
                return False
    return True


def steps(volume: float, most_parameters: int) -> dict[str, bool]:
    """The steps of the bound that are decided here; volume is 1 in the claim."""
    near = [sum(1 << q for q in range(8) if bin(p ^ q).count("1") <= 1) for p in range(8)]
    covering = [f for f in range(256) if _union(near, f) == 255]
    volumes = all(
        arb(sum(comb(n, i) for i in range(n // 10 + 1))).log() <= (n - labelling_bits(n, 0.1)) * arb(2).log()
        for n in range(10, 400, 10)
    )
    closed = all(
        product_bits(n, layers) <= graph_bits(n, W, len(layers))
        for W in range(2, most_parameters + 1)
        for layers in layerings(W)
        for n in (W, 10 * W)
    )
    return {
        "patterns that cover": min(f.bit_count() for f in covering) * 4 == volume * 8,
        "balls of labellings": volumes and entropy_bounds_sums(),
        "patterns of networks": closed and closed_form_bounds_product(),
        "look-up of cells": lookup_total_covers() and plans_within_total(),
    }


def _union(near: list[int], family: int) -> int:
    covered = 0
    for p in range(8):
        covered |= near[p] if family >> p & 1 else 0
    return covered


def built_within_bound(seed: int) -> bool:
    """`grid_cells` networks are right at corners of balls at ratio 0.9, and no larger than the upper bound."""
    for side, dim in ((2, 3), (2, 4), (3, 3), (4, 2)):
        data = grid_family(side, dim, 1e-3 / side, seed=seed)
        found = memorize(data.points, data.labels, "inf", 0.9 / (2 * side), construction="grid_cells")
        network, generator = found.network, np.random.default_rng(seed)
        assert isinstance(network, ExactNetwork), "the weights of grid_cells are exact rationals"
        for x, y in zip(data.points, data.labels, strict=True):
            corner = x + 0.9 / (2 * side) * (1 - 1e-9) * generator.choice((-1, 1), dim)
            if not network.evaluate([Fraction(v) for v in corner.tolist()])[0] * int(y) > 0:
                return False
        if found.network.size.total > robust_size_upper_bound(dim, 1 / (2 * side)):
            return False
    return True


def check(
    *,
    largest_dim: int = 2048,
    every: int = 24,
    sides: tuple[int, ...] = (2, 3, 5, 10),
    balls_dim: int = 2,
    seed: int = 0,
    exponent: float = 0.5,
    lower: float = 2.0,
    upper: float = 310.0,
    volume: float = 1.0,
    neurons: Mapping[tuple[int, int, int], float] = SMALL,
) -> Finding:
    """The least networks for the smallest D, the steps of the bound, and both bounds at D up to `largest_dim`.

    Args:
        largest_dim: largest dimension D of the bounds.
        every: all D up to this one are evaluated, then powers of two.
        sides: cells per side K of the bounds.
        balls_dim: largest D for which networks are decided on whole balls.
        seed: seed of the labellings of built networks.
        exponent: claimed exponent of the number of cells K^(D-1).
        lower: claimed constant of the lower bound, a divisor.
        upper: claimed constant of the upper bound.
        volume: claimed least size of patterns times ball over 2^n.
    """
    found = {case: worst(*case) for case in neurons if not case[2] or case[1] <= balls_dim}
    wrong = [f"K = {K}, D = {D}: {k} neurons" for (K, D, r), k in found.items() if neurons[K, D, r] != k]
    decided = steps(volume, 6) | {"built networks": built_within_bound(seed)}
    wrong += [step for step, held in decided.items() if not held]
    dims = sorted({*range(2, every + 1), *(2**e for e in range(1, 14) if 2**e <= largest_dim)})
    open_at, slack, ratio = "", float("inf"), 0.0
    for K, D in product(sides, dims):
        low, high = robust_size_lower_bound(D, 1 / (2 * K)), robust_size_upper_bound(D, 1 / (2 * K))
        size, bits = arb(K) ** (exponent * (D - 1)), D * arb(K).log() / arb(2).log()
        claimed_low, claimed_high = size / (lower * bits.sqrt()), upper * size * (bits + D).sqrt()
        if claimed_low > high or claimed_high < low:
            wrong.append(f"K = {K}, D = {D}: size between {float(arb(low)):.3g} and {float(arb(high)):.3g}")
        elif not (claimed_low <= low and high <= claimed_high):
            open_at = open_at or f"K = {K}, D = {D}"
        slack = min(slack, float(arb(low) / claimed_low), float(claimed_high / high))
        ratio = max(ratio, float(arb(high) / low / bits))
    holds = False if wrong else None if open_at else True
    return Finding(
        holds=holds,
        slack=max(slack, 1.0) if holds else min(slack, 0.999),
        tested=f"all networks of two layers, all labellings, {len(found)} grids; steps for all sizes; all networks at "
        f"D up to {every} and powers of 2 up to {dims[-1]:,}, K = {', '.join(map(str, sides))}",
        bound=f"size^2 is K^(D-1), up to factors {lower:g}^2 D log_2 K and {upper:g}^2 D log_2(2 K)",
        measured=f"neurons {list(found.values())}; {sum(decided.values())} of {len(decided)} steps; bounds differ by "
        f"at most {ratio:.3g} D log_2 K" + (f"; open at {open_at}" if open_at else ""),
        constant=f"both constants are at least {slack:.3g} times too large",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="at the K and D tested, for all labellings of the grid at offset e, or 0.9 of it, networks robust on "
    "l_inf balls of radius r, e <= r < 1/(2 K), take at least K^((D-1)/2) / (2 sqrt(D log_2 K)) parameters, and 310 "
    "K^((D-1)/2) sqrt(D log_2(2 K)) suffice for small e, counted for grids of cells with looked-up labels, which are "
    "built and evaluated on four grids only; in two layers and right at the cells, as at small r, 1, 2, 3 neurons for "
    "K = 2, D = 2, 3, 4 at the worst labelling, and 1 on balls of radius 1/(4 K) for D = 2 (by the deep preset 3 for D "
    "= 3)",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.7; Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3, "
    "with exponent (D-1)/6; exponent and constants derived here, with Bartlett et al., JMLR 2019",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "2 <= balls_dim <= 3": lambda balls_dim: 2 <= balls_dim <= 3,
        "all K >= 2": lambda sides: len(sides) > 0 and min(sides) >= 2,
        "2 <= every <= largest_dim <= 8192": lambda every, largest_dim: 2 <= every <= largest_dim <= 8192,
    },
    deep={"every": 300, "balls_dim": 3, "sides": (2, 3, 5, 10, 100)},
    controls={
        "exponent 0.45": {"exponent": 0.45, "neurons": {}},
        "exponent 0.55": {"exponent": 0.55, "neurons": {}},
        "the published (D-1)/6": {"exponent": 1 / 6, "neurons": {}},
        "two neurons for K = 2, D = 4": {"neurons": {(2, 4, 0): 2}, "largest_dim": 24},
        "two neurons on balls for D = 2": {"neurons": {(2, 2, 1): 2}, "largest_dim": 24},
    },
    constants={
        "exponent (D-1)/2 of K": Constant(lambda f: {"exponent": 0.5 * f, "neurons": {}}),
        "neurons 1, 2, 3 (and 2 for K = 3; 1, 3 on balls) at K = 2, D = 2, 3, 4": Constant(
            lambda f: {"neurons": {case: f * k for case, k in SMALL.items()}}
        ),
        "1 = patterns times ball over 2^n, attained": Constant(lambda f: {"volume": f, "neurons": {}}),
        "2 in the lower bound": Constant(
            lambda f: {"lower": 2 * f, "neurons": {}},
            refuted=(),
            otherwise="no network is known between the two bounds, whose ratio the check prints",
        ),
        "310 in the upper bound": Constant(
            lambda f: {"upper": 310 * f, "neurons": {}},
            refuted=(),
            otherwise="no bound is known between the two, whose ratio the check prints",
        ),
        "radius 1/(4 K)": Constant(
            None, refuted=(), otherwise="where balls are decided; from half the largest radius on a diagonal needs 3"
        ),
        "0.9 of the cells": Constant(
            None, refuted=(), otherwise="every share below 1/2 follows with another constant: `share_lost`"
        ),
    },
)
