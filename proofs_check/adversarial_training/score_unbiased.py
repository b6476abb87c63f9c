"""The subsampled estimator of memorization and influence is unbiased, given models with and without the sample.

An algorithm is any function from subsets to the probability h(S) of classifying a fixed point correctly; its
randomness is drawn anew for each of t models. The estimator, accuracy with sample i minus accuracy without it, has
the expectation E[h(S) | i in S] - E[h(S) | i not in S], given that both kinds of models exist: given which models
have the sample, their subsets are independent draws from the two conditional laws, so the a models with it are
independently correct with probability p = E[h(S) | i in S]. The mean of the share of correct ones is p for every a, by
the generating function (1 - p + p z)^a, and likewise without the sample. For few models and samples all of it is
checked as an identity of polynomials in the values h(S), one symbol for each subset, by enumerating the subsets of all
models and all outcomes with the library's `influence`, for subsets that contain every sample independently with
probability r and for subsets of fixed size; the library's `memorization` is the influence of a sample on itself.

Without models of one kind there is no estimate; if 0 stood for it, the estimator would be biased. So it is if all
models take the place of those without the sample.

"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import product

import numpy as np
import sympy as sp

from cgro.base.errors import AccuracyWarning
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import vanishes
from cgro.memorization.scores import influence, memorization

Subset = tuple[int, ...]
Estimator = Callable[[np.ndarray, np.ndarray], float | None]
"""Of masks (t, n) and outcomes (t,); None without an estimate."""


def library(mask: np.ndarray, correct: np.ndarray) -> float | None:
    """The library's influence of sample 0, which must be its memorization where the point is the sample itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        found = float(influence(mask, correct[:, None])[0, 0])
        itself = float(memorization(mask, np.repeat(correct[:, None], mask.shape[1], axis=1))[0])
    if not math.isfinite(found):
        return None
    return found if found == itself else math.inf


def mean_of_a_share(factor: float) -> bool:
    """The share of correct ones among any number a of models that are correct with probability p has mean factor p."""
    z, p, a = sp.symbols("z p a", positive=True)
    return vanishes(sp.diff((1 - p + p * z) ** a, z).subs(z, 1) / a - sp.nsimplify(factor) * p)


def laws(samples: int) -> dict[str, dict[Subset, Fraction]]:
    """Probabilities of subsets: independent with r = 2/3, and of every fixed size from 1 to n - 1."""
    subsets = list(product((0, 1), repeat=samples))
    r = Fraction(2, 3)
    found = {"independent": {s: r ** sum(s) * (1 - r) ** (samples - sum(s)) for s in subsets}}
    for size in range(1, samples):
        of_size = [s for s in subsets if sum(s) == size]
        found[f"of size {size}"] = {s: Fraction(1, len(of_size)) for s in of_size}
    return found


def bias(law: dict[Subset, Fraction], models: int, estimator: Estimator, factor: float) -> sp.Expr:
    """E[estimator; both kinds exist] - factor (E[h | in] - E[h | out]) P[both kinds exist], in the symbols h(S)."""
    h = {s: sp.Symbol("h" + "".join(map(str, s))) for s in law}

    def mean(inside: int) -> sp.Expr:
        chosen = {s: q for s, q in law.items() if s[0] == inside}
        return sum(sp.Rational(q) * h[s] for s, q in chosen.items()) / sp.Rational(sum(chosen.values()))

    target = sp.nsimplify(factor) * (mean(1) - mean(0))
    total, exist = sp.Integer(0), Fraction(0)
    for drawn in product(law, repeat=models):
        mask = np.array(drawn, dtype=bool)
        chance = math.prod((law[s] for s in drawn), start=Fraction(1))
        parts = []
        for outcome in product((0, 1), repeat=models):
            value = estimator(mask, np.array(outcome, dtype=bool))
            if value is None:
                continue
            if math.isinf(value):
                return sp.oo
            rational = sp.Rational(Fraction(value).limit_denominator(models * models))
            parts.append(rational * sp.prod([h[s] if o else 1 - h[s] for s, o in zip(drawn, outcome, strict=True)]))
        if parts:
            exist += chance
            total += sp.Rational(chance) * sum(parts)
    return sp.expand(total - target * sp.Rational(exist))


def check(*, models: int = 3, samples: int = 2, factor: float = 1.0, estimator: Estimator = library) -> Finding:
    """The bias of the estimator for every law of subsets, as polynomials in the algorithm's probabilities.

    Args:
        models: numbers of models from 2 to this.
        samples: numbers of samples from 2 to this.
        factor: the expectation claimed, over the difference of the means.
    """
    cases = [
        (f"{name}, n = {n}, t = {t}", bias(law, t, estimator, factor))
        for t, n in _sizes(models, samples)
        for name, law in laws(n).items()
    ]
    wrong = [(name, found) for name, found in cases if found != 0]
    if not mean_of_a_share(factor):
        wrong.append(("of any law", "the mean of a share is not p"))
    return Finding(
        holds=not wrong,
        slack=0.0 if wrong else math.inf,
        tested="the mean of a share for any number of models; every algorithm, "
        f"{len(cases)} laws of subsets of up to {samples} samples with up to {models} models",
        bound="bias 0, as a polynomial in all h(S)",
        measured=f"{len(wrong)} of {len(cases) + 1} polynomials are not 0",
        counterexample=f"subsets {wrong[0][0]}: bias {wrong[0][1]}" if wrong else "",
    )


def _sizes(models: int, samples: int) -> Iterable[tuple[int, int]]:
    return product(range(2, models + 1), range(2, samples + 1))


def _zero_for_none(mask: np.ndarray, correct: np.ndarray) -> float:
    """0 stands for a mean over no models."""
    inside, outside = correct[mask[:, 0]], correct[~mask[:, 0]]
    return float((inside.mean() if len(inside) else 0.0) - (outside.mean() if len(outside) else 0.0))


def _against_all(mask: np.ndarray, correct: np.ndarray) -> float | None:
    """Accuracy with the sample minus that of all models."""
    inside = correct[mask[:, 0]]
    return float(inside.mean() - correct.mean()) if 0 < len(inside) < len(correct) else None


CLAIM = Claim(
    statement="for every algorithm, right on a point with probability h(S) when trained on the subset S, and "
    "independent models on independent subsets, some with and some without sample i, the scores mem_i, where the "
    "point is that sample, and infl_ij, where it is test point j, have the expectation E[h(S) | i in S] - E[h(S) | i "
    "not in S]",
    source="subsampled estimator of Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703, as used by Xu et al. 2021, "
    "arXiv:2106.04794",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={
        "2 <= models <= 4": lambda models: 2 <= models <= 4,
        "2 <= samples <= 3": lambda samples: 2 <= samples <= 3,
    },
    deep={"samples": 3},
    constants={"1 times the difference of the means": Constant(lambda f: {"factor": f})},
    controls={
        "1.01 times the difference": {"factor": 1.01, "models": 2},
        "0 in place of a missing mean": {"estimator": _zero_for_none, "models": 2},
        "all models in place of those without it": {"estimator": _against_all, "models": 2},
    },
)
