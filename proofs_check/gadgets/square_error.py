"""Sawtooth squares (K7): f_m(t) = t - sum_{s<=m} g_s(t) / 4^s exceeds t^2 by 0 to 4^-(m+1) on [0, 1], and attains both.

The error e_m = f_m - t^2 obeys e_m(t) = e_{m-1}(g(t)) / 4 with the tent g = g_1, because f_m(t) = t - g/2 +
f_{m-1}(g)/4. That is shown on both halves of [0, 1] with f_{m-1} an unknown function; e_0 = t - t^2 has the range [0,
1/4] and g maps [0, 1] onto itself, so by induction the range of e_m is [0, 4^-(m+1)] for all m. The network of `cgro`
is then evaluated in rational arithmetic where e_m is largest and where it vanishes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import square

Law = Callable[[int], Fraction | float]


def largest_error(levels: int) -> Fraction:
    """4^-(m+1)."""
    return Fraction(1, 4 ** (levels + 1))


def check(*, levels: int = 6, power: float = 2.0, error: Law = largest_error) -> Finding:
    """The induction step symbolically, then the network itself at every dyadic point of its grid and between.

    Args:
        levels: largest m of the networks evaluated, 1 to 12.
        power: the exponent of t^2.
    """
    t, halves = sp.Symbol("t"), sp.Symbol("F")  # F stands for f_{m-1}(g(t))
    step = t - sp.Symbol("g") / 2 + halves / 4
    residuals = [sp.expand(step.subs("g", tent) - t**2 - (halves - tent**2) / 4) for tent in (2 * t, 2 - 2 * t)]
    start = sp.calculus.util.function_range(t - t**2, t, sp.Interval(0, 1))
    proved = not any(residuals) and start == sp.Interval(0, sp.Rational(1, 4))

    @cache
    def errors(m: int) -> tuple[Fraction, Fraction]:
        network = ExactNetwork.of(square(m))
        grid = [Fraction(j, 2 ** (m + 1)) for j in range(2 ** (m + 1) + 1)]
        found = [network.evaluate([x])[0] - (x**2 if power == 2 else Fraction(float(x) ** power)) for x in grid]
        return min(found), max(found)

    sizes = range(1, levels + 1)
    largest = scan(sizes, lambda m: (errors(m)[1], error(m)))
    attained = scan(sizes, lambda m: (error(m), errors(m)[1]))
    least = scan(sizes, lambda m: (abs(errors(m)[0]), 0))
    wrong = next((s.counterexample for s in (largest, attained, least) if not s.holds), "")
    return Finding(
        holds=proved and not wrong,
        slack=min(largest.slack, attained.slack) if proved and not wrong else 0.0,
        tested=f"all m by induction; the network on dyadic points, m = 1 to {levels}",
        bound="f_m - t^2 from 0 to 4^-(m+1), both attained",
        measured=f"residual of the step {residuals}, e_0 in {start}",
        counterexample=f"m = {wrong}" if wrong else "",
    )


CLAIM = Claim(
    statement="sawtooth squares exceed t^2 by 0 to 4^-(m+1) on [0, 1], and attain both",
    source="Yarotsky 2017, Proposition 2",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"1 <= levels <= 12": lambda levels: 1 <= levels <= 12},
    deep={"levels": 12},
    constants={
        "t^2": Constant(lambda factor: {"power": 2 * factor}),
        "4 in 4^-(m+1)": Constant(lambda factor: {"error": lambda m: (4 * factor) ** -(m + 1)}),
        "1 in 4^-(m+1)": Constant(lambda factor: {"error": lambda m: 4.0 ** -(m + factor)}),
        "factor 1 of 4^-(m+1)": Constant(lambda factor: {"error": lambda m: factor * 4.0 ** -(m + 1)}),
    },
    controls={
        "an error 20 % smaller": {"levels": 2, "error": lambda m: Fraction(4, 5) * largest_error(m)},
        "one level better": {"levels": 2, "error": lambda m: largest_error(m + 1)},
    },
)
