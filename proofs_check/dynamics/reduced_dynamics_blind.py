"""The reduced dynamics of a network that is blind to a second feature are gradient descent, for any sizes.

As for one feature (`reduced_dynamics`). Sample i carries w* where k_i = 1 and v where k_i = 0, in any pattern; the
gradient along v is multiplied by the visibility kappa; and a target tau_i, -tau log s(m) - (1 - tau) log s(-m) in
place of -log s(m), shifts the slope of a sample's loss by 1 - tau_i.
"""

from __future__ import annotations

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding

from .reduced_dynamics import Pull, decided, i, margin_pull, tau


def check(*, pull: Pull = margin_pull) -> Finding:
    """All residuals along both features and along a noise patch, as identities for any sizes."""
    return decided(2, pull)


CLAIM = Claim(
    statement="the recursion given G is gradient descent with unlearnable samples and targets, too, where by "
    "definition the gradient along v is multiplied by the visibility",
    source="data and losses of Lee & Chung, ICML 2026, arXiv:2605.21999; reduction of the dynamics",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={"1 times the pull": Constant(lambda f: {"pull": lambda w, s: sp.nsimplify(f) * w * s})},
    controls={
        "the target is left out of the pull": {"pull": lambda weight, signal: (weight + 1 - tau[i]) * signal},
        "the signal enters as t^2": {"pull": lambda weight, signal: weight * signal**2},
    },
)
