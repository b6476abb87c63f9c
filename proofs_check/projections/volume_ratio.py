"""Volumes of unit balls (K14): V_d / V_{d-1} <= 2 for all d >= 1, so a slab |x_1| <= t holds at most a share 2 t
V_{d-1} / V_d of the ball; d = 1 and t -> 0 attain both.

r_d = V_d / V_{d-1} = int (1 - s^2)^((d-1)/2) ds over [-1, 1] is 2 at d = 1, pi / 2 at d = 2, and r_{d+2} = r_d (d+1) /
(d+2): hence r_d <= 2 for all d, by induction. The recursion of the integral (by parts) and of V_d = pi^(d/2) /
Gamma(d/2 + 1) are shown symbolically. The share of a slab is the same integral over [-t, t], divided by r_d; its
integrand is at most 1, by induction from d to d + 2 (z3). Ratios and shares, which are Beta probabilities, are then
enclosed in ball arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
import z3
from flint import arb

from cgro.claims.balls import Ball, BallScan, ball, beta_cdf, scan_balls
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove

Law = Callable[[float, int], Ball]
THIN = 2.0**-20
"""t of the slabs that must attain their bound, to one part in a thousand."""


def volume_ratio(d: int) -> Ball:
    """V_d / V_{d-1} = sqrt(pi) Gamma((d+1)/2) / Gamma(d/2 + 1)."""
    return arb.pi().sqrt() * (ball(d + 1) / 2).gamma() / (ball(d) / 2 + 1).gamma()


def slab_share(t: float, d: int) -> Ball:
    """Share bound 2 t V_{d-1} / V_d."""
    return 2 * ball(t) / volume_ratio(d)


def recursion_holds() -> bool:
    """Both forms of V_d / V_{d-1} are multiplied by (d+1) / (d+2) < 1 from d to d + 2, and agree at d = 1, 2."""
    d, s = sp.symbols("d s", positive=True)
    closed = sp.sqrt(sp.pi) * sp.gamma((d + 1) / 2) / sp.gamma(d / 2 + 1)
    step = sp.simplify(sp.expand_func(closed.subs(d, d + 2) / closed - (d + 1) / (d + 2)))
    # By parts, as s (1 - s^2)^(n+1) is 0 at both ends.
    n = sp.Symbol("n", positive=True)
    parts = sp.diff(s * (1 - s**2) ** (n + 1), s) - (
        (2 * n + 3) * (1 - s**2) ** (n + 1) - 2 * (n + 1) * (1 - s**2) ** n
    )
    ratio = sp.simplify((2 * (n + 1) / (2 * n + 3)).subs(n, (d - 1) / 2) - (d + 1) / (d + 2))
    starts = [sp.integrate(1, (s, -1, 1)) - 2] + [
        sp.integrate((1 - s**2) ** sp.Rational(e - 1, 2), (s, -1, 1)) - closed.subs(d, e) for e in (1, 2)
    ]
    return all(sp.simplify(value) == 0 for value in (step, parts, ratio, *starts))


def integrand_is_at_most_one() -> bool:
    """w = (1 - s^2)^((d-1)/2) <= 1 at d = 1, 2, and with d also at d + 2, where w (1 - s^2) takes its place."""
    s, w = z3.Reals("s w")
    base = prove(w <= 1, w >= 0, w * w == 1 - s * s)
    step = prove(z3.And(w * (1 - s * s) >= 0, w * (1 - s * s) <= 1), w >= 0, w <= 1, s * s <= 1)
    return base.holds is True and step.holds is True


def check(*, largest_dim: int = 200, most: float = 2.0, share: Law = slab_share) -> Finding:
    """The recursion, the ratio for d up to `largest_dim`, and slabs.

    Args:
        largest_dim: largest dimension d.
        most: claimed bound on the ratio.
    """
    proved = recursion_holds() and integrand_is_at_most_one()
    ratio = scan_balls(range(2, largest_dim + 1), lambda d: (volume_ratio(d), ball(most)))
    attained = bool(volume_ratio(1).overlaps(ball(most)))  # 2 exactly, by the integral at d = 1
    dims = [d for d in (1, 2, 3, 10, 100, 1000, 10**4) if d <= largest_dim]
    thick = [(t, d) for d in dims for t in (2.0**-10, 2.0**-5, 0.25, 0.5, 0.75)]
    # x_1^2 of a uniform point of the ball is Beta(1/2, (d+1)/2); at d = 1 the bound is an identity.
    slab = scan_balls([c for c in thick if c[1] > 1], lambda c: (_share(*c), share(*c)))
    sharp = scan_balls(dims, lambda d: (share(THIN, d) * ball(0.999), _share(THIN, d)))
    scans: dict[str, BallScan[Any]] = {"d": ratio, "(t, d)": slab, "thin slab, d": sharp}
    wrong = next((f"{name} = {s.counterexample}" for name, s in scans.items() if s.holds is False), "")
    wrong = wrong or ("" if attained else "d = 1")
    unsure = any(s.holds is None for s in scans.values())
    holds = False if wrong or not proved else None if unsure else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all d by the recursion; ratio for d = 1 to {largest_dim}; {slab.count} slabs, {sharp.count} thin ones",
        bound=f"V_d / V_(d-1) <= {most:g}, attained at d = 1; share <= 2 t V_(d-1) / V_d, attained as t -> 0",
        measured=f"recursion {'proved' if proved else 'not proved'}; for d >= 2 the ratio is at most "
        f"{most / ratio.slack:.4g}; slab tightest at (t, d) = {slab.tightest}, thin slabs within one part in 1,000",
        counterexample=wrong,
    )


def _share(t: float, d: int) -> Ball:
    return beta_cdf(ball(t) ** 2, ball(0.5), ball(d + 1) / 2)


CLAIM = Claim(
    statement="V_d / V_(d-1) <= 2, attained at d = 1; a slab |x_1| <= t holds at most a share 2 t V_(d-1) / V_d of the "
    "unit ball, which is sharp as t -> 0",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemmas B.11 and B.12 (K14)",
    tag="[R]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 20_000},
    constants={
        "V_d / V_(d-1) <= 2": Constant(lambda factor: {"most": 2 * factor}),
        "2 t V_(d-1) / V_d": Constant(lambda factor: {"share": lambda t, d: factor * slab_share(t, d)}),
        "exponent 1 of t": Constant(
            lambda factor: {"share": lambda t, d: slab_share(t, d) * ball(t) ** ball(factor - 1)}
        ),
    },
    controls={
        "at most 1.6": {"most": 1.6, "largest_dim": 10},
        "a share 20 % smaller": {"share": lambda t, d: 0.8 * slab_share(t, d), "largest_dim": 10},
    },
)
