"""Symmetric label noise P_r = (r/C) 1 + (1-r) I composes: P_r P_s = P_{1 - (1-r)(1-s)}, and it keeps a label with
probability 1 - r + r/C.

1 is the matrix of ones. The product is computed entry by entry, as a sum over the labels in between, with symbols
for the number of classes C and for all labels: sum_j P_r(i, j) P_s(j, k) is (r/C)(s/C) C from the two uniform
parts, (r/C) (1-s) + (1-r) (s/C) from the mixed ones, and (1-r)(1-s) for i = k. Rows sum to 1, so that P_r is a
transition matrix. As it has the value 1 - r on vectors of sum 0 and 1 on constants, it is invertible for r < 1
only.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp
from sympy.concrete.delta import deltasummation

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import identities

Rate = Callable[[sp.Expr, sp.Expr], sp.Expr]
Kept = Callable[[sp.Expr, sp.Expr], sp.Expr]


def composed(r: sp.Expr, s: sp.Expr) -> sp.Expr:
    """The rate of noise of rate r followed by noise of rate s."""
    return 1 - (1 - r) * (1 - s)


def kept(r: sp.Expr, classes: sp.Expr) -> sp.Expr:
    """Probability that a label stays correct."""
    return 1 - r + r / classes


def residuals(rate: Rate, right: Kept) -> dict[str, sp.Expr]:
    """Entries of the product minus those of the composed noise, row sums, and the diagonal, for any C."""
    r, s = sp.symbols("r s", real=True)
    C = sp.Symbol("C", integer=True, positive=True)
    i, j, k = sp.symbols("i j k", integer=True)

    def entry(p: sp.Expr, a: sp.Expr, b: sp.Expr) -> sp.Expr:
        return p / C + (1 - p) * sp.KroneckerDelta(a, b)

    def over_labels(term: sp.Expr) -> sp.Expr:
        """The sum over j = 1, ..., C; i and k are among these."""
        total = sum(deltasummation(part, (j, 1, C), no_piecewise=True) for part in sp.Add.make_args(sp.expand(term)))
        return total

    product = over_labels(entry(r, i, j) * entry(s, j, k)) - entry(rate(r, s), i, k)
    same = sp.KroneckerDelta(i, k)
    left = {
        "composition, i != k": product.subs(same, 0),
        "composition, i = k": product.subs(same, 1),
        "row sum": over_labels(entry(r, i, j)) - 1,
        "kept": entry(r, i, i) - right(r, C),
    }
    return {name: sp.simplify(sp.expand(value)) for name, value in left.items()}


def check(*, rate: Rate = composed, right: Kept = kept) -> Finding:
    """All identities."""
    return identities(residuals(rate, right), "all rates, all labels, and any number of classes C")


CLAIM = Claim(
    statement="symmetric noise of rates r and s composes to the rate 1 - (1-r)(1-s), and a label stays correct with "
    "probability 1 - r + r/C",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, code",
    tag="[S]",
    evidence="symbolic",
    check=check,
    constants={
        "the weight 1 of r s": Constant(lambda f: {"rate": lambda r, s: r + s - sp.nsimplify(f) * r * s}),
        "the weight 1 of r/C": Constant(lambda f: {"right": lambda r, C: 1 - r + sp.nsimplify(f) * r / C}),
    },
    controls={
        "r + s": {"rate": lambda r, s: r + s},
        "kept with probability 1 - r": {"right": lambda r, C: 1 - r},
        "1 - r + r/(C-1)": {"right": lambda r, C: 1 - r + r / (C - 1)},
    },
)
