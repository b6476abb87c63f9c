"""The reduced dynamics are gradient descent: the recursion in (u, v) follows from the loss, for any d, N, P, m and
activation.

The loss depends on filter r only through its inner products u_r = <w_r, w*> and v_rij = <w_r, X_i[j]>. Its
derivative along a vector h is that along (<h, w*>, <h, X_i[j]>), and the projection of the gradient on h is that
derivative. With h = w*, orthogonal to the noise, and h = X_k[l], orthogonal to w*, whose products with the patches
are entries of G,

    du_r  = (eta / N) sum_i [(1-lambda) psi^c_i alpha phi'(alpha y_i u_r) + lambda psi^a_i t_i phi'(t_i y_i u_r)] a_r
    dv_rkl = (eta / N) sum_ij [(1-lambda) psi^c_i + lambda psi^a_i] y_i a_r phi'(v_rij) G_ij,kl

so that (u, v) close given G. sympy differentiates the loss with symbolic sums over N samples and P - 1 noise
patches; phi is any differentiable function, a_r the sign of the filter, and t_i the signal of sample i under
attack, transfer or worst case, which is held fixed as in any adversarial training. psi is minus the slope of the
loss: 1 / (1 + e^m) for the logistic loss.

For the library's activations phi' = q |z|^(q-1) (odd) or q max(z, 0)^(q-1) (ReLU^q), decided for z on both sides of
0; for the odd one y_i^2 = 1 turns the term of u into q |u|^(q-1) sgn(t) |t|^q.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import identities
from cgro.dynamics.activations import activation, slope

Pull = Callable[[Any, Any], Any]

N, P = sp.symbols("N P", integer=True, positive=True)
i, j = sp.symbols("i j", integer=True)
eta, lam, alpha, eps = sp.symbols("eta lambda alpha epsilon", positive=True)
q = 1 + sp.Symbol("p", positive=True)
"""The exponent, above 1."""
y, t, clean, attacked, v, G, first, tau = (sp.IndexedBase(name) for name in ("y", "t", "c", "b", "v", "G", "k", "tau"))


class dphi(sp.Function):  # noqa: N801
    """phi' of any activation."""


class phi(sp.Function):  # noqa: N801
    """An activation."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return dphi(self.args[0])


class psi(sp.Function):  # noqa: N801
    """1 / (1 + e^m)."""


class softplus(sp.Function):  # noqa: N801
    """log(1 + e^-m), whose derivative is -psi(m); decided in `parts_hold`."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -psi(self.args[0])


def margin_pull(weight: sp.Expr, signal: sp.Expr) -> sp.Expr:
    """What a sample with that signal contributes to du: psi t phi'(...)."""
    return weight * signal


