"""The reduced dynamics are gradient descent: the recursion in (u, v) follows from the loss for every d.

The gradient of the d-dimensional loss with respect to filter w_r is projected onto w* and onto every noise patch.
Each projection must equal the recursion's right-hand side, which contains only u, v and the Gram matrix of the noise:
so the dynamics close on (u, v) given G. Symbolic filters, patches, scales; cubic activation, attack alpha - delta.
Samples enter the loss as a mean and filters as a sum, so two of each, with one label of each sign, show the general
term.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy as sp

from cgro.claims.claim import Claim, Finding

Pull = Callable[[sp.Expr, sp.Expr], sp.Expr]


def margin_pull(psi: sp.Expr, scale: sp.Expr) -> sp.Expr:
    """What a sample's margin with signal t contributes to u: psi t^q (cubic: q = 3)."""
    return psi * scale**3


def check(*, dim: int = 3, samples: int = 2, filters: int = 2, pull: Pull = margin_pull) -> Finding:
    """Residuals of all projections, as identities of rational functions.

    Args:
        dim: dimension d of a patch; the first coordinate is the signal's.
        samples: samples N, with alternating labels and one noise patch each.
        filters: filters m.
    """
    return decided(dim, samples, filters, 1, pull)


def decided(dim: int, samples: int, filters: int, features: int, pull: Pull) -> Finding:
    """Whether all residuals are zero; with two features samples carry them alternately."""
    remaining = [sp.cancel(sp.together(residual)) for residual in residuals(dim, samples, filters, features, pull)]
    wrong = [str(k) for k, r in enumerate(remaining) if r != 0]
    return Finding(
        holds=not wrong,
        slack=math.inf if not wrong else 0.0,
        tested=f"symbolic weights, patches and scales; d = {dim}, N = {samples}, m = {filters}",
        bound="residual 0",
        measured=f"{len(wrong)} of {len(remaining)} residuals are not zero",
        counterexample=f"residual {wrong[0]}, of u" if wrong else "",
    )


def residuals(dim: int, samples: int, filters: int, features: int, pull: Pull) -> list[sp.Expr]:
    """Projected gradient steps minus the recursion, with a symbol for each exponential of a margin."""
    alpha, delta, lam, eta = sp.symbols("alpha delta lambda eta", positive=True)
    labels, carried = [1 if i % 2 == 0 else -1 for i in range(samples)], [i % features for i in range(samples)]
    targets = sp.symbols("tau0 tau1", positive=True) if features == 2 else [sp.Integer(1)]
    seen = [sp.Integer(1), sp.Symbol("kappa", nonnegative=True)][:features]
    W = sp.Matrix(filters, dim, lambda r, k: sp.Symbol(f"w{r}{k}", real=True))
    X = sp.Matrix(samples, dim, lambda i, k: sp.Symbol(f"x{i}{k}", real=True) if k >= features else 0)
    u, v, G = W[:, :features], W * X.T, X * X.T

    def margin(i: int, t: sp.Expr) -> sp.Expr:
        z = sum((t * labels[i] * W[r, carried[i]]) ** 3 + (W[r, :] * X[i, :].T)[0] ** 3 for r in range(filters))
        return labels[i] * z

    def loss_of(i: int, t: sp.Expr) -> sp.Expr:
        """-tau log s(m) - (1 - tau) log s(-m) at the margin m."""
        return sp.log(1 + sp.exp(-margin(i, t))) + (1 - targets[carried[i]]) * margin(i, t)

    scales = {"clean": (1 - lam, alpha), "attacked": (lam, alpha - delta)}
    points = [(i, weight, t) for i in range(samples) for weight, t in scales.values()]
    loss = sum(weight * loss_of(i, t) for i, weight, t in points) / sp.Integer(samples)
    # What remains is an identity of rational functions in these symbols, which cancellation decides.
    exponential = {sp.exp(-margin(i, t)): sp.Symbol(f"E{k}", positive=True) for k, (i, _, t) in enumerate(points)}

    def psi(i: int, t: sp.Expr) -> sp.Expr:
        e = sp.exp(-margin(i, t))
        return e / (1 + e) - (1 - targets[carried[i]])

    found = []
    rate = eta * 3 / sp.Integer(samples)
    for r in range(filters):
        step = [-eta * sp.diff(loss, W[r, k]) * (seen[k] if k < features else 1) for k in range(dim)]
        for k in range(features):
            own = sum(weight * pull(psi(i, t), t) for i, weight, t in points if carried[i] == k)
            found.append(step[k] - rate * seen[k] * u[r, k] ** 2 * own)
        for k in range(samples):
            projected = sum(step[j] * X[k, j] for j in range(dim))
            recursion = sum(weight * psi(i, t) * labels[i] * v[r, i] ** 2 * G[i, k] for i, weight, t in points)
            found.append(projected - rate * recursion)
    return [residual.subs(exponential) for residual in found]


CLAIM = Claim(
    statement="projections of the gradient on w* and on the noise patches are the recursion in (u, v) given G",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5; reduction of the dynamics",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "dim >= 2": lambda dim: dim >= 2,
        "samples >= 1": lambda samples: samples >= 1,
        "filters >= 1": lambda filters: filters >= 1,
    },
    deep={"dim": 4, "samples": 3},
    controls={
        "the signal enters as t^2": {"pull": lambda psi, t: psi * t**2, "dim": 2, "filters": 1},
        "a signal pull 20 % larger": {
            "pull": lambda psi, t: sp.Rational(6, 5) * margin_pull(psi, t),
            "dim": 2,
            "filters": 1,
        },
    },
)
