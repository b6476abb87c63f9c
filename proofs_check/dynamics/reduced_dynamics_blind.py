"""The reduced dynamics of a network that is blind to a second feature are gradient descent, for every d.

As for one feature (`reduced_dynamics`). The second of two samples carries v, along which the gradient is multiplied by
the visibility kappa, and either kind of sample has a target tau, which shifts the slope of its loss by 1 - tau.
"""

from __future__ import annotations

import sympy as sp

from cgro.claims.claim import Claim, Finding

from .reduced_dynamics import Pull, decided, margin_pull


def check(*, dim: int = 3, samples: int = 2, filters: int = 2, pull: Pull = margin_pull) -> Finding:
    """Residuals of all projections, as identities of rational functions.

    Args:
        dim: dimension d of a patch; the first two coordinates are those of the features.
        samples: samples N, with alternating labels and features, and one noise patch each.
        filters: filters m.
    """
    return decided(dim, samples, filters, 2, pull)


CLAIM = Claim(
    statement="the recursion given G is gradient descent with unlearnable samples, a visibility and targets, too",
    source="data and losses of Lee & Chung, ICML 2026, arXiv:2605.21999; reduction of the dynamics",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "dim >= 3": lambda dim: dim >= 3,
        "samples >= 2": lambda samples: samples >= 2,
        "filters >= 1": lambda filters: filters >= 1,
    },
    deep={"dim": 4},
    controls={
        "the target is left out of the pull along v": {
            "pull": lambda psi, t: (psi + 1 - sp.Symbol("tau1", positive=True)) * t**3,
            "filters": 1,
        },
        "the signal enters as t^2": {"pull": lambda psi, t: psi * t**2, "filters": 1},
    },
)
