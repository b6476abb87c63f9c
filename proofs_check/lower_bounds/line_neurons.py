"""Two-layer networks on a line: c label changes take exactly 1, 2, 3 neurons for c = 1, 2, 3 and c - 1 for c
>= 4.

m ReLUs make m + 1 linear pieces, so at most m + 1 sign changes: m >= c - 1. Networks of the library with that many
neurons are built for every labelling of up to six cells and evaluated in rational arithmetic at the ends of all
balls. That c - 1 neurons do not suffice for c = 2, 3 is decided by exhaustive search: a network of m ReLUs is, up to
scaling, a choice of directions, of signs of the output weights and of their sizes; with one or two neurons the slopes
of the pieces cannot alternate as the changes require (the library's linear program over all choices of directions),
and no network with small integer weights has more changes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, product

import numpy as np

from cgro.claims.claim import Claim, Finding
from cgro.memorizers.line import line_network, neurons_needed
from cgro.networks.exact import ExactNetwork

Count = Callable[[int], int]


def most_changes(neurons: int, size: int = 3) -> int:
    """Largest number of sign changes of sum_j a_j relu(s_j x - b_j) + c over small integer a, b, c and directions
    s_j."""
    weights = [w for w in range(-size, size + 1) if w]
    best = 0
    for directions in product((1, -1), repeat=neurons):
        for breaks in product(range(0, 2 * size + 1, 2), repeat=neurons):
            # Values at, between and beyond the breakpoints, for all output weights at once.
            x = np.arange(-40, 80) / 2
            hidden = np.maximum(np.array(directions)[:, None] * (x[None, :] - np.array(breaks)[:, None]), 0)
            outer = np.array(list(product(weights, repeat=neurons)))
            values = (outer @ hidden)[:, None, :] + np.arange(-6, 7)[None, :, None] / 2
            signs = np.sign(values)
            # A zero keeps the sign before it.
            changes = (signs[..., 1:] * signs[..., :-1] < 0).sum(axis=-1) + (
                (signs[..., 1:-1] == 0) & (signs[..., 2:] * signs[..., :-2] < 0)
            ).sum(axis=-1)
            best = max(best, int(changes.max()))
    return best


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


def check(*, cells: int = 6, count: Count = neurons_needed) -> Finding:
    """Every labelling of up to `cells` cells, and the exhaustive search for one and two neurons.

    Args:
        cells: largest number of cells on the line.
    """
    wrong, tested = "", 0
    for K in range(1, cells + 1):
        for labels in product((-1, 1), repeat=K):
            changes = sum(a != b for a, b in pairwise(labels))
            used = realized(labels, Fraction(9, 10))
            tested += 1
            if used is None or used != count(changes):
                wrong = wrong or f"{changes} changes: network of {used} neurons, {count(changes)} claimed"
    # No fewer: one and two neurons never make 2 and 3 changes, and m neurons never more than m + 1.
    reached = {1: most_changes(1), 2: most_changes(2)}
    for m, changes in reached.items():
        if count(changes + 1) <= m or changes > m + 1:
            wrong = wrong or f"{m} neurons make {changes} changes"
    return Finding(
        holds=not wrong,
        slack=1.0 if not wrong else 0.0,
        tested=f"all {tested} labellings of up to {cells} cells; networks of 1 and 2 neurons, integer weights",
        bound="1, 2, 3, 3, 4, ... neurons for 1, 2, 3, 4, 5, ... changes",
        measured=f"1 and 2 neurons make at most {reached[1]} and {reached[2]} changes; networks exact at rho = 0.9",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="on a line c label changes take c neurons for c <= 3 and c - 1 for c >= 4, in two layers",
    source="smallest cases of the lower bound of Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= cells <= 9": lambda cells: 1 <= cells <= 9},
    deep={"cells": 9},
    controls={
        "c - 1 for every c": {"count": lambda c: max(c - 1, 0), "cells": 3},
        "c for every c": {"count": lambda c: c, "cells": 5},
    },
)
