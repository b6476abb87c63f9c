"""A random projection rarely shortens a vector much: P[|W u|^2 <= beta k / d] <= exp(-(k/2)(beta - 1 - ln beta)), 0 <
beta < 1.

W projects orthogonally onto a random k-dimensional subspace of R^d, |u| = 1. With Gaussians, by Markov's inequality,
for 0 <= t small,

    P <= E exp(t (k beta |X|^2 - d |X_1..k|^2)) = (1 - 2 t k beta)^(-(d-k)/2) (1 - 2 t (k beta - d))^(-k/2).

At t = (1 - beta) / (2 beta (d - k beta)) this is beta^(k/2) (1 + (1-beta) k / (d-k))^((d-k)/2), shown symbolically,
and the second factor is at most exp(k (1 - beta) / 2) since ln(1 + x) <= x. The exact probability, that of a
Beta(k/2, (d-k)/2) variable, is then compared with the bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from scipy import stats

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.projection_bounds import tail_rate

Law = Callable[[float, int], float]


def tail(beta: float, k: int) -> float:
    """exp(-(k / 2) (beta - 1 - ln beta))."""
    return float(np.exp(-k / 2 * tail_rate(beta)))


def chernoff_residuals() -> list[sp.Expr]:
    """Bases of the two powers at the best t, minus their claimed values."""
    beta, k, d = sp.symbols("beta k d", positive=True)
    t = (1 - beta) / (2 * beta * (d - k * beta))
    first = 1 / (1 - 2 * t * k * beta)
    second = 1 / (1 - 2 * t * (k * beta - d))
    # The bases of (d-k)/2 and of k/2.
    return [sp.simplify(first - (1 + (1 - beta) * k / (d - k))), sp.simplify(second - beta)]


def check(*, largest_dim: int = 200, bound: Law = tail) -> Finding:
    """The proof's identities, and the exact tail compared with the bound.

    Args:
        largest_dim: largest dimension d.
    """
    residuals = chernoff_residuals()
    dims = [d for d in (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 5000) if d <= largest_dim]
    betas = (0.1, 0.25, 0.5, 0.75, 0.9)
    cases = [(d, k, beta) for d in dims for k in sorted({1, 2, d // 4, d // 2, d - 1}) if 1 <= k < d for beta in betas]

    def exact_and_bound(case: tuple[int, int, float]) -> tuple[float, float]:
        d, k, beta = case
        return float(stats.beta.cdf(beta * k / d, k / 2, (d - k) / 2)), bound(beta, k)

    found = scan(cases, exact_and_bound)
    return found.finding(
        "(d, k, beta)",
        proof=not any(residuals),
        tested=f"identities for all beta, k, d; exact tail at {found.count} triples, d up to {dims[-1]}",
        bound="exp(-(k/2)(beta - 1 - ln beta))",
        measured=f"residuals {residuals}",
    )


CLAIM = Claim(
    statement="P[|W u|^2 <= beta k / d] <= exp(-(k/2)(beta - 1 - ln beta)), W a random projection to k of d dimensions",
    source="Dasgupta & Gupta 2003, Lemma 2.2",
    tag="[R]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 5000},
    controls={
        "a rate 20 % larger": {"bound": lambda beta, k: tail(beta, k) ** 1.2},
        "exponent k instead of k/2": {"bound": lambda beta, k: tail(beta, 2 * k)},
    },
)
