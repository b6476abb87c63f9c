"""The worst case inside A(X, delta) in closed form: the attacked margin (alpha - delta)^q U if U >= 0 and rho <= 1.

A signal t in [alpha - delta, alpha + delta] gives the margin sgn(t)|t|^q U (odd activation, label +1; the label -1 by
symmetry). Its derivative in t, q |t|^(q-1) U, has the sign of U, so the minimum is at t = alpha - delta for U >= 0
and at t = alpha + delta for U < 0; shown symbolically for t > 0 and t < 0. For ReLU^q max(t, 0)^q U is monotone too,
so t = alpha - delta, alpha + delta and the flat part t <= 0 are the only candidates. The library's attack is compared
with a fine grid of t, for rho below and above 1.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.dynamics.activations import Activation, activation


def derivative_has_the_sign_of_u() -> bool:
    """d/dt sgn(t)|t|^q = q |t|^(q-1) >= 0 on both sides of 0."""
    t, q = sp.symbols("t q", positive=True)
    right = sp.simplify(sp.diff(t**q, t) - q * t ** (q - 1))
    # For negative t put t = -s: -(s^q), with d/dt = -d/ds.
    left = sp.simplify(-sp.diff(-(t**q), t) - q * t ** (q - 1))
    return right == 0 and left == 0 and bool((q * t ** (q - 1)).is_positive)


def check(*, cases: int = 200, largest_ratio: float = 2.0, flip: bool = False, seed: int = 0) -> Finding:
    """Monotonicity symbolically; the library's worst case compared with a grid of signals.

    Args:
        cases: random networks and settings.
        largest_ratio: largest rho.
        flip: claim that the attack lowers the signal whatever the sign of U.
        seed: seed of the cases.
    """
    import torch

    from cgro.dynamics.signal_attack import attacked_margin, signal_learning

    proved = derivative_has_the_sign_of_u()
    generator = np.random.default_rng(seed)
    worst, where = 0.0, ""
    for k in range(cases):
        kind: Activation = ("odd", "relu")[k % 2]
        q = float(generator.choice([2.0, 2.5, 3.0]))
        u = torch.tensor(generator.standard_normal((1, 4)))
        signs = torch.tensor([1.0, 1.0, 1.0, 1.0] if kind == "odd" else [1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
        alpha = torch.tensor([generator.uniform(0.5, 3)], dtype=torch.float64)
        delta = alpha * generator.uniform(0, largest_ratio)
        U = signal_learning(u, signs, q, kind)
        claimed, _ = attacked_margin("transfer" if flip else "worst", alpha, delta, U, q)
        t = torch.linspace(float(alpha - delta), float(alpha + delta), 2001, dtype=torch.float64)
        if delta >= alpha:
            t = torch.cat([t, t.new_zeros(1)])
        for column, label in enumerate((-1.0, 1.0)):
            margins = label * (activation(label * t[:, None] * u, q, kind) @ signs)
            off = float((claimed[0, column] - margins.min()).abs() / (margins.abs().max() + 1e-9))
            if off > worst:
                worst, where = off, f"case {k}, {kind}, rho = {float(delta / alpha):.2f}, y = {label:+.0f}"
    # Minima lie on the grid: its ends, and 0.
    tolerance = 1e-12
    holds = proved and worst <= tolerance
    return Finding(
        holds=holds,
        slack=tolerance / max(worst, 1e-16) if proved else 0.0,
        tested=f"all t, q > 0; {cases} random networks and settings, rho up to {largest_ratio:g}, both activations",
        bound=f"relative difference to the minimum over 2,001 signals <= {tolerance:g}",
        measured=f"monotonicity {'proved' if proved else 'not proved'}; largest difference {worst:.2g}",
        counterexample="" if holds else where,
    )


CLAIM = Claim(
    statement="the worst case inside A(X, delta) is t = alpha - delta for U >= 0 and t = alpha + delta for U < 0",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5; worst case derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"cases >= 2": lambda cases: cases >= 2, "largest_ratio > 0": lambda largest_ratio: largest_ratio > 0},
    deep={"cases": 5000},
    controls={"t = alpha - delta whatever U": {"flip": True, "cases": 40}},
)
