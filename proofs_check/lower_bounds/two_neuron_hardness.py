"""Deciding whether two neurons memorize robustly is NP-hard: a reduction from set splitting, decided both ways.

The problem: given labelled points, labels -1 and +1, and a radius mu, is there a network f = a_1 relu(u_1) + a_2
relu(u_2) + c, u_k affine with real weights, with y f > 0 on every closed ball B_p(x, mu)? Set splitting (Lovasz 1973;
Garey & Johnson, SP4; NP-complete for sets of at most 3 elements): can 1..n be split into two parts such that no set of
a family lies in either part? The points of a family, in R^(n+1), are those of Blum & Rivest (1992) for two threshold
units, and two more, q = e_(n+1) and -q:

    label +1: 0 and sum_{i in c} e_i for every set c;   label -1: e_1, ..., e_n, q, -q

1. If f is right at the points, the family splits. z3 decides this for all real weights, whatever n: with a_k = +-1 (the
rest goes into u_k), only the values of u_1 and u_2 at 0, e_i, q matter, and the parts can be read from them. The points
+-q exclude networks whose negative region is convex. 2. If the family splits into S_1 and S_2, then with g_1 = sum over
S_1 - 2 sum over S_2 + x_(n+1), and g_2 with parts and sign exchanged, f = 1 - relu(4 g_1 - 1) - relu(4 g_2 - 1) is 1 on
all l_inf balls of radius 1/(8 n) of label +1 and at most -1 on the others, and so in every l_p: decided for all n in
integers. So the two questions are one at every radius up to 1/(8 n): points of opposite labels are 1 apart in l_inf, so
these are ratios rho up to 1/(4 n), which tend to 0. Small families are decided independently by z3
with all weights unknown, and built networks are evaluated exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

import numpy as np
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, all_of, possible, prove, relu
from cgro.claims.symbolic import Decision
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

Family = tuple[tuple[int, ...], ...]
SIGNS = ((1, 1), (1, -1), (-1, -1))
"""Of a_1 and a_2, up to exchange; a zero is a neuron that is off everywhere."""
FAMILIES: tuple[tuple[int, Family], ...] = (
    (3, ((0, 1), (1, 2))),
    (3, ((0, 1), (1, 2), (0, 2))),
    (3, ((0, 1, 2),)),
    (4, ((0, 1, 2), (0, 3), (1, 3), (2, 3))),
    (4, ((0, 1, 2), (0, 1, 3), (2, 3))),
    (5, ((0, 1), (1, 2), (2, 3), (3, 4), (0, 4))),
    (5, tuple(combinations(range(5), 3))),
)


def points_of(n: int, family: Family, gadget: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The points (N, n + 1) of a family of subsets of range(n), and their labels."""
    sums = [np.isin(np.arange(n + 1), c).astype(int) for c in ((), *family)]
    rows = [*sums, *np.eye(n + 1, dtype=int)[:n]]
    labels = [1] * len(sums) + [-1] * n
    if gadget:
        q = np.eye(n + 1, dtype=int)[n]
        rows, labels = [*rows, q, -q], [*labels, -1, -1]
    return np.array(rows), np.array(labels)


def splittings(n: int, family: Family) -> Iterator[tuple[int, ...]]:
    """The parts S_1 of all splittings into two parts that are not empty."""
    for mask in range(1, 2**n - 1):
        part = tuple(i for i in range(n) if mask >> i & 1)
        if all(0 < len(set(c) & set(part)) < len(c) for c in family):
            yield part


def network(n: int, part: tuple[int, ...], slope: float) -> ReluNetwork:
    """1 - relu(slope g_1 - 1) - relu(slope g_2 - 1)."""
    inside = np.isin(np.arange(n), part)
    rows = np.array([[*np.where(inside, 1, -2), 1], [*np.where(inside, -2, 1), -1]])
    return ReluNetwork.of([(slope * rows, -np.ones(2)), (-np.ones((1, 2)), np.ones(1))])


