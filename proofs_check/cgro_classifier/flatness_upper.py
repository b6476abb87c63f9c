"""Robust generalization gap and flatness: L_D - L_S <= G W_1 for losses of gradient |grad L|_1 <= G, and W_1
falls faster than N^(-1/(d+2)).

For two points |L(x) - L(x')| <= G |x - x'|_inf, so |E_D L - E_S L| <= G W_1(D, S) in l_inf (Kantorovich), for every
loss, even one that depends on S: a network's adversarial loss is such a loss, with G the largest gradient over the
ball. The expected W_1 of N uniform points falls as N^(-1/2) for d = 1, and as N^(-1/d) for d >= 3: both faster than
the claimed N^(-1/(d+2)), so the published exponent holds but is not optimal. Exponents are fitted on exact W_1 in d =
1, and on optimal matchings of two samples for d = 2, 3, which bound W_1 from above. The term C / sqrt(Delta), for
losses whose gradient is unbounded somewhere on the support, is not covered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from cgro.base.norms import distances
from cgro.claims.claim import Claim, Finding
from cgro.claims.outcomes import at_least, together
from cgro.measures.scaling import power_law

Exponent = Callable[[int], float]


def claimed_exponent(dim: int) -> float:
    """-1 / (d + 2)."""
    return -1 / (dim + 2)


def transport(samples: int, dim: int, generator: np.random.Generator) -> float:
    """W_1 of N uniform points and the uniform law on the line (a fine grid), or of two samples of N points, in
    l_inf."""
    x = generator.random((samples, dim))
    if dim == 1:
        return float(wasserstein_distance(x[:, 0], (np.arange(4000) + 0.5) / 4000))
    cost = distances(x, generator.random((samples, dim)), "inf")
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def check(
    *, dims: tuple[int, ...] = (1, 2, 3), trials: int = 60, seed: int = 0, exponent: Exponent = claimed_exponent
) -> Finding:
    """Fitted exponents of W_1 in N: all of every interval, at 99 % simultaneous confidence, lies at or below the
    claimed exponent.

    Args:
        dims: dimensions d.
        trials: draws for each N.
        seed: seed of the points.
    """
    sizes = (20, 40, 80, 160, 320)
    found, outcomes = [], []
    for dim in dims:
        generator = np.random.default_rng([seed, dim])
        values = np.array([[transport(n, dim, generator) for _ in range(trials)] for n in sizes])
        fit = power_law(np.repeat(sizes, trials).astype(float), values.ravel(), 1 - 0.01 / len(dims))
        # Both are negative.
        outcomes.append(at_least(-fit.high, -fit.low, -exponent(dim)))
        found.append(f"d = {dim}: {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f}), claimed {exponent(dim):.3f}")
    verdict = together(*outcomes)
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"N = {sizes[0]} to {sizes[-1]}, {trials} draws each, d = {', '.join(map(str, dims))}",
        bound="exponent of W_1 at most -1 / (d + 2)",
        measured="; ".join(found),
        counterexample=next((f"d = {d}" for d, o in zip(dims, outcomes, strict=True) if o.holds is False), ""),
        confidence=0.99,
    )


CLAIM = Claim(
    statement="for losses with |grad_x L|_1 <= G the gap L_D - L_S is at most G O(N^(-1/(d+2)))",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section on flatness",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    hypotheses={
        "1 <= d <= 6": lambda dims: 1 <= min(dims) <= max(dims) <= 6,
        "trials >= 3": lambda trials: trials >= 3,
    },
    deep={"dims": (1, 2, 3, 4, 5), "trials": 200},
    controls={
        "N^(-1/2) in every dimension": {"exponent": lambda d: -0.5, "dims": (2, 3), "trials": 10},
        "N^(-1)": {"exponent": lambda d: -1.0, "dims": (1,), "trials": 20},
    },
)
