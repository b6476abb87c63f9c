"""The variance of a memorization score is at most 1 / (4 a) + 1 / (4 b) with exactly a models trained with the sample
and b without it, and so its standard error at most 1 / (2 sqrt(t r (1-r))) for a = t r and b = t (1-r).

Models are independent, correct with probability p_1 with the sample and p_0 without it. The library's score is the
difference x / a - y / b of two shares, which all outcomes of up to five models confirm, and x and y are binomial: from
the generating function (1 - p + p z)^a sympy derives the variance p_1 (1-p_1) / a + p_0 (1-p_0) / b for all a and b. z3
proves for all real a, b > 0 and all probabilities that it is at most 1 / (4 a) + 1 / (4 b), with equality at p_1 = p_0
= 1/2 only. At p_1 = p_0 = 1/2 the variance is then compared with the claim for numbers of models and ratios.

If every model draws its own subset, a is random, and the bound is false: the variance is E[1/a + 1/b] / 4 at p = 1/2,
which is larger (Jensen). By how much is printed, and the claim for such subsets is a control.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import sympy as sp
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import vanishes
from cgro.memorization.chance import standard_error
from cgro.memorization.scores import memorization

CASES = ((10, Fraction(7, 10)), (100, Fraction(7, 10)), (400, Fraction(1, 2)), (1000, Fraction(1, 10)))
"""t and r; t r is an integer."""


def is_a_difference_of_shares(largest: int) -> bool:
    """The library's score is x / a - y / b for all outcomes of up to `largest` models."""
    return all(
        memorization(np.array([[True]] * a + [[False]] * (n - a)), np.array(outcome, dtype=bool)[:, None])[0]
        == sum(outcome[:a]) / a - sum(outcome[a:]) / (n - a)
        for n in range(2, largest + 1)
        for a in range(1, n)
        for outcome in product((0, 1), repeat=n)
    )


def variance_of_share(a: sp.Expr, p: sp.Expr) -> sp.Expr:
    """Of x / a for x binomial, from derivatives of its generating function at z = 1."""
    z = sp.Symbol("z")
    law = (1 - p + p * z) ** a
    mean, factorial = (sp.diff(law, z, k).subs(z, 1) for k in (1, 2))
    return sp.simplify((factorial + mean - mean**2) / a**2)


def is_the_law() -> bool:
    """The variance is p (1-p) / a for all a."""
    a, p = sp.symbols("a p", positive=True)
    return vanishes(variance_of_share(a, p) - p * (1 - p) / a)


def bounded(factor: float) -> bool | None:
    """p (1-p) / a + q (1-q) / b <= (1/a + 1/b) / factor^2, with equality at p = q = 1/2 and nowhere else."""
    p, q, a, b = z3.Reals("p q a b")
    domain = (a > 0, b > 0, p >= 0, p <= 1, q >= 0, q <= 1)
    four = z3.RealVal(str(factor)) * z3.RealVal(str(factor))
    # Multiplied by a b.
    value, bound = four * (p * (1 - p) * b + q * (1 - q) * a), a + b
    parts = [
        prove(value <= bound, *domain).holds,
        prove(value == bound, *domain, p == 0.5, q == 0.5).holds,
        prove(z3.And(p == 0.5, q == 0.5), *domain, value == bound).holds,
    ]
    return False if False in parts else None if None in parts else True


def largest(models: int, ratio: Fraction, random: bool) -> float:
    """The standard error at p = 1/2, from the variances of both shares; for random subsets given both kinds of
    models."""
    half = sp.Rational(1, 2)

    def variance(a: int) -> Fraction:
        return Fraction(str(variance_of_share(sp.Integer(a), half) + variance_of_share(sp.Integer(models - a), half)))

    if not random:
        return math.sqrt(variance(int(models * ratio)))
    chances = {a: comb(models, a) * ratio**a * (1 - ratio) ** (models - a) for a in range(1, models)}
    mean = sum((c * (Fraction(1, a) + Fraction(1, models - a)) / 4 for a, c in chances.items()), Fraction(0))
    return math.sqrt(mean / sum(chances.values(), Fraction(0)))


def check(*, factor: float = 2.0, power: float = 0.5, random: bool = False) -> Finding:
    """The law of the variance, its bound, and the standard error at p = 1/2 for several t and r.

    Args:
        factor: the claimed 2 in 1 / (2 sqrt(t r (1-r))).
        power: the claimed power 1/2 of t r (1-r).
        random: whether every model draws its own subset, with the sample at probability r.
    """
    factor = round(factor, 9)
    law, bound = is_the_law() and is_a_difference_of_shares(5), bounded(factor)
    wrong, off = "", 0.0
    for models, ratio in CASES:
        exact = largest(models, ratio, random)
        claimed = 1 / (factor * float(models * ratio * (1 - ratio)) ** power)
        if abs(exact / claimed - 1) > 1e-12 and not wrong:
            wrong = f"t = {models}, r = {float(ratio):g}, p_1 = p_0 = 1/2: {exact:.5f}, {claimed:.5f} claimed"
        off = max(off, abs(standard_error(0.5, models, float(ratio)) / largest(models, ratio, False) - 1))
    holds = False if not law or wrong or off > 1e-12 else bound
    more = [largest(t, r, True) / largest(t, r, False) for t, r in CASES[:2]]
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="the variance and its bound for all numbers of models and probabilities; equality at p = 1/2 for "
        f"{len(CASES)} numbers of models and ratios",
        bound=f"1 / ({factor:g} (t r (1-r))^{power:g}), attained at p = 1/2 only",
        measured=f"variance {'as stated' if law else 'differs'}; bound {'proved' if bound else 'not proved'}; "
        f"the library's standard error off by {off:.2g}",
        constant=f"if every model draws its own subset, larger by a factor of {more[0]:.4f} at t = 10 and "
        f"{more[1]:.4f} at t = 100, r = 0.7",
        counterexample="" if holds else wrong or "p_1 = p_0 = 1/2",
    )


CLAIM = Claim(
    statement="if exactly t r of t independent models are trained with a sample, the standard error of its "
    "memorization score is at most 1 / (2 sqrt(t r (1-r))), with equality if and only if models of either kind are "
    "right with probability 1/2",
    source="estimator of Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703; constant derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={
        "the factor 2": Constant(lambda f: {"factor": 2.0 * f}),
        "the power 1/2, a square root": Constant(lambda f: {"power": 0.5 * f}),
        "probability 1/2": Constant(
            None, refuted=(), otherwise="where equality holds, and nowhere else: part of the proof"
        ),
    },
    controls={
        "2.02 instead of 2": {"factor": 2.02},
        "1.98 instead of 2": {"factor": 1.98},
        "1 / t": {"power": 1.0},
        "subsets that every model draws for itself": {"random": True},
    },
)
