"""|t| = relu(t) + relu(-t), max(a, b) = relu(a - b) + relu(b) for b >= 0, min(a, b) = relu(a) - relu(a - b) for a >= 0.

Each identity is linear between its hinges, so it is decided on the cells that the hinges cut: t = s or -s; a = b + s
or a = b - s with 0 <= s. By induction over pairs, trees give maximum and minimum of any number of values >= 0; cgro's
trees are evaluated in rational arithmetic on all orders of a few values, also for lengths that leave a value without
a partner.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import identities
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import absolute_value, maximum

Pair = Callable[[sp.Expr, sp.Expr], sp.Expr]


def relu(x: sp.Expr) -> sp.Expr:
    """max(x, 0), with the sign of x known."""
    return sp.Max(x, 0)


def pair_maximum(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    """relu(a - b) + relu(b)."""
    return relu(a - b) + relu(b)


def pair_minimum(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    """relu(a) - relu(a - b)."""
    return relu(a) - relu(a - b)


def residuals(maximum_of: Pair, minimum_of: Pair, nonnegative: bool) -> dict[str, sp.Expr]:
    """What is left of each identity on each cell; values >= 0 if the hypothesis is kept, else also < 0."""
    b, s = sp.symbols("b s", positive=True)
    found = {"|t|, t > 0": relu(s) + relu(-s) - s, "|t|, t < 0": relu(-s) + relu(s) - s}
    for name, low in {"b > 0": b, "b = 0": sp.Integer(0)}.items():
        found[f"max, a > {name}"] = maximum_of(low + s, low) - (low + s)
        found[f"max, a < {name} + s"] = maximum_of(low, low + s) - (low + s)
        found[f"min, a > {name}"] = minimum_of(low + s, low) - low
        found[f"min, a < {name} + s"] = minimum_of(low, low + s) - low
    if not nonnegative:
        found["max, a < b < 0"] = maximum_of(-b - s, -b) - (-b)
        found["min, a < b < 0"] = minimum_of(-b - s, -b) - (-b - s)
    return {name: sp.simplify(value) for name, value in found.items()}


def trees_are_exact(length: int) -> bool:
    """cgro's |t| and maximum networks at all tuples of a few rational values."""
    values = [Fraction(0), Fraction(1, 3), Fraction(2)]
    tree, absolute = ExactNetwork.of(maximum(length)), ExactNetwork.of(absolute_value(length))
    points = [list(p) for p in product(values, repeat=length)]
    signed = [[v - 1 for v in p] for p in points]
    return all(tree.evaluate(p)[0] == max(p) for p in points) and all(
        absolute.evaluate(p) == [abs(v) for v in p] for p in signed
    )


def check(
    *, longest: int = 5, nonnegative: bool = True, maximum_of: Pair = pair_maximum, minimum_of: Pair = pair_minimum
) -> Finding:
    """The identities on every cell, and trees up to a given length.

    Args:
        longest: length of the longest tree evaluated.
        nonnegative: whether to keep the hypothesis that values are >= 0.
    """
    left = residuals(maximum_of, minimum_of, nonnegative)
    left["trees"] = sp.Integer(sum(not trees_are_exact(length) for length in range(1, longest + 1)))
    return identities(
        left, f"{len(left) - 1} cells for all real values; trees of length 1 to {longest} at up to {3**longest} points"
    )


CLAIM = Claim(
    statement="ReLU networks compute |t|, and the max and min of values >= 0, exactly",
    source="Li & Li, ICML 2025, arXiv:2306.01271, proof of Lemma 4.5; trees derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"1 <= longest <= 9": lambda longest: 1 <= longest <= 9},
    deep={"longest": 8},
    controls={
        "for values < 0, too": {"nonnegative": False, "longest": 2},
        "max(a, b) = relu(a - b) + relu(a)": {"maximum_of": lambda a, b: relu(a - b) + relu(a), "longest": 2},
    },
)
