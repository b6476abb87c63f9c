"""Sawtooth squares (K7): f_m(t) = t - sum_{s<=m} g_s(t) / 4^s exceeds t^2 by 0 to 4^-(m+1) on [0, 1], and attains both.

The error e_m = f_m - t^2 obeys e_m(t) = e_{m-1}(g(t)) / 4 with the tent g = g_1, because f_m(t) = t - g/2 +
f_{m-1}(g)/4. That is shown on both halves of [0, 1] with f_{m-1} an unknown function; e_0 = t - t^2 lies in [0, 1/4]
and g maps [0, 1] onto itself, so by induction 0 <= e_m <= 4^-(m+1) for all m. The network of `cgro` is then evaluated
in rational arithmetic where e_m is largest.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import square

Law = Callable[[int], Fraction]


def largest_error(levels: int) -> Fraction:
    """4^-(m+1)."""
    return Fraction(1, 4 ** (levels + 1))


def check(*, levels: int = 8, error: Law = largest_error) -> Finding:
    """The induction step symbolically, then the network itself at every dyadic point of its grid and between.

    Args:
        levels: largest m of the networks evaluated, 1 to 12.
    """
    t, halves = sp.Symbol("t"), sp.Symbol("F")  # F stands for f_{m-1}(g(t))
    step = t - sp.Symbol("g") / 2 + halves / 4
    residuals = [sp.expand(step.subs("g", tent) - t**2 - (halves - tent**2) / 4) for tent in (2 * t, 2 - 2 * t)]
    start = sp.calculus.util.function_range(t - t**2, t, sp.Interval(0, 1))

    def measured_and_bound(m: int) -> tuple[Fraction, Fraction]:
        network = ExactNetwork.of(square(m))
        grid = [Fraction(j, 2 ** (m + 1)) for j in range(2 ** (m + 1) + 1)]
        errors = [network.evaluate([x])[0] - x**2 for x in grid]
        return max(errors) if min(errors) >= 0 else Fraction(2), error(m)

    found = scan(range(1, levels + 1), measured_and_bound)
    proved = not any(residuals) and start == sp.Interval(0, sp.Rational(1, 4))
    return found.finding(
        "m",
        proof=proved,
        tested=f"all m by induction; the network on dyadic points, m = 1 to {levels}",
        bound="0 <= f_m - t^2 <= 4^-(m+1)",
        measured=f"residual of the step {residuals}, e_0 in {start}",
    )


CLAIM = Claim(
    statement="sawtooth squares exceed t^2 by at most 4^-(m+1), and are never below it",
    source="Yarotsky 2017, Proposition 2",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"1 <= levels <= 12": lambda levels: 1 <= levels <= 12},
    deep={"levels": 12},
    controls={
        "an error 20 % smaller": {"levels": 2, "error": lambda m: Fraction(4, 5) * largest_error(m)},
        "one level better": {"levels": 2, "error": lambda m: largest_error(m + 1)},
    },
)
