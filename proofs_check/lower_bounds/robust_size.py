"""Robust classification of the grid family takes about K^((D-1)/2) parameters, no fewer and no more: the lower bound
exp(Omega(D)) of Li & Li with its exponent, while a hyperplane of D + 1 parameters classifies cleanly.

Exhaustive, for two layers and the smallest D: over all real weights z3 decides, for every labelling up to symmetry, how
many ReLUs are right at all cells. Networks that are right at the cells are robust at small radii, and no robust network
has fewer neurons at any radius. For radius 1/(4 K), half the largest, whole balls are decided: 1 neuron for K = D = 2,
and 3 for D = 3, in the deep preset.

For all networks of W non-zero parameters, whatever their depth, a bound with constants (`robust_size_lower_bound`), in
balls, at every D: if networks err on at most a share 0.1 of the cells of every labelling,

    patterns sum_{i <= a n} C(n, i) >= 2^n        and   sum_{i <= a n} C(n, i) <= 2^(n H(a)),
    patterns <= 2^(W + W^2 log2(2 e n)) (W (D + W))^W,   n = K^(D-1).

The first is decided for all families of patterns on 3 cells, where repetition attains it; the second in integers; the
third, closed, form is compared in balls with Bartlett's product over all ways to arrange few parameters in layers.
That product, hence Warren's bound of sign patterns of polynomials, is cited. From above, `grid_cells` networks of the
library are built for random labellings, evaluated exactly at corners of balls, and counted.

So size is between K^((D-1)/2) / (2 sqrt(D log2 K)) and 310 K^((D-1)/2) sqrt(D log2(2 K)). A moved claim is refuted if
the other side contradicts it, and undecided in between: the two bounds differ by a factor of about 300 D log2 K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from math import comb
from types import MappingProxyType

import numpy as np
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.exhaustive import fewest_neurons, labellings_up_to_symmetry
from cgro.data.separated import grid_family
from cgro.memorizers.constructions import memorize
from cgro.memorizers.robust_size import (
    graph_bits,
    labelling_bits,
    robust_size_lower_bound,
    robust_size_upper_bound,
)
from cgro.networks.exact import ExactNetwork

SMALL = MappingProxyType({(2, 2, 0): 1, (2, 3, 0): 2, (2, 4, 0): 3, (3, 2, 0): 2, (2, 2, 1): 1, (2, 3, 1): 3})
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
        "balls of labellings": volumes,
        "patterns of networks": closed,
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
    for K, D in product((2, 3, 10), dims):
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
        tested=f"all networks of two layers, all labellings, {len(found)} grids; all networks at D up to {every} and "
        f"powers of 2 up to {dims[-1]:,}, K = 2, 3, 10",
        bound=f"size^2 is K^(D-1), up to factors {lower:g}^2 D log_2 K and {upper:g}^2 D log_2(2 K)",
        measured=f"neurons {list(found.values())}; {sum(decided.values())} of {len(decided)} steps; bounds differ by "
        f"at most {ratio:.3g} D log_2 K" + (f"; open at {open_at}" if open_at else ""),
        constant=f"both constants are at least {slack:.3g} times too large",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="for all labellings of the grid, or 0.9 of it, robust networks take at least K^((D-1)/2) / (2 sqrt(D "
    "log_2 K)) parameters, and 310 K^((D-1)/2) sqrt(D log_2(2 K)) suffice; in two layers 1, 2, 3 neurons for K = 2, "
    "D = 2, 3, 4",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.7; Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3, "
    "with exponent (D-1)/6; exponent and constants derived here, with Bartlett et al., JMLR 2019",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "2 <= balls_dim <= 3": lambda balls_dim: 2 <= balls_dim <= 3,
        "2 <= every <= largest_dim <= 8192": lambda every, largest_dim: 2 <= every <= largest_dim <= 8192,
    },
    deep={"every": 300, "balls_dim": 3},
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
        "0.9 of the cells": Constant(
            None, refuted=(), otherwise="every share below 1/2 follows with another constant: `share_lost`"
        ),
    },
)
