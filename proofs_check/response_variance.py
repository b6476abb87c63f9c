"""The variance law of the cubic network's response to fresh noise [D].

Var Z = (P-1) sum_{r,r'} (9 s_r^2 s_r'^2 c_rr' + 6 c_rr'^3): the noise patches are independent, and by Isserlis' theorem
E[g^3 h^3] = 9 s_g^2 s_h^2 c + 6 c^3 for centred Gaussians g, h with variances s_g^2, s_h^2 and covariance c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy as sp

from cgro.dynamics.phases import response_variance
from cgro.verdict import Verdict

TITLE = "Variance of the cubic network's response to fresh noise"
Law = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def sixth_moment(s2: sp.Expr, t2: sp.Expr, c: sp.Expr) -> sp.Expr:
    """The claimed E[g^3 h^3]."""
    return 9 * s2 * t2 * c + 6 * c**3


def check(law: Law = sixth_moment) -> Verdict:
    """Isserlis' sum over all fifteen pairings, symbolically; and the sum over filters in code against that law."""
    s2, t2, c = sp.symbols("s2 t2 c", real=True)
    covariance = sp.Matrix([[s2, c], [c, t2]])
    exact = sum(sp.prod([covariance[a, b] for a, b in pairing]) for pairing in _pairings((0, 0, 0, 1, 1, 1)))
    residual = sp.simplify(sp.expand(exact - law(s2, t2, c)))

    generator = np.random.default_rng(0)
    factor = generator.standard_normal((4, 4))
    C = factor @ factor.T
    terms = [[float(law(C[r, r], C[t, t], C[r, t])) for t in range(4)] for r in range(4)]
    difference = abs(response_variance(C, 3) / (3 * np.sum(terms)) - 1)
    tolerance = 1e-12
    holds = residual == 0 and difference <= tolerance
    return Verdict(
        claim="E[g^3 h^3] = 9 s^2 s'^2 c + 6 c^3, hence Var Z of the cubic network",
        source="fresh-sample law of the patch model",
        tag="[D]",
        evidence="symbolic",
        bound="residual 0",
        measured=f"residual {residual}, sum over filters off by {difference:.1g}",
        slack=tolerance / max(difference, 1e-16) if residual == 0 else 0.0,
        holds=bool(holds),
    )


def _pairings(items: tuple[int, ...]) -> Iterator[list[tuple[int, int]]]:
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for others in _pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, partner), *others]