def residuals(features: int, pull: Pull = margin_pull) -> dict[str, sp.Expr]:
    """Projected gradient steps minus the recursion, along each feature and along a noise patch.

    With two features, sample i carries the first one where k_i = 1 and the second where k_i = 0; its target is tau_i,
    and the gradient along the second is multiplied by the visibility kappa.
    """
    a = sp.Symbol("a", real=True)
    kappa = sp.Symbol("kappa", nonnegative=True)
    u = sp.symbols("u0 u1", real=True)[:features]
    carries = [first[i], 1 - first[i]] if features == 2 else [sp.Integer(1)]
    target = tau[i] if features == 2 else sp.Integer(1)

    def margin(signal: sp.Expr, others: sp.Expr, along: list[int], patch: bool) -> sp.Expr:
        """y f with filter r moved by eps h; `others` is what the other filters add."""
        here = sum(c * (x + eps * h) for c, x, h in zip(carries, u, along, strict=True))
        noise = sp.Sum(phi(v[i, j] + (eps * G[i, j] if patch else 0)), (j, 1, P - 1))
        return y[i] * (others + a * (phi(signal * y[i] * here) + noise))

    def weight(m: sp.Expr) -> sp.Expr:
        return psi(m) - (1 - target)

    def step(along: list[int], patch: bool) -> sp.Expr:
        """-eta times the derivative of one sample's loss; the loss is the mean over samples."""
        total = sp.Integer(0)
        for share, signal, others in ((1 - lam, alpha, clean[i]), (lam, t[i], attacked[i])):
            m = margin(signal, others, along, patch)
            # -tau log s(m) - (1 - tau) log s(-m)
            total += share * (softplus(m) + (1 - target) * m)
        return (-eta * sp.diff(total, eps)).subs(eps, 0)

    found = {}
    ends = ((1 - lam, alpha, clean[i]), (lam, t[i], attacked[i]))
    flat = [0] * features
    here = sum(c * x for c, x in zip(carries, u, strict=True))
    for k in range(features):
        seen = kappa if k == 1 else 1
        along = [int(k == other) for other in range(features)]
        recursion = eta * sum(
            share * pull(weight(margin(s, others, flat, False)), s) * dphi(s * y[i] * here) * carries[k] * a
            for share, s, others in ends
        )
        found[f"u{k}"] = seen * (step(along, False) - recursion)
    coupled = sp.Sum(dphi(v[i, j]) * G[i, j], (j, 1, P - 1))
    push = sum(share * weight(margin(s, others, flat, False)) for share, s, others in ends)
    found["v"] = step(flat, True) - eta * push * y[i] * a * coupled
    return {name: _squares_gone(value) for name, value in found.items()}


def _squares_gone(expression: sp.Expr) -> sp.Expr:
    """Expanded, with constants before sums, and y_i^2 = 1."""
    expanded = sp.expand(expression.doit(deep=False) if isinstance(expression, sp.Sum) else expression)
    pulled = expanded.replace(lambda e: isinstance(e, sp.Sum), lambda e: sp.factor_terms(e))
    return sp.expand(sp.expand(pulled).subs(y[i] ** 2, 1))


def parts_hold() -> dict[str, sp.Expr]:
    """The slope of the logistic loss, and of the library's activations at z > 0 and z < 0."""
    z, m = sp.symbols("z m", positive=True)
    left = {"psi": sp.simplify(sp.diff(sp.log(1 + sp.exp(-m)), m) + 1 / (1 + sp.exp(m)))}
    for kind in ("odd", "relu"):
        for side in (1, -1):
            # d/dz phi(side z) = side phi'(side z)
            derivative = side * sp.diff(activation(side * z, q, kind), z)
            left[f"{kind}, z {'>' if side > 0 else '<'} 0"] = sp.simplify(derivative - q * slope(side * z, q, kind))
    x = sp.Symbol("x", real=True, nonzero=True)
    s = sp.Symbol("s", positive=True)
    # Labels +-1: t phi'(t y u) = q |u|^(q-1) sgn(t) |t|^q, here for |t| = s.
    for label in (1, -1):
        for sign in (1, -1):
            term = sign * s * q * slope(sign * s * label * x, q, "odd")
            claimed = q * sp.Abs(x) ** (q - 1) * sign * s**q
            left[f"homogeneous, y = {label}, sgn t = {sign}"] = (
                sp.simplify(sp.expand_power_base(term / claimed, force=True)) - 1
            )
    return left


def check(*, pull: Pull = margin_pull) -> Finding:
    """All residuals, as identities for any sizes."""
    return decided(1, pull)


def decided(features: int, pull: Pull) -> Finding:
    """Whether all residuals are zero."""
    left = residuals(features, pull) | parts_hold()
    return identities(left, "any d, N, P, m, activation, attack inside A, step and scales; signs of z, t and y")


CLAIM = Claim(
    statement="projections of the gradient on w* and on the noise patches are the recursion in (u, v) given G, "
    "for any activation",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5; reduction of the dynamics",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={"1 times the pull": Constant(lambda f: {"pull": lambda w, s: sp.nsimplify(f) * w * s})},
    controls={
        "the signal enters as t^2": {"pull": lambda weight, signal: weight * signal**2},
        "a signal pull 1 % larger": {"pull": lambda weight, signal: sp.Rational(101, 100) * weight * signal},
    },
)
