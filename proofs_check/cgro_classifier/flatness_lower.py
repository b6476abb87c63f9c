"""L_adv - L_clean = Omega(delta E |grad_x L|_1) is false without a hypothesis on the loss, and true with constant 1
for losses convex in x.

Take the one-dimensional loss L(x) = 1 / (1 + x^2) at x = 1 with delta = 1: L rises by at most 1/2 while the gradient
is 1/2, so the claim holds. But L(x) = sin(x / s) turns around after pi s / 2, so L_adv - L_clean <= 2 for every delta
while delta |L'| grows without bound: no constant works. The smallest such example is a loss with a maximum inside the
ball. For a loss convex in x, L(x + xi) - L(x) >= <grad L(x), xi> for all xi, and xi = delta sgn(grad L) in l_inf
gives delta |grad L|_1: constant 1, attained by linear losses. The convex case is decided symbolically for the
logistic loss of linear classifiers by the sign of its second derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Loss = Callable[[np.ndarray], np.ndarray]


def hump(x: np.ndarray) -> np.ndarray:
    """sin(x), whose maximum lies in every ball of radius >= pi / 2."""
    return np.sin(x)


def logistic(x: np.ndarray) -> np.ndarray:
    """log(1 + e^-x)."""
    return np.logaddexp(0, -x)


def convexity_decides() -> bool:
    """The logistic loss has a positive second derivative, so rise - delta |L'| >= 0 along the gradient."""
    z, w = sp.Symbol("z", real=True), sp.Symbol("w", positive=True)  # w = e^-z
    second = sp.simplify(sp.diff(sp.log(1 + sp.exp(-z)), z, 2).subs(z, -sp.log(w)))
    return bool(second.is_positive)


def check(*, constant: float = 0.1, largest_radius: float = 32.0, loss: Loss = hump) -> Finding:
    """The rise of the loss over the ball compared with constant delta |L'|, for increasing radii, at points of the
    line.

    Args:
        constant: claimed constant of Omega.
        largest_radius: largest radius delta.
    """
    proved = convexity_decides()
    radii = [2.0**k for k in range(-6, 20) if 2.0**k <= largest_radius]
    points = np.linspace(-3, 3, 25)
    cases = [(delta, float(x)) for delta in radii for x in points]

    def bound_and_rise(case: tuple[float, float]) -> tuple[float, float]:
        delta, x = case
        step = 1e-6
        slope = abs(float(loss(np.array(x + step)) - loss(np.array(x - step)))) / (2 * step)
        ball = loss(x + delta * np.linspace(-1, 1, 2001))
        # Minus the rounding of differences.
        return constant * delta * slope * (1 - 1e-6) - 1e-9, float(ball.max() - loss(np.array(x)))

    found = scan(cases, bound_and_rise)
    return Finding(
        holds=proved and found.holds,
        slack=found.slack if proved else 0.0,
        tested=f"radii {radii[0]:g} to {radii[-1]:g}, {len(points)} points; convex losses by the sign of L''",
        bound=f"L_adv - L_clean >= {constant:g} delta |grad L|_1",
        measured=f"tightest at (delta, x) = ({found.tightest[0]:g}, {found.tightest[1]:.3g})",
        constant="" if math.isinf(found.slack) else f"holds with {constant * found.slack:.3g} on these cases",
        counterexample=f"L = sin, delta = {found.violation[0]:g}, x = {found.violation[1]:.3g}"
        if found.violation
        else "",
    )


CLAIM = Claim(
    statement="L_adv - L_clean = Omega(delta E |grad_x L|_1) for every loss",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section on flatness",
    tag="[N]",
    evidence="numerical",
    check=check,
    known_wrong="with constant 1 for losses convex in x; otherwise only where delta is small relative to the curvature",
    hypotheses={
        "constant > 0": lambda constant: constant > 0,
        "largest_radius >= 1": lambda largest_radius: largest_radius >= 1,
    },
    deep={"largest_radius": 4096.0, "constant": 0.001},
    controls={"for a convex loss, with constant 1": {"loss": logistic, "constant": 1.0}},
)