def splits(size: int, signs: tuple[int, int], gadget: bool) -> Decision:
    """A network that is right at 0, the e_i of a set and their sum, and at +-q, puts the set into both parts."""
    o, c, q = z3.Reals("o1 o2"), z3.Real("c"), z3.Reals("q1 q2")
    e = [z3.Reals(f"e{i}1 e{i}2") for i in range(size)]

    def f(u: list[Formula]) -> Formula:
        return signs[0] * relu(u[0]) + signs[1] * relu(u[1]) + c

    total = [z3.Sum([v[k] for v in e]) - (size - 1) * o[k] for k in range(2)]
    right = [f(o) > 0, f(total) > 0, *(f(v) < 0 for v in e)]
    if gadget:
        right += [f([o[k] + sign * q[k] for k in range(2)]) < 0 for sign in (1, -1)]
    # The part S_1: with a = (-1, -1) e_i leaves the positive region along u_1, with (1, -1) where u_1 + c <= 0.
    first = [v[0] > relu(o[0]) if signs[0] < 0 else v[0] + c <= 0 for v in e]
    return prove(z3.And(z3.Or(first), z3.Not(z3.And(first))), *right)


def robust(slope: float, divisor: float) -> dict[str, Decision]:
    """Statement 2 for all n = n_1 + n_2, the sizes of the parts: g_1 is at most 0 at points of label +1, and moves by
    at most (n_1 + 2 n_2 + 1) mu on a ball (g_2 is alike)."""
    a, b, n1, n2 = z3.Ints("a b n1 n2")
    k, d = (z3.RealVal(str(Fraction(v).limit_denominator(1000))) for v in (slope, divisor))
    # Everything times n.
    n, moved = z3.ToReal(n1 + n2), z3.ToReal(n1 + 2 * n2 + 1) / d
    parts = [n1 >= 1, n2 >= 1]
    return {
        "g_1 at sums of a and b elements": prove(a - 2 * b <= 0, a >= 1, b >= 1, a + b <= 3),
        "label +1, u_1 <= 0": prove(k * moved - n <= 0, *parts),
        "label -1, u_1 >= 2": prove(k * (n - moved) - n >= 2 * n, *parts),
    }


def memorizable(points: np.ndarray, labels: np.ndarray) -> bool | None:
    """Whether some network of two neurons, with any real weights, is right at all points."""
    answers = []
    for signs in SIGNS:
        dim = points.shape[1]
        u = [[z3.Real(f"w{k}_{j}") for j in range(dim + 1)] for k in range(2)]
        c, right = z3.Real("c"), []
        for x, y in zip(points.tolist(), labels.tolist(), strict=True):
            at = [relu(z3.Sum([v * int(t) for v, t in zip(w, (*x, 1), strict=True) if t])) for w in u]
            right.append(y * (signs[0] * at[0] + signs[1] * at[1] + c) >= 1)
        answers.append(possible(*right))
    return True if True in answers else None if None in answers else False


def margin(built: ReluNetwork, points: np.ndarray, labels: np.ndarray, radius: Fraction) -> Fraction:
    """A lower bound of all margins on l_inf balls, in rational arithmetic: of each neuron the worst value."""
    hidden, output = ExactNetwork.of(built).layers
    values = []
    for x, y in zip(points.tolist(), labels.tolist(), strict=True):
        ends = []
        for row, bias in hidden:
            center = bias + sum(w * x[j] for j, w in row)
            reach = radius * sum(abs(w) for _, w in row)
            ends.append((max(center - reach, Fraction(0)), max(center + reach, Fraction(0))))
        # All output weights are -1: the largest hidden values decide for label +1, the smallest for -1.
        (row, bias), *_ = output
        values.append(y * (bias + sum(w * ends[j][y > 0] for j, w in row)))
    return min(values)


