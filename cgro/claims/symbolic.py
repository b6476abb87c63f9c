"""Proofs of polynomial inequalities that a reader can check: after a substitution, no coefficient is negative."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import sympy as sp

from cgro.claims.claim import Finding

Expression = Any
"""A sympy expression."""


def nonnegative(expression: Expression, at_least: Mapping[Expression, Expression | int]) -> bool:
    """Whether `expression` >= 0 follows for all symbols at or above their lower bounds.

    Each symbol x is replaced by its bound + a new symbol >= 0. Numerator and denominator of the result must have
    coefficients of one sign, with the denominator's constant term not 0 or the denominator a monomial of positive
    symbols: then the claim is proved. Sufficient, not necessary: False is not a disproof. A bound may contain symbols
    with bounds of their own, given later in `at_least`.
    """
    shifted = expression
    for symbol, low in at_least.items():
        shifted = shifted.subs(symbol, low + sp.Symbol(f"{symbol.name}'", nonnegative=True))
    numerator, denominator = sp.fraction(sp.cancel(sp.together(shifted)))
    return _one_sign(numerator) and _one_sign(denominator) and _sign(numerator) * _sign(denominator) >= 0


@dataclass(frozen=True)
class Decision:
    """holds: proved by signs. A counterexample: disproved. Neither: open."""

    holds: bool | None
    counterexample: str = ""


def decide(expression: Expression, at_least: Mapping[Expression, Expression | int]) -> Decision:
    """`expression` >= 0 for all symbols at or above their bounds: a proof by signs, or else the smallest
    counterexample.

    Counterexamples are searched among excesses over the bounds in {0, 1/4, 1, 10, 100}, smallest sum first.
    """
    if nonnegative(expression, at_least):
        return Decision(True)
    symbols = list(at_least)
    value = sp.lambdify(symbols, expression, "sympy")
    steps = [Fraction(step) for step in ("0", "1/4", "1", "10", "100")]
    for excess in sorted(product(steps, repeat=len(symbols)), key=sum):
        point: dict[Expression, Expression] = {}
        # Later bounds belong to symbols that appear in earlier bounds.
        for symbol, more in reversed(list(zip(symbols, excess, strict=True))):
            point[symbol] = sp.sympify(at_least[symbol]).subs(point) + more
        if value(*(point[symbol] for symbol in symbols)).is_negative:
            return Decision(False, ", ".join(f"{symbol} = {point[symbol]}" for symbol in symbols))
    return Decision(None)


def _coefficients(polynomial: Expression) -> list[Expression]:
    symbols = sorted(polynomial.free_symbols, key=str)
    return sp.Poly(polynomial, *symbols).coeffs() if symbols else [polynomial]


def _one_sign(polynomial: Expression) -> bool:
    coefficients = _coefficients(sp.expand(polynomial))
    return all(c.is_nonnegative for c in coefficients) or all(c.is_nonpositive for c in coefficients)


def _sign(polynomial: Expression) -> int:
    coefficients = _coefficients(sp.expand(polynomial))
    return 1 if any(c.is_positive for c in coefficients) else -1 if any(c.is_negative for c in coefficients) else 0


def identities(left: Mapping[str, Expression], tested: str) -> Finding:
    """The finding that every residual is 0; the first non-zero one is the counterexample."""
    wrong = [f"{name}: off by {value}" for name, value in left.items() if value != 0]
    return Finding(
        holds=not wrong,
        slack=math.inf if not wrong else 0.0,
        tested=tested,
        bound="residual 0",
        measured=f"{len(wrong)} of {len(left)} residuals are not 0",
        counterexample=wrong[0] if wrong else "",
    )


def vanishes(expression: Expression) -> bool:
    """Whether an expression is identically 0, by cancellation or simplification; False is not a disproof."""
    return sp.cancel(sp.together(sp.expand(expression))) == 0 or sp.simplify(expression) == 0
