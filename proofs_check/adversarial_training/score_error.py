"""The variance of a memorization score is at most 1 / (4 a) + 1 / (4 b), and so its standard error at most
1 / (2 sqrt(t r (1-r))), for a = t r models with the sample and b = t (1-r) without it; attained at p = 1/2.

Given who has the sample, outcomes are independent, correct with probability p_1 with the sample and p_0 without it.
The variance of the library's score is p_1 (1-p_1) / a + p_0 (1-p_0) / b: a polynomial identity in p_1 and p_0, by
enumerating all outcomes of up to five models. z3 proves for all real a, b > 0 and all probabilities that it is at
most 1 / (4 a) + 1 / (4 b), with equality at p_1 = p_0 = 1/2 only. That the latter is 1 / (4 t r (1-r)) is algebra.
If every model draws its own subset, a is random, and E[1/a + 1/b] is larger: by how much is printed.
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
from cgro.memorization.chance import standard_error
from cgro.memorization.scores import memorization


def variance(a: int, b: int) -> sp.Expr:
    """Of the library's score of one sample, over all outcomes of a models with it and b without it."""
    p, q = sp.symbols("p q")
    mask = np.array([[True]] * a + [[False]] * b)
    first = second = sp.Integer(0)
    for outcome in product((0, 1), repeat=a + b):
        score = sp.Rational(
            Fraction(float(memorization(mask, np.array(outcome, dtype=bool)[:, None])[0])).limit_denominator(a * b)
        )
        chance = sp.prod([(c if o else 1 - c) for o, c in zip(outcome, [p] * a + [q] * b, strict=True)])
        first, second = first + chance * score, second + chance * score**2
    return sp.expand(second - first**2)


def is_the_law(largest: int) -> bool:
    """The variance is p (1-p) / a + q (1-q) / b for all a + b up to `largest`."""
    p, q = sp.symbols("p q")
    return all(
        sp.expand(variance(a, n - a) - p * (1 - p) / a - q * (1 - q) / (n - a)) == 0
        for n in range(2, largest + 1)
        for a in range(1, n)
    )


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


def random_numbers(models: int, ratio: Fraction) -> float:
    """Largest standard error times sqrt(t) if every model draws its own subset, given models of both kinds."""
    chances = {a: comb(models, a) * ratio**a * (1 - ratio) ** (models - a) for a in range(1, models)}
    mean = sum((c * (Fraction(1, a) + Fraction(1, models - a)) for a, c in chances.items()), Fraction(0))
    return math.sqrt(float(mean / sum(chances.values(), Fraction(0)) / 4 * models))


def check(*, factor: float = 2.0, power: float = 0.5, ratio: float = 0.7, models: int = 100) -> Finding:
    """The law of the variance, its bound, and the library's formula at p = 1/2.

    Args:
        factor: the claimed 2 in 1 / (2 sqrt(t r (1-r))).
        power: the claimed power 1/2 of t r (1-r).
        ratio: r, for the printed constants.
        models: t, for the printed constants.
    """
    factor = round(factor, 9)
    law, bound = is_the_law(5), bounded(factor)
    claimed = 1 / (factor * (models * ratio * (1 - ratio)) ** power)
    off = abs(standard_error(0.5, models, ratio) / claimed - 1)
    holds = False if not law or off > 1e-12 else bound
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="variance by enumeration for up to 5 models; its bound for all numbers of models and probabilities",
        bound=f"1 / ({factor:g} (t r (1-r))^{power:g}), attained at p = 1/2 only",
        measured=f"variance {'as stated' if law else 'differs'}; bound {'proved' if bound else 'not proved'}; "
        f"the library's standard error off by {off:.2g}",
        constant=f"{claimed * math.sqrt(models):.4f} / sqrt(t) at r = {ratio:g}; "
        f"{random_numbers(models, Fraction(str(ratio))):.4f} / sqrt(t) for random subsets and t = {models}",
        counterexample="" if holds else "p_1 = p_0 = 1/2",
    )


CLAIM = Claim(
    statement="the standard error of a memorization score is at most 1 / (2 sqrt(t r (1-r))), with equality at p = 1/2",
    source="estimator of Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703; constant derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "0 < ratio < 1": lambda ratio: 0 < ratio < 1,
        "4 <= models <= 2000": lambda models: 4 <= models <= 2000,
    },
    constants={
        "the factor 2": Constant(lambda f: {"factor": 2.0 * f}),
        "the power 1/2, a square root": Constant(lambda f: {"power": 0.5 * f}),
        "p = 1/2": Constant(None, refuted=(), otherwise="where equality holds, and nowhere else: part of the proof"),
    },
    controls={"2.02 instead of 2": {"factor": 2.02}, "1.98 instead of 2": {"factor": 1.98}, "1 / t": {"power": 1.0}},
)
