"""Volumes of unit balls (K14): V_d / V_{d-1} <= 2 for all d >= 1, so a slab |x_1| <= t holds at most a share 2 t
V_{d-1} / V_d of the ball.

V_d / V_{d-1} = int (1 - s^2)^((d-1)/2) ds over [-1, 1] is 2 at d = 1 and falls with d, since the integrand does:
hence the bound for all d. The identity with V_d = pi^(d/2) / Gamma(d/2 + 1) is verified symbolically at d = 1, 2 and
by the recursion from d to d + 2. The share of the slab is a Beta probability; it is at most 2 t V_{d-1} / V_d <= t
sqrt(2 (d+1) / pi), tested in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import sympy as sp
from scipy import stats
from scipy.special import gammaln

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Law = Callable[[float, int], float]


def volume_ratio(d: int) -> float:
    """V_d / V_{d-1} = sqrt(pi) Gamma((d+1)/2) / Gamma(d/2 + 1)."""
    return math.exp(0.5 * math.log(math.pi) + gammaln((d + 1) / 2) - gammaln(d / 2 + 1))


def slab_share(t: float, d: int) -> float:
    """Share bound 2 t V_{d-1} / V_d."""
    return 2 * t / volume_ratio(d)


def recursion_holds() -> bool:
    """Both forms of V_d / V_{d-1} are multiplied by (d+1) / (d+2) from d to d + 2, and agree at d = 1, 2."""
    d, s = sp.symbols("d s", positive=True)
    closed = sp.sqrt(sp.pi) * sp.gamma((d + 1) / 2) / sp.gamma(d / 2 + 1)
    step = sp.simplify(sp.expand_func(closed.subs(d, d + 2) / closed - (d + 1) / (d + 2)))
    # By parts, as s (1 - s^2)^(n+1) is 0 at both ends.
    n = sp.Symbol("n", positive=True)
    parts = sp.diff(s * (1 - s**2) ** (n + 1), s) - (
        (2 * n + 3) * (1 - s**2) ** (n + 1) - 2 * (n + 1) * (1 - s**2) ** n
    )
    ratio = sp.simplify((2 * (n + 1) / (2 * n + 3)).subs(n, (d - 1) / 2) - (d + 1) / (d + 2))
    starts = [sp.integrate((1 - s**2) ** sp.Rational(e - 1, 2), (s, -1, 1)) - closed.subs(d, e) for e in (1, 2)]
    return all(sp.simplify(value) == 0 for value in (step, parts, ratio, *starts))


def check(*, largest_dim: int = 1000, most: float = 2.0, share: Law = slab_share) -> Finding:
    """The recursion, the ratio for d up to `largest_dim`, and slabs.

    Args:
        largest_dim: largest dimension d.
        most: claimed bound on the ratio.
    """
    proved = recursion_holds()
    dims = range(1, largest_dim + 1)
    ratio = scan(dims, lambda d: (volume_ratio(d) * (1 - 1e-12), most))
    falling = all(volume_ratio(d + 1) < volume_ratio(d) for d in range(1, min(largest_dim, 200)))
    cases = [(float(t), d) for d in (1, 2, 3, 10, 100, 1000) for t in np.geomspace(1e-4, 1, 20)]
    # x_1^2 of a uniform point of the ball is Beta(1/2, (d+1)/2).
    slab = scan(cases, lambda c: (float(stats.beta.cdf(c[0] ** 2, 0.5, (c[1] + 1) / 2)) * (1 - 1e-9), share(*c)))
    return Finding(
        holds=proved and falling and ratio.holds and slab.holds,
        slack=min(ratio.slack, slab.slack) if proved and falling else 0.0,
        tested=f"identity for all d; ratio for d = 1 to {largest_dim}; {slab.count} slabs",
        bound=f"V_d / V_(d-1) <= {most:g}; share <= 2 t V_(d-1) / V_d",
        measured=f"identity {'proved' if proved else 'not proved'}; ratio attained at d = {ratio.tightest}; "
        f"slab tightest at (t, d) = ({slab.tightest[0]:.2g}, {slab.tightest[1]})",
        counterexample=ratio.counterexample or slab.counterexample,
    )


CLAIM = Claim(
    statement="V_d / V_(d-1) <= 2, and a slab |x_1| <= t holds at most a share 2 t V_(d-1) / V_d of the unit ball",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemmas B.11 and B.12 (K14)",
    tag="[R]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 100_000},
    controls={
        "at most 1.6": {"most": 1.6, "largest_dim": 10},
        "a share 20 % smaller": {"share": lambda t, d: 0.8 * slab_share(t, d), "largest_dim": 10},
    },
)
