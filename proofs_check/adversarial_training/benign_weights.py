"""Weights of Benign Adversarial Training keep more than a share 4 e^-a / (1 + e^-a)^2 of the sample size, and no
larger share whatever the number of samples.

w_i = exp(-a q_i) for attacked samples that are misclassified, 1 for others, where q_i < 1 is the largest probability
of another class. So all weights lie in (m, 1], m = e^-a, and any value between exp(-a / C) and m may occur. z3 proves
for all real m in (0, 1), all n and all weights:

    w^2 <= (1 + m) w - m for each weight, strictly for m < w < 1, hence B <= (1 + m) A - n m for A = sum w, B = sum w^2
    (one more weight keeps it), hence A^2 >= 4 n m / (1 + m)^2 B, strictly where a weight lies between m and 1: or all
    weights are 1, and then A^2 = n B, which is larger.

Equality holds for m = b / c at c weights of m and b of 1, so over all n the bound is the infimum: q comes arbitrarily
close to 1. The deep preset compares the library's weights and effective sample size with it at logits that are nearly
certain.
"""

from __future__ import annotations

import math
from fractions import Fraction

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision


def proofs(factor: Fraction, exponent: int) -> dict[str, Decision]:
    """The steps, for the bound factor n m / (1 + m)^exponent."""
    w, m, n, A, B = z3.Reals("w m n A B")
    level = z3.And(m > 0, m < 1)
    weight = z3.And(level, m <= w, w <= 1)
    share = z3.RealVal(str(factor)) * m
    return {
        "one weight": prove(w * w <= (1 + m) * w - m, weight),
        "a weight in between": prove(w * w < (1 + m) * w - m, level, m < w, w < 1),
        "one more weight": prove(B + w * w <= (1 + m) * (A + w) - (n + 1) * m, weight, (1 + m) * A - n * m >= B),
        "the bound": prove(
            A * A * (1 + m) ** exponent >= n * share * B,
            *(level, n >= 1, n * m <= A, n >= A, B > 0, (1 + m) * A - n * m >= B),
        ),
        "more than the bound": prove(
            A * A * (1 + m) ** exponent > n * share * B,
            *(level, n >= 1, n * m <= A, n >= A, B > 0),
            z3.Or((1 + m) * A - n * m > B, z3.And(n == A, n == B)),
        ),
    }


def attained(factor: Fraction, exponent: int) -> Fraction:
    """Effective sample size over the bound, at most over m = b / c, with c weights of m and b of 1; 1 if attained."""
    excess = Fraction(0)
    for c in range(1, 8):
        for b in range(1, c + 1):
            m, n = Fraction(b, c), b + c
            size = Fraction(b + c * m) ** 2 / (b + c * m**2)
            excess = max(excess, abs(size / (factor * n * m / (1 + m) ** exponent) - 1))
    return excess


def of_the_library(samples: int, strength: float) -> float:
    """The library's share of the sample size, for nearly certain images of which the worst share is misclassified."""
    import torch

    from cgro.training.benign import benign_weights
    from cgro.training.sample_weights import effective_sample_size

    wrong = round(samples / (1 + math.exp(-strength)))
    logits = torch.zeros(samples, 3, dtype=torch.float64)
    logits[:, 1] = 40.0
    weights = benign_weights(logits, torch.where(torch.arange(samples) < wrong, 0, 1), strength)
    return effective_sample_size(weights) / samples


def check(*, factor: float = 4.0, exponent: int = 2, strength: float = 2.0, samples: int = 0) -> Finding:
    """The proof, that the bound is attained, and the library's weights close to it.

    Args:
        factor: the claimed 4.
        exponent: the claimed 2 of (1 + e^-a)^2.
        strength: a > 0 for the library's weights.
        samples: images whose weights the library computes; none by default.
    """
    exact = Fraction(str(round(factor, 9)))
    steps = proofs(exact, exponent)
    excess = attained(exact, exponent)
    m = math.exp(-strength)
    reached = of_the_library(samples, strength) / (factor * m / (1 + m) ** exponent) if samples else 1.0
    failed = next((name for name, step in steps.items() if step.holds is False), "")
    proved = None if any(step.holds is None for step in steps.values()) else not failed
    close = 1 - 1e-9 <= reached <= 1 + 1e-3
    holds = proved if proved is not True else excess == 0 and close
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="all m, n and weights; equality at m = b/c up to 7/7"
        + (f"; the library's weights of {samples:,} nearly certain images at a = {strength:g}" if samples else ""),
        bound=f"{factor:g} n e^-a / (1 + e^-a)^{exponent:g}, attained",
        measured=f"bound {'proved' if proved else 'not proved'}, off by {float(excess):.3g} where it should be "
        "attained" + (f"; the library's weights reach {reached:.6f} of it" if samples else ""),
        counterexample=f"{failed}: {steps[failed].counterexample}" if failed else "" if holds else "not attained",
    )


CLAIM = Claim(
    statement="the weights of Benign Adversarial Training, with strength a > 0, keep an effective sample size "
    "(sum w)^2 / sum w^2 > 4 n e^-a / (1 + e^-a)^2 of n samples, and over all n no larger multiple of it",
    source="weights of Xu et al. 2021, arXiv:2106.04794; bound derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "strength > 0": lambda strength: strength > 0,
        "samples >= 1000 e^strength, or 0": lambda samples, strength: (
            samples == 0 or samples >= 1000 * math.exp(strength)
        ),
    },
    deep={"samples": 1_000_000},
    constants={
        "the factor 4": Constant(lambda factor: {"factor": 4.0 * factor}),
        "the exponent 2": Constant(None, refuted=(), otherwise="a square; as an integer it moves to 1 or 3: controls"),
        "(sum w)^2 / sum w^2": Constant(None, refuted=(), otherwise="defines the effective sample size"),
    },
    controls={
        "4.04 instead of 4": {"factor": 4.04},
        "3.96, which is not the infimum": {"factor": 3.96},
        "(1 + e^-a)^1": {"exponent": 1},
        "(1 + e^-a)^3": {"exponent": 3},
    },
)
