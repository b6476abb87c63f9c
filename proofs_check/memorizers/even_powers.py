"""An even power p works in l_inf when D mu^p < (lambda - mu)^p, that is p > ln D / ln((2 - rho) / rho); p = 2 iff D <
((2 - rho) / rho)^2.

|x - x_i|_inf <= mu gives sum_k |x_k - x_ik|^p <= D mu^p, and |x - x_i|_inf >= lambda - mu gives at least (lambda -
mu)^p; with mu = rho lambda / 2 the quotient (lambda - mu) / mu is (2 - rho) / rho, shown symbolically. The library's
choice of p is compared with the definition in integers for rational rho.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.shared_powers import smallest_power

Choice = Callable[[int, Fraction], int]


def chosen(dim: int, ratio: Fraction) -> int:
    """The library's p, for separation 2: mu = rho."""
    return smallest_power(dim, float(ratio), float(2 - ratio))


def works(dim: int, ratio: Fraction, p: int) -> bool:
    """D mu^p < (lambda - mu)^p for separation 2, exactly."""
    return dim * ratio**p < (2 - ratio) ** p


def condition_holds() -> bool:
    """(lambda - mu) / mu = (2 - rho) / rho, and D mu^p < (lambda - mu)^p iff p ln((2-rho)/rho) > ln D."""
    lam, rho, p, D = sp.symbols("lambda rho p D", positive=True)
    mu = rho * lam / 2
    quotient = sp.simplify((lam - mu) / mu - (2 - rho) / rho)
    logarithm = sp.expand_log(sp.log(((2 - rho) / rho) ** p / D), force=True)
    return (
        quotient == 0
        and sp.simplify(logarithm - (p * sp.expand_log(sp.log((2 - rho) / rho), force=True) - sp.log(D))) == 0
    )


def check(*, largest_dim: int = 60, choice: Choice = chosen) -> Finding:
    """The condition, and the choice for rational rho.

    Args:
        largest_dim: largest D.
    """
    proved = condition_holds()
    cases = [(d, Fraction(k, 20)) for d in range(1, largest_dim + 1) for k in range(1, 20)]
    enough = scan(cases, lambda c: (0 if works(*c, choice(*c)) else 2, 1))
    least = scan(cases, lambda c: (2 if choice(*c) > 2 and works(*c, choice(*c) - 2) else 0, 1))
    square = scan(cases, lambda c: (abs((choice(*c) == 2) - (c[0] < ((2 - c[1]) / c[1]) ** 2)), 0))
    found = [enough, least, square]
    wrong = next((s.counterexample for s in found if not s.holds), "")
    return Finding(
        holds=proved and not wrong,
        slack=1.0 if proved and not wrong else 0.0,
        tested=f"all lambda, rho, p, D; D up to {largest_dim} and rho = 1/20 to 19/20 in integers",
        bound="the smallest even p > ln D / ln((2 - rho) / rho)",
        measured=f"condition {'proved' if proved else 'not proved'}; p up to {max(choice(*c) for c in cases)}",
        counterexample=f"(D, rho) = {wrong}" if wrong else "",
    )


CLAIM = Claim(
    statement="D mu^p < (lambda - mu)^p iff p > ln D / ln((2 - rho) / rho); p = 2 suffices iff D < ((2 - rho) / rho)^2",
    source="derived here, for l_inf with shared features",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 1000},
    controls={
        "p smaller by 2": {"choice": lambda d, rho: max(2, chosen(d, rho) - 2), "largest_dim": 10},
        "ln D / ln(1 / rho)": {"choice": lambda d, rho: smallest_power(d, float(rho), 1.0), "largest_dim": 10},
    },
)
