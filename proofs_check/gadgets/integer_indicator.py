"""relu(1 - relu(a - x) - relu(x - b)) is 1 on the integers a, ..., b and 0 on all others.

Decided by z3 for all integers a <= b and x, and for all real points that lie in [a, b] or at least 1 outside: that
distance is sharp, since on the reals the function falls linearly over one unit.
"""

from __future__ import annotations

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, finding, prove, relu


def indicator(x: Formula, a: Formula, b: Formula, height: float) -> Formula:
    """relu(height - relu(a - x) - relu(x - b))."""
    return relu(z3.RealVal(height) - relu(a - x) - relu(x - b))


def check(*, step: float = 1.0, height: float = 1.0) -> Finding:
    """The identity for all integers, and for all real points off the step.

    Args:
        step: smallest distance of a real outside point to a and b.
        height: the constant of the outer ReLU.
    """
    whole = [z3.ToReal(v) for v in z3.Ints("x a b")]
    real, far = z3.Reals("x a b"), z3.RealVal(step)
    parts = {}
    for name, (x, a, b) in {"integers": whole, "reals": real}.items():
        value = indicator(x, a, b, height)
        away = z3.Or(x < a, x > b) if name == "integers" else z3.Or(x <= a - far, x >= b + far)
        parts[f"{name}, inside"] = prove(value == 1, a <= x, x <= b)
        parts[f"{name}, outside"] = prove(value == 0, a <= b, away)
    return finding(parts, tested="all integers a <= b and x, and all reals", bound="1 inside, 0 outside")


CLAIM = Claim(
    statement="relu(1 - relu(a - x) - relu(x - b)) is the indicator of a <= x <= b on the integers",
    source="Vardi, Yehudai & Shamir, ICLR 2022 (K15)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"step > 0": lambda step: step > 0},
    constants={
        "relu(1 - ...)": Constant(lambda factor: {"height": factor}),
        "1 between integers": Constant(
            lambda factor: {"step": factor}, refuted=(0.95,), otherwise="weaker: points farther outside"
        ),
    },
    controls={"on multiples of 1/2": {"step": 0.5}, "on multiples of 0.8": {"step": 0.8}},
)
