"""The quoted error of a memorization score, 1.09 / sqrt(t) at ratio 0.7, is a little too small.

Given t r models with the sample and t (1-r) without it, Var = p_1 (1-p_1) / (t r) + p_0 (1-p_0) / (t (1-r)) <= 1 / (4
t r (1-r)), attained at p = 1/2: the error is 0.5 / sqrt(r (1-r)) / sqrt(t) = 1.0911 / sqrt(t). If every model draws
its own subset, the number of models with a sample is binomial, and by Jensen's inequality 1/A and 1/B are larger on
average: 1.1 / sqrt(t) at t = 100. All in rational arithmetic, squared.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb

from cgro.claims.claim import Claim, Finding


def variance(models: int, ratio: Fraction, random_sizes: bool) -> Fraction:
    """The exact largest variance of a score, at p = 1/2; for random sizes, given that both kinds of models exist."""
    r, t, quarter = ratio, models, Fraction(1, 4)
    if not random_sizes:
        return quarter / (t * r) + quarter / (t * (1 - r))
    chances = {a: comb(t, a) * r**a * (1 - r) ** (t - a) for a in range(1, t)}
    total = sum(chances.values(), Fraction(0))
    return sum((c * (quarter / a + quarter / (t - a)) for a, c in chances.items()), Fraction(0)) / total


def check(*, models: int = 100, constant: float = 1.09, random_sizes: bool = False) -> Finding:
    """Largest variance of a score against (constant / sqrt(t))^2.

    Args:
        models: t.
        constant: claimed constant at ratio 0.7.
        random_sizes: every model draws its own subset, instead of exactly t r models for every sample.
    """
    found = variance(models, Fraction(7, 10), random_sizes)
    claimed = Fraction(str(constant)) ** 2 / models
    holds = found <= claimed
    error = float(found) ** 0.5
    ratio = (float(claimed) / float(found)) ** 0.5
    return Finding(
        holds=holds,
        slack=max(ratio, 1.0) if holds else min(ratio, 0.999999),
        tested=f"t = {models}, r = 0.7, {'random' if random_sizes else 'fixed'} numbers of models with the sample",
        bound=f"{constant:g} / sqrt(t)",
        measured=f"largest error {error:.5f}",
        constant=f"{error * models**0.5:.4f}, with random numbers "
        f"{float(variance(models, Fraction(7, 10), True)) ** 0.5 * models**0.5:.4f}",
        counterexample="" if holds else f"p = 1/2, t = {models}: {error:.5f} > {constant / models**0.5:.5f}",
    )


CLAIM = Claim(
    statement="the standard error of a memorization score at ratio 0.7 is at most 1.09 / sqrt(t)",
    source="estimator of Feldman & Zhang 2020; constant derived for notes on Xu et al. 2021, arXiv:2106.04794",
    tag="[D]",
    evidence="exact",
    check=check,
    known_wrong="0.5 / sqrt(r (1-r)) = 1.0911, and 1.1 for random numbers of models at t = 100",
    hypotheses={"models >= 4": lambda models: models >= 4},
    deep={"models": 400},
    controls={
        "1.0911": {"constant": 1.0911},
        "1.11, random numbers": {"constant": 1.11, "random_sizes": True},
    },
)
