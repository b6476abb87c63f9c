"""The variance law of the cubic network's response to fresh noise.

Var Z = (P-1) sum_{r,r'} (9 s_r^2 s_r'^2 c_rr' + 6 c_rr'^3): the noise patches are independent, and by Isserlis'
theorem E[g^3 h^3] = 9 s_g^2 s_h^2 c + 6 c^3 for centred Gaussians g, h with variances s_g^2, s_h^2 and covariance c.
The sum over all fifteen pairings is done symbolically; the library's sum over filters is compared with the law in
floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics.phases import response_variance

Law = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def sixth_moment(s2: sp.Expr, t2: sp.Expr, c: sp.Expr) -> sp.Expr:
    """The claimed E[g^3 h^3]."""
    return 9 * s2 * t2 * c + 6 * c**3


def check(*, law: Law = sixth_moment) -> Finding:
    """Isserlis' sum over all pairings, and the sum over filters in code against that law."""
    s2, t2, c = sp.symbols("s2 t2 c", real=True)
    covariance = sp.Matrix([[s2, c], [c, t2]])
    exact = sum(sp.prod([covariance[a, b] for a, b in pairing]) for pairing in _pairings((0, 0, 0, 1, 1, 1)))
    residual = sp.expand(exact - law(s2, t2, c))

    factor = np.random.default_rng(0).standard_normal((4, 4))
    C = factor @ factor.T
    terms = [[float(law(C[r, r], C[t, t], C[r, t])) for t in range(4)] for r in range(4)]
    difference = abs(response_variance(C, 3) / (3 * np.sum(terms)) - 1)
    holds = residual == 0 and difference <= 1e-12
    return Finding(
        holds=bool(holds),
        slack=math.inf if holds else 0.0,
        tested="all variances and covariances, over the fifteen pairings; the sum over filters at 4 filters",
        bound="residual 0",
        measured=f"residual {residual}, sum over filters off by {difference:.1g}",
        counterexample="" if holds else f"E[g^3 h^3] is off by {residual}",
    )


def _pairings(items: tuple[int, ...]) -> Iterator[list[tuple[int, int]]]:
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for others in _pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, partner), *others]


CLAIM = Claim(
    statement="by Isserlis' theorem E[g^3 h^3] = 9 s^2 s'^2 c + 6 c^3 for centred Gaussian g and h, hence Var Z of the "
    "cubic network",
    source="fresh-sample law of the patch model",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={
        "9 s^2 s'^2 c": Constant(lambda f: {"law": lambda s, t, c: 9 * sp.nsimplify(f) * s * t * c + 6 * c**3}),
        "6 c^3": Constant(lambda f: {"law": lambda s, t, c: 9 * s * t * c + 6 * sp.nsimplify(f) * c**3}),
        "g^3 h^3": Constant(None, refuted=(), otherwise="the powers define the moment"),
    },
    controls={
        "5 c^3 instead of 6 c^3": {"law": lambda s, t, c: 9 * s * t * c + 5 * c**3},
        "without the cubic term": {"law": lambda s, t, c: 9 * s * t * c},
    },
)
