"""relu(1 - relu(a - x) - relu(x - b)) is 1 on the integers a, ..., b and 0 on all others.

For an integer x < a the first inner ReLU is at least 1, for x > b the second, and between both vanish: the three
cells are decided symbolically with x = a - 1 - k, x = b + 1 + k, a <= x <= b for all k >= 0. On the reals it is not
an indicator: it falls linearly over one unit.
"""

from __future__ import annotations

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import identities


def residuals(step: sp.Expr) -> dict[str, sp.Expr]:
    """Indicator minus truth on each cell; `step` is the smallest distance of an outside point."""
    a, k, length, inner = sp.symbols("a k length inner", nonnegative=True)
    b = a + length + inner

    def value(x: sp.Expr) -> sp.Expr:
        return sp.Max(1 - sp.Max(sp.expand(a - x), 0) - sp.Max(sp.expand(x - b), 0), 0)

    return {
        "x = a - step - k": value(a - step - k),
        "x = b + step + k": value(b + step + k),
        "a <= x <= b": value(a + inner) - 1,
    }


def check(*, step: float = 1.0) -> Finding:
    """The identity on the three cells.

    Args:
        step: smallest distance of an outside point to a and b; 1 for integers.
    """
    left = {name: sp.simplify(value) for name, value in residuals(sp.nsimplify(step)).items()}
    return identities(left, "all integers a <= b and x")


CLAIM = Claim(
    statement="relu(1 - relu(a - x) - relu(x - b)) is the indicator of a <= x <= b on the integers",
    source="Vardi, Yehudai & Shamir, ICLR 2022 (K15)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"step > 0": lambda step: step > 0},
    controls={"on multiples of 1/2": {"step": 0.5}, "on multiples of 0.8": {"step": 0.8}},
)
