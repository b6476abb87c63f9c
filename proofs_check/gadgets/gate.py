"""The gate without products: f^ = relu(c - B S) - relu(-c - B S) + sum_i y_i s_i is c where S = 0 and sum_i y_i s_i
where S >= 1, |c| <= B.

Here c = f_clean(x), and S = sum_i s_i is a sum of soft indicators. S = 0 means all s_i = 0, and relu(c) - relu(-c) =
c. For S >= 1 and |c| <= B both ReLUs are closed: c - B S <= B - B = 0. On a ball only indicators of its own label are
positive, so there |f^| = S >= 1 with the right sign.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import identities

Gate = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def relu(x: sp.Expr) -> sp.Expr:
    """max(x, 0), its sign seen once the products are expanded."""
    return sp.Max(sp.expand(x), 0)


def gate(c: sp.Expr, B: sp.Expr, S: sp.Expr) -> sp.Expr:
    """relu(c - B S) - relu(-c - B S)."""
    return relu(c - B * S) - relu(-c - B * S)


def residuals(function: Gate, excess: sp.Expr) -> dict[str, sp.Expr]:
    """The claimed minus the actual value of the gate, on every cell; |c| = B - slack + excess."""
    size, more, slack = sp.symbols("size more slack", positive=True)
    B = size + slack
    found = {}
    for name, sign in {"c > 0": 1, "c < 0": -1}.items():
        c = sign * (size + excess)
        found[f"S = 0, {name}"] = function(c, B, sp.Integer(0)) - c
        found[f"S = 1, {name}"] = function(c, B, sp.Integer(1))
        found[f"S > 1, {name}"] = function(c, B, 1 + more)
    found["S >= 1, c = 0"] = function(sp.Integer(0), B, 1 + more)
    return {name: sp.simplify(value) for name, value in found.items()}


def check(*, excess: int = 0, function: Gate = gate) -> Finding:
    """The gate on every cell.

    Args:
        excess: how far |c| may exceed B; the claim needs 0.
    """
    slack = sp.Symbol("slack", positive=True)
    left = residuals(function, excess * (slack + 1))
    return identities(left, f"all c, B >= |c| and S, on {len(left)} cells")


CLAIM = Claim(
    statement="relu(c - B S) - relu(-c - B S) is c where S = 0, and 0 where S >= 1 and |c| <= B",
    source="derived here, for Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5",
    tag="[D]",
    evidence="symbolic",
    check=check,
    controls={
        "for |c| > B": {"excess": 1},
        "with one ReLU": {"function": lambda c, B, S: relu(c - B * S)},
        "with B / 2": {"function": lambda c, B, S: gate(c, B / 2, S)},
    },
)
