"""The CGRO classifier has poly(D) + O~(N D) parameters: its non-zero weights are affine in N, and every point takes
exactly, with its own indicator,

    10 D + 2 in l_inf for D a power of two, and for every D at most log_2 D more
    8 D + 4 in l_1
    13 D + 4 in l_2 with one level of squares, 23 D + 6 + (m-2)(8 D + 1) with m >= 2 levels

In l_inf the trees of maxima carry a value without a partner: a pair of values, sums of a and b neurons, costs a + 2 b,
and a carried value its neurons. The exact count is that recursion. Counts of networks at three sizes N decide slope and
linearity for each D and norm: points add blocks to every layer. The clean network and the gate add a number that does
not depend on N. Coordinates that are 0 make biases vanish: one network with points on an axis has no more. With
shared parts, the library's default in l_inf, there are fewer (claim cgro-theorem).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.indicators import Parts
from cgro.memorizers.task import memorization_task
from cgro.networks.relu import ReluNetwork

SHELLS = [(2, 2e-3), (2, 5e-4), (2, 1e-4), (2, 5e-6), (5, 2e-3), (5, 1e-4), (5, 5e-6)]
"""Dimensions and shells that take m = 3 to 8 levels of squares in l_2."""
Slope = Callable[[str, int, int], float]


def slope(
    kind: str,
    dim: int,
    levels: int,
    ten: float = 10.0,
    two: float = 2.0,
    l_1: float = 1.0,
    one_level: float = 1.0,
    two_levels: float = 1.0,
    more: float = 1.0,
) -> float:
    """Non-zero weights and biases of each further point; in l_inf 10 D + 2, which is exact for powers of two. The last
    four arguments are factors of the other polynomials."""
    squares = one_level * (13 * dim + 4)
    if levels > 1:
        squares = two_levels * (23 * dim + 6) + more * (levels - 2) * (8 * dim + 1)
    return {"inf": ten * dim + two, "1": l_1 * (8 * dim + 4), "2": squares}[kind]


def exact_maximum(dim: int) -> int:
    """The count in l_inf for every D: 4 D for |x_k - x_ik|, the tree, 2 for each neuron of the root, and 4."""
    total, terms = 4 * dim, [2] * dim
    while len(terms) > 1:
        pairs = list(zip(terms[0::2], terms[1::2], strict=False))
        left = terms[2 * len(pairs) :]
        total += sum(a + 2 * b for a, b in pairs) + sum(left)
        terms = [2] * len(pairs) + [1] * len(left)
    return total + 2 * terms[0] + 4


def nonzero(
    samples: int, dim: int, norm: Norm, parts: Parts, shell: float, *, on_axis: bool = False
) -> tuple[int, int]:
    """Non-zero weights and depth of the classifier around a linear clean one; points are 1 apart on a line off the
    axes, or on the first axis."""
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.4, (samples, dim))
    x[:, 0] += np.arange(samples)
    x[:, 1:] *= not on_axis
    y = np.where(np.arange(samples) % 2, 1, -1)
    task = memorization_task(x, y, norm, 0.1)
    clean = ReluNetwork.of([(np.ones((1, dim)), np.zeros(1)), (np.ones((1, 1)), -np.ones(1))])
    built = cgro_classifier(task, clean=clean, shell=shell, parts=parts)
    return built.float_network.size.nonzero, built.float_network.size.depth


def check(*, largest_dim: int = 5, law: Slope = slope) -> Finding:
    """Slope in N at three sizes, for each norm and every dimension; the l_inf count against its bound.

    Args:
        largest_dim: largest D of the networks.
    """
    wrong, levels = "", set()
    norms: tuple[Norm, ...] = ("inf", "1", "2")
    dims = [*range(1, largest_dim + 1), 17]
    for norm in norms:
        for dim, shell in [*((dim, 0.05) for dim in dims), *(SHELLS if norm == "2" else [])]:
            counts = [nonzero(n, dim, norm, "own", shell) for n in (4, 6, 10)]
            m = counts[0][1] - 5 if norm == "2" else 1
            levels.add(m)
            steps = [(b - a) / n for (a, _), (b, _), n in zip(counts[:-1], counts[1:], (2, 4), strict=True)]
            exact = exact_maximum(dim) if norm == "inf" else law(norm, dim, m)
            if steps != [exact] * 2:
                wrong = wrong or f"l_{norm}, D = {dim}, m = {m}: {steps[0]:g} for each point, not {exact:g}"
        fewer = [nonzero(n, 3, norm, "own", 0.05, on_axis=True) for n in (4, 10)]
        m, each = (fewer[0][1] - 5 if norm == "2" else 1), (fewer[1][0] - fewer[0][0]) / 6
        if each > (exact_maximum(3) if norm == "inf" else law(norm, 3, m)):
            wrong = wrong or f"l_{norm}, D = 3, points on an axis: {each:g} for each point, more than the polynomial"
    excess = {dim: exact_maximum(dim) - law("inf", dim, 1) for dim in (*range(1, 300), 2047, 2048, 2049)}
    for dim, more in excess.items():
        if not 0 <= more <= math.log2(dim) or (more > 0 and dim & (dim - 1) == 0):
            wrong = (
                wrong
                or f"l_inf, D = {dim}: {exact_maximum(dim)}, the claim allows {law('inf', dim, 1):g} to log_2 D more"
            )
    most = max(excess, key=lambda dim: excess[dim])
    return Finding(
        holds=not wrong,
        slack=float("inf") if not wrong else 0.0,
        tested=f"three sizes N at every D up to {largest_dim}, and 17, in l_inf, l_1, l_2 (m = {sorted(levels)}); "
        "the recursion for D up to 299, and next to 2,048",
        bound="the polynomials",
        measured=f"{'all' if not wrong else 'not all'} equal; at most {excess[most]:g} more than 10 D + 2 (D = {most})",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="the CGRO classifier with own parts has poly(D) + O~(N D) non-zero parameters, the second term, for N "
    "points without a coordinate 0, being in l_inf N (10 D + 2), and at most log_2 D more for each point unless D is a "
    "power of two; in l_1 N (8 D + 4); in l_2 N (13 D + 4) with m = 1 level of squares, else N (23 D + 6 + (m-2)(8 D + "
    "1)); zeros among coordinates only make biases vanish",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4; the count derived here",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= largest_dim <= 64": lambda largest_dim: 1 <= largest_dim <= 64},
    deep={"largest_dim": 40},
    constants={
        "10 D": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, ten=10 * factor)}),
        "2 in 10 D + 2": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, two=2 * factor)}),
        "8 D + 4 in l_1": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, l_1=factor)}),
        "13 D + 4": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, one_level=factor)}),
        "23 D + 6": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, two_levels=factor)}),
        "(m-2)(8 D + 1)": Constant(lambda factor: {"law": lambda kind, d, m: slope(kind, d, m, more=factor)}),
        "a power of two": Constant(None, refuted=(), otherwise="the D whose trees give every value a partner"),
    },
    controls={
        "8 D in l_inf": {"law": lambda kind, d, m: 8 * d if kind == "inf" else slope(kind, d, m), "largest_dim": 2},
        "6 D + 5 in l_1": {"law": lambda kind, d, m: 6 * d + 5 if kind == "1" else slope(kind, d, m), "largest_dim": 4},
        "constant in D": {"law": lambda kind, d, m: slope(kind, 4, m), "largest_dim": 4},
    },
)
