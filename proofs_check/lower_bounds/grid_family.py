"""The grid family of the lower bound, for every classifier: a hyperplane makes no clean error, and from radius e on
every robust classifier has all K^(D-1) labels on the hyperplane.

Points (i_1/K, ..., i_{D-1}/K, 1/2 + e phi(i)), phi any labelling, balls in l_inf of radius r. z3 decides, for all
integers i, i', all labels, all real K >= 1, e, r, and for every classifier f, an uninterpreted function of x:

    (1) f = sgn(x_D - 1/2) is right at all points (e > 0), with at most D + 1 parameters
    (2) points of different cells are 1/K or more apart, in every l_p, and neighbours with one label exactly that far
    (3) if f is right on the ball of a cell and r >= e, its sign at (i/K, 1/2) is phi(i)
    (4) if r < e, the hyperplane is right on all balls: no label is forced

A sign is read as right only on one side: f(x) is any number. Other coordinates do not change: cells are compared in one
coordinate that differs, and K^(D-1) of them need no more. The library's family is compared with the formula.
"""

from __future__ import annotations

import numpy as np
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision
from cgro.data.separated import grid_family


def decisions(apart: float, threshold: float, exactly: float) -> dict[str, Decision]:
    """The four statements; 1 for all numbers in the claim."""
    i, j = z3.Ints("i j")
    K, e, r, s, y, label = z3.Reals("K e r s y label")
    f = z3.Function("f", z3.RealSort(), z3.RealSort(), z3.RealSort())
    is_label = z3.Or(label == 1, label == -1)
    sizes = (K >= 1, e > 0, r > 0, is_label)
    half = z3.RealVal("1/2")
    center = (z3.ToReal(i) / K, half + e * label)
    # (3): the hypothesis at the point of the ball that matters, s = distance along x_D.
    on_ball = z3.Implies(z3.And(s >= -r, s <= r), label * f(center[0], center[1] + s) > 0)
    distance = (z3.ToReal(i) - z3.ToReal(j)) / K
    return {
        "clean hyperplane": prove(label * (center[1] - half) > 0, *sizes),
        "separation": prove(z3.Or(distance >= apart / K, -distance >= apart / K), *sizes, i != j),
        "attained": prove(distance == exactly / K, *sizes, i == j + 1),
        "labels forced": prove(
            label * f(center[0], half) > 0, *sizes, r >= threshold * e, z3.substitute(on_ball, (s, -e * label))
        ),
        "hyperplane robust": prove(
            label * (y - half) > 0, *sizes, r < threshold * e, y - center[1] >= -r, y - center[1] <= r
        ),
    }


def library_agrees(side: int, dim: int, offset: float, seed: int) -> bool:
    """The library's points are those of the formula."""
    data = grid_family(side, dim, offset, seed=seed)
    cells = np.indices((side,) * (dim - 1)).reshape(dim - 1, -1).T + 1
    return bool(
        np.array_equal(data.points[:, :-1], cells / side)
        and np.allclose(data.points[:, -1], 0.5 + offset * np.asarray(data.labels), rtol=0, atol=1e-15)
    )


def check(
    *,
    largest_side: int = 5,
    largest_dim: int = 4,
    seed: int = 0,
    apart: float = 1.0,
    threshold: float = 1.0,
    exactly: float = 1.0,
) -> Finding:
    """The statements for all sizes, and the library's families.

    Args:
        largest_side: largest K of the library's families.
        largest_dim: largest D of the library's families.
        seed: seed of their labellings.
        apart: claimed separation times K.
        threshold: claimed radius from which on labels are forced, over e.
        exactly: claimed distance of neighbours times K.
    """
    found = decisions(apart, threshold, exactly)
    sizes = [(K, D) for K in range(2, largest_side + 1) for D in range(2, largest_dim + 1)]
    same = all(library_agrees(K, D, 0.01 / K, seed) for K, D in sizes)
    wrong = [f"{name}: {proof.counterexample}" for name, proof in found.items() if proof.holds is False]
    wrong += [] if same else ["the library's points"]
    holds = False if wrong else None if any(proof.holds is None for proof in found.values()) else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all K, e, r, cells, labels and classifiers; {len(sizes)} families of the library",
        bound="clean error 0, separation 1/K, all labels forced from radius e on",
        measured=f"{sum(proof.holds is True for proof in found.values())} of {len(found)} statements proved",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="grid family: a hyperplane is clean, cells are 1/K apart, and balls of radius r force all labels on "
    "every robust classifier iff r >= e, the offset",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "2 <= largest_side, 2 <= largest_dim, at most 10,000 cells": lambda largest_side, largest_dim: (
            largest_side >= 2 and largest_dim >= 2 and largest_side ** (largest_dim - 1) <= 10_000
        ),
    },
    deep={"largest_side": 10, "largest_dim": 5},
    controls={
        "labels forced from radius e / 2 on": {"threshold": 0.5},
        "labels not forced below radius 2 e": {"threshold": 2.0},
        "separation 2 / K": {"apart": 2.0},
    },
    constants={
        "separation 1/K": Constant(lambda f: {"apart": f, "exactly": f}),
        "radius 1 e": Constant(lambda f: {"threshold": f}),
    },
)
