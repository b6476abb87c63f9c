"""Symmetric label noise P = (r/C) 1 + (1-r) I: rows and columns sum to 1, a label stays correct with probability 1 -
r + r/C, which is 1/C at r = 1.

1 is the matrix of ones. Decided symbolically for every C through the entries: C - 1 of r/C and one of 1 - r + r/C; P
also has the eigenvalue 1 - r of multiplicity C - 1, so noise rates compose as 1 - (1-r)(1-r').
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import identities

Right = Callable[[sp.Expr, sp.Expr], sp.Expr]


def right(rate: sp.Expr, classes: sp.Expr) -> sp.Expr:
    """Probability that a label stays correct."""
    return 1 - rate + rate / classes


def residuals(law: Right) -> dict[str, sp.Expr]:
    """Row sum, value at r = 1, composition of two rates, and trace for C = 2, ..., 5."""
    r, s, C = sp.symbols("r s C", positive=True)
    left = {
        "row sum": (C - 1) * r / C + law(r, C) - 1,
        "r = 1": law(sp.Integer(1), C) - 1 / C,
        "composition": law(r, C) * law(s, C) + (C - 1) * (r / C) * (s / C) - law(1 - (1 - r) * (1 - s), C),
    }
    for k in range(2, 6):
        P = r / k * sp.ones(k, k) + (1 - r) * sp.eye(k)
        left[f"diagonal, C = {k}"] = P[0, 0] - law(r, sp.Integer(k))
    return {name: sp.simplify(value) for name, value in left.items()}


def check(*, law: Right = right) -> Finding:
    """All identities."""
    return identities(residuals(law), "all r and C")


CLAIM = Claim(
    statement="symmetric noise keeps a label correct with probability 1 - r + r/C; rates compose as 1 - (1-r)(1-r')",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, code",
    tag="[S]",
    evidence="symbolic",
    check=check,
    controls={
        "1 - r": {"law": lambda r, C: 1 - r},
        "1 - r + r/(C-1)": {"law": lambda r, C: 1 - r + r / (C - 1)},
    },
)
