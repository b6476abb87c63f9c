"""The CGRO classifier has poly(D) + O~(N D) parameters: its non-zero weights are linear in N, and every point takes
exactly

    10 D + 2 in l_inf,   8 D + 4 in l_1
    13 D + 4 in l_2 with one level of squares, 23 D + 6 + (m-2)(8 D + 1) with m >= 2 levels

with its own indicators (D a power of two, so that in trees of maxima every value has a partner). Three sizes N decide
linearity and slope; all layers are affine in N at fixed D. The clean network and the gate add a number that does not
depend on N.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.indicators import Parts
from cgro.memorizers.task import memorization_task
from cgro.networks.relu import ReluNetwork

Slope = Callable[[str, int, int], int]


def slope(kind: str, dim: int, levels: int) -> int:
    """Non-zero weights and biases of each further point."""
    return {
        "inf": 10 * dim + 2,
        "1": 8 * dim + 4,
        "2": 13 * dim + 4 if levels == 1 else 23 * dim + 6 + (levels - 2) * (8 * dim + 1),
    }[kind]


def nonzero(samples: int, dim: int, norm: Norm, parts: Parts, shell: float) -> tuple[int, int]:
    """Non-zero weights and depth of the classifier around a linear clean one; points are 1 apart on a line off the
    axes."""
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.4, (samples, dim))
    x[:, 0] += np.arange(samples)
    y = np.where(np.arange(samples) % 2, 1, -1)
    task = memorization_task(x, y, norm, 0.1)
    clean = ReluNetwork.of([(np.ones((1, dim)), np.zeros(1)), (np.ones((1, 1)), -np.ones(1))])
    built = cgro_classifier(task, clean=clean, shell=shell, parts=parts)
    return built.float_network.size.nonzero, built.float_network.size.depth


def check(*, dims: tuple[int, ...] = (2, 4, 8, 32), law: Slope = slope) -> Finding:
    """Slope in N at three sizes, for each norm and dimension.

    Args:
        dims: dimensions D, powers of two.
    """
    wrong, levels = "", set()
    norms: tuple[Norm, ...] = ("inf", "1", "2")
    for norm in norms:
        for dim in dims:
            (a, depth), (b, _), (c, _) = (nonzero(n, dim, norm, "own", 0.05) for n in (4, 6, 8))
            m = depth - 5 if norm == "2" else 1
            levels.add(m)
            claimed = 2 * law(norm, dim, m)
            if not c - b == b - a == claimed:
                wrong = (
                    wrong or f"l_{norm}, D = {dim}, m = {m}: {(b - a) / 2:g} and {(c - b) / 2:g}, not {claimed / 2:g}"
                )
    return Finding(
        holds=not wrong,
        slack=float("inf") if not wrong else 0.0,
        tested=f"three sizes N at D = {dims}, in l_inf, l_1, l_2 (m = {sorted(levels)})",
        bound="the polynomials",
        measured="all equal" if not wrong else "not all equal",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="the CGRO classifier has poly(D) + O~(N D) non-zero parameters: N (10 D + 2) in l_inf",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"D is a power of two, >= 2": lambda dims: all(d >= 2 and d & (d - 1) == 0 for d in dims)},
    deep={"dims": (2, 4, 8, 16, 32, 64)},
    controls={
        "8 D in l_inf": {"law": lambda kind, d, m: 8 * d if kind == "inf" else slope(kind, d, m), "dims": (4,)},
        "6 D + 5 in l_1": {"law": lambda kind, d, m: 6 * d + 5 if kind == "1" else slope(kind, d, m), "dims": (4,)},
        "constant in D": {"law": lambda kind, d, m: slope(kind, 4, m), "dims": (4, 8)},
    },
)
