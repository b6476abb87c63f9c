"""Two-layer networks on a line, for up to six cells: c label changes take 1, 2, 3 neurons for c = 1, 2, 3, and c - 1
for c = 4, 5, no fewer over all real weights.

For every labelling, up to reflection and sign, z3 decides how many ReLUs are needed: k - 1 neurons are refuted at
finitely many points of the cells' balls, for all real weights, and with k neurons the solver finds a network and proves
it right on the whole balls. The library's network has k neurons, too, and is evaluated in rational arithmetic at both
ends of all balls; on a line a piecewise linear function that changes its sign as often as the labels is then right
in between. (m ReLUs make m + 1 linear pieces, hence m + 1 changes at most: m >= c - 1 for every c. This general
argument is not decided here.)
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.exhaustive import fewest_neurons, labellings_up_to_symmetry
from cgro.memorizers.line import line_network, neurons_needed
from cgro.networks.exact import ExactNetwork

Count = Callable[[int], float]


def realized(labels: tuple[int, ...], ratio: Fraction) -> int | None:
    """Neurons of the library's network if it is correct at both ends of every ball, exactly; otherwise None."""
    K = len(labels)
    zeros = np.array([(2 * j + 3) / (2 * K) for j in range(K - 1) if labels[j] != labels[j + 1]])
    network = line_network(zeros, labels[0], np.ones(1))
    exact = ExactNetwork.of(network)
    reach = ratio / (2 * K)
    for j, label in enumerate(labels):
        for end in (-1, 1):
            value = exact.evaluate([Fraction(j + 1, K) + end * reach])[0]
            if not label * value > 0:
                return None
    return network.widths[0] if len(zeros) else 0


def check(*, cells: int = 5, ratio: float = 0.9, count: Count = neurons_needed) -> Finding:
    """Every labelling of 1 to `cells` cells, up to symmetry, over all real weights.

    Args:
        cells: largest number of cells on the line.
        ratio: robustness ratio of the balls, in (0, 1).
    """
    wrong, tested, open_ended = "", 0, 0
    rho = Fraction(ratio).limit_denominator(1000)
    for K in range(1, cells + 1):
        centers = [(Fraction(j),) for j in range(K)]
        for labels, _ in labellings_up_to_symmetry(K, 1):
            changes = sum(a != b for a, b in pairwise(labels))
            least = fewest_neurons(centers, labels, rho / 2, changes)
            built = realized(labels, rho)
            tested += 1
            open_ended += least is None
            if built != count(changes) or least not in (None, count(changes)):
                wrong = wrong or f"{changes} changes take {least} neurons, {built} built; {count(changes):g} claimed"
    holds = False if wrong else None if open_ended else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all {tested} labellings of up to {cells} cells, up to symmetry; all real weights",
        bound="1, 2, 3, 3, 4 neurons for 1, 2, 3, 4, 5 changes",
        measured=f"least numbers found at rho = {ratio:g}; {open_ended} not decided in time",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="up to 5 cells on a line, by the deep preset 6: c label changes take exactly c ReLUs in two layers, c - "
    "1 for c >= 4, on balls of one ratio rho, which is printed",
    source="smallest cases of the lower bound of Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= cells <= 6": lambda cells: 1 <= cells <= 6, "0 < ratio < 1": lambda ratio: 0 < ratio < 1},
    deep={"cells": 6},
    controls={
        "c - 1 for every c": {"count": lambda c: max(c - 1, 0), "cells": 3},
        "c for every c": {"count": lambda c: c, "cells": 5},
    },
    constants={
        "c ReLUs, factor 1": Constant(lambda f: {"count": lambda c: f * neurons_needed(c)}),
        "c - 1 for c >= 4": Constant(lambda f: {"count": lambda c: c if c <= round(3 + 20 * (f - 1)) else c - 1}),
        "5 cells, 6 by the deep preset": Constant(None, refuted=(), otherwise="the ranges that are decided"),
    },
)
