"""Weights of Benign Adversarial Training keep a share 4 e^-a / (1 + e^-a)^2 of the sample size: (sum w)^2 / sum w^2
>= n 4 m / (1 + m)^2.

w_i = exp(-a q_i) for attacked samples that are misclassified, with q_i in [1/C, 1] the largest other probability, and
1 for others: all weights lie in [m, 1], m = e^-a. The effective sample size of weights in [m, 1] is smallest if each
is m or 1 (it is quasi-concave in each) and a share 1 / (1 + m) are m: (m - w)(1 - w) <= 0 gives w^2 <= (1 + m) w - m,
so sum w^2 <= (1 + m) A - n m with A = sum w, and A^2 / ((1 + m) A - n m) >= 4 n m / (1 + m)^2 by (A (1 + m) - 2 n
m)^2 >= 0. Decided symbolically.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding


def smallest_share(strength: float) -> float:
    """4 m / (1 + m)^2, m = e^-a."""
    m = math.exp(-strength)
    return 4 * m / (1 + m) ** 2


def proof_steps() -> list[bool]:
    """A^2 (1 + m)^2 - 4 n m ((1 + m) A - n m) is a square; equality at shares 1 / (1 + m)."""
    A, n, m = sp.symbols("A n m", positive=True)
    square = sp.expand(A**2 * (1 + m) ** 2 - 4 * n * m * ((1 + m) * A - n * m) - (A * (1 + m) - 2 * n * m) ** 2)
    low = 1 / (1 + m)
    size = (low * m + (1 - low)) ** 2 / (low * m**2 + (1 - low))
    return [square == 0, sp.simplify(size - 4 * m / (1 + m) ** 2) == 0]


def check(*, strength: float = 2.0, cases: int = 300, share: float = 1.0, seed: int = 0) -> Finding:
    """The proof, and random weights of that strength, including the extreme ones.

    Args:
        strength: a in exp(-a q).
        cases: random sets of weights.
        share: the claim is tested with share times the bound.
        seed: seed of the weights.
    """
    proofs = proof_steps()
    m = math.exp(-strength)
    bound = share * smallest_share(strength)
    generator = np.random.default_rng(seed)
    low = round(1000 / (1 + m))
    weights = [np.repeat([m, 1.0], [low, 1000 - low])]
    weights += [
        np.where(generator.random(500) < generator.random(), np.exp(-strength * generator.uniform(0, 1, 500)), 1.0)
        for _ in range(cases)
    ]
    found = scan(
        range(len(weights)), lambda k: (bound * (1 - 1e-12), float(weights[k].mean() ** 2 / (weights[k] ** 2).mean()))
    )
    return Finding(
        holds=all(proofs) and found.holds,
        slack=found.slack if all(proofs) else 0.0,
        tested=f"all n, m; {len(weights)} sets of weights at a = {strength:g}",
        bound=f"{bound:.4f} of n",
        measured=f"smallest share {bound * found.slack:.4f}",
        constant=f"at a = 1 and 2: {smallest_share(1):.3f} and {smallest_share(2):.3f} of n",
        counterexample="a share 1 / (1 + e^-a) of weights at e^-a" if not found.holds else "",
    )


CLAIM = Claim(
    statement="weights exp(-a q) and 1 keep an effective sample size >= 4 e^-a / (1 + e^-a)^2 n, a tight bound",
    source="weights of Xu et al. 2021, arXiv:2106.04794; bound derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"strength > 0": lambda strength: strength > 0, "cases >= 1": lambda cases: cases >= 1},
    deep={"cases": 20_000},
    controls={"a bound 20 % larger": {"share": 1.2, "cases": 5}},
)