def check(
    *, largest: int = 5, divisor: float = 8.0, order: float = 1.0, slope: float = 4.0, gadget: bool = True
) -> Finding:
    """Both statements for all n; families decided with all weights unknown; networks of all splittings of 1..n.

    Args:
        largest: largest n of built networks, for the families of all 2- and 3-sets that a splitting splits.
        divisor: the radius is 1 / (divisor n^order).
        order: see divisor; built networks alone decide it.
        slope: factor of g_1 and g_2 in f.
        gadget: whether +-q are among the points.
    """
    parts = {f"sets of {k}, a = {a}": splits(k, a, gadget) for k in (2, 3) for a in SIGNS} | robust(slope, divisor)
    proof = all_of(parts)
    wrong = [proof.counterexample] if proof.holds is False else []
    for n, family in FAMILIES:
        split, found = any(splittings(n, family)), memorizable(*points_of(n, family, gadget))
        if found is not None and found is not split:
            wrong.append(f"n = {n}, {family}: {'' if found else 'not '}memorized, {'' if split else 'not '}split")
    built = 0
    for n in range(2, largest + 1):
        sets = [c for size in (2, 3) for c in combinations(range(n), size)]
        for part in splittings(n, ()):
            family = tuple(c for c in sets if 0 < len(set(c) & set(part)) < len(c))
            built += 1
            radius = 1 / (Fraction(divisor) * Fraction(n**order))
            if margin(network(n, part, slope), *points_of(n, family, gadget), radius) < 1:
                wrong.append(f"n = {n}, S_1 = {part}: margin below 1")
    return Finding(
        holds=False if wrong else proof.holds,
        slack=1.0 if not wrong and proof.holds else 0.0,
        tested=f"all n and all real weights; {len(FAMILIES)} families with unknown weights; {built} built networks",
        bound=f"memorized if and only if the family splits; margin 1 at radius 1 / ({divisor:g} n)",
        measured=f"{sum(d.holds is True for d in parts.values())} of {len(parts)} steps proved",
        counterexample="; ".join(wrong[:2]),
    )


CLAIM = Claim(
    statement="a family of 2- and 3-sets in 1, ..., n splits if and only if 0 and the sums of e_i over its sets, label "
    "+1, and e_1, ..., e_n, e_(n+1), -e_(n+1), label -1, are memorized on balls of a radius up to 1/(8 n), rho <= 1/(4 "
    "n), in sign by a_1 relu(u_1) + a_2 relu(u_2) + c; then 1 - relu(4 g_1 - 1) - relu(4 g_2 - 1) has margin 1, g_k "
    "linear. Splitting such sets is NP-complete (Garey & Johnson, SP4), so robust memorization by depth 2 and width 2 "
    "is NP-hard",
    source="Yu, Gao & Zhang, ICLR 2024, Theorem 4.1 [N], for labels -1, +1, the sign read-out and every l_p; reduction "
    "derived here, after Blum & Rivest 1992; set splitting: Lovasz 1973",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "2 <= largest <= 9": lambda largest: 2 <= largest <= 9,
        "divisor, order, slope > 0": lambda divisor, order, slope: min(divisor, order, slope) > 0,
    },
    constants={
        "8 in 1/(8 n)": Constant(
            lambda factor: {"divisor": 8 * factor}, refuted=(0.95,), otherwise="a smaller radius is a weaker claim"
        ),
        "exponent of n in 1/(8 n)": Constant(
            lambda factor: {"order": factor}, refuted=(0.95,), otherwise="a smaller radius is a weaker claim"
        ),
        "rho <= 1/(4 n)": Constant(
            None, refuted=(), otherwise="the same bound: rho = 2 mu / lambda, and labels are lambda = 1 apart"
        ),
        "4 g_1 - 1": Constant(lambda factor: {"slope": 4 * factor}),
        "2- and 3-sets": Constant(None, refuted=(), otherwise="define the problem, which is NP-complete for such sets"),
        "depth 2 and width 2": Constant(None, refuted=(), otherwise="define the networks"),
    },
    deep={"largest": 7},
    controls={
        "without the points +-q": {"gadget": False, "largest": 3},
        "at radius 1/(7.6 n)": {"divisor": 7.6, "largest": 3},
        "with 4.2 g_1 - 1": {"slope": 4.2, "largest": 3},
    },
)
