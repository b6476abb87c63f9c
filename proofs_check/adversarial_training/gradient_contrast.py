"""Where PGD-AT's gradient jumps, that of TRADES vanishes: logistic regression around u = 0.

Let x' = x -+ eps u/|u|, the ends of the l_2 ball along u. CE(u, x') = ln(1 + e^(-y u.x')) is largest at x - y eps
u/|u|, and its gradient there tends to -y (x - y eps u/|u|) / 2 for u -> 0: between u and -u it jumps by eps,
whatever x and y. That is all of 2 eps K' for the mixed derivative K' = 1/2 of the loss at u = 0 (elsewhere it may be
larger). TRADES ascends KL(s(u.x) || s(u.x')) instead, s the logistic
function. Its gradient vanishes at u = 0 whatever x' is, and at both ends its length is eps^2 |u| / 4 + O(|u|^2).

Both limits are taken symbolically, of derivatives of the losses as they are written. The ball and both losses are
invariant under rotations, so u = (t, 0) in the plane of u and x; t < 0 is the opposite direction.

So where predictions do not depend on the image, as they do not when training with random labels begins, only the
gradient of the adversarial cross-entropy jumps.
"""

from __future__ import annotations

import math

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding

t, eps = sp.symbols("t eps", positive=True)
a, b = sp.symbols("a b", real=True)
"""x = (a, b) and |u| = t."""
p, r, *U = sp.symbols("p r u1 u2", real=True)
"""x' = (p, r), held fixed when a loss is differentiated in u."""


def _logistic(z: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-z))


def cross_entropy(y: int) -> sp.Expr:
    """CE at x' with label y."""
    return -sp.log(_logistic(y * (U[0] * p + U[1] * r)))


def divergence() -> sp.Expr:
    """KL from the prediction at x to that at x'."""
    one, other = _logistic(U[0] * a + U[1] * b), _logistic(U[0] * p + U[1] * r)
    return one * sp.log(one / other) + (1 - one) * sp.log((1 - one) / (1 - other))


def gradient(loss: sp.Expr, direction: int, side: int) -> sp.Matrix:
    """At u = (direction t, 0) and x' = x + side eps u/|u|."""
    at = {U[0]: direction * t, U[1]: 0, p: a + side * direction * eps, r: b}
    return sp.Matrix([sp.diff(loss, each).subs(at) for each in U])


def jump(y: int) -> sp.Expr:
    """The length of the difference of CE's gradients for t -> 0 in both directions, at worst points."""
    difference = gradient(cross_entropy(y), 1, -y).subs(t, 0) - gradient(cross_entropy(y), -1, -y).subs(t, 0)
    return sp.sqrt(sp.expand(difference.dot(difference)))


def slope(side: int) -> sp.Expr:
    """The limit of |grad KL| / t; infinite if the gradient does not vanish."""
    found = gradient(divergence(), 1, side)
    if any(sp.expand(g.subs(t, 0)) != 0 for g in found):
        return sp.oo
    rate = sp.diff(found, t).subs(t, 0).applyfunc(sp.expand)
    return sp.sqrt(sp.expand(rate.dot(rate)))


def check(*, jump_factor: float = 1.0, fourth: float = 4.0, power: float = 2.0) -> Finding:
    """Both limits, for both labels and both sides of the ball.

    Args:
        jump_factor: the claimed jump over eps.
        fourth: the claimed 4 in eps^2 |u| / 4.
        power: the claimed exponent 2 of eps there.
    """
    claimed = sp.nsimplify(jump_factor) * eps, eps ** sp.nsimplify(power) / sp.nsimplify(fourth)
    parts = {
        "jump of CE": all(sp.simplify(jump(y) - claimed[0]) == 0 for y in (-1, 1)),
        "slope of KL": all(sp.simplify(slope(side) - claimed[1]) == 0 for side in (-1, 1)),
    }
    wrong = [name for name, right in parts.items() if not right]
    return Finding(
        holds=not wrong,
        slack=0.0 if wrong else math.inf,
        tested="all x, eps > 0 and directions of u, both labels, both ends of the ball along u",
        bound=f"jump {jump_factor:g} eps of CE; gradient of KL eps^{power:g} |u| / {fourth:g} to first order",
        measured=f"jump {jump(1)}, slope {slope(1)}",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="in logistic regression with weights u and l_2 balls of radius eps the gradient in u of the largest "
    "cross-entropy jumps by eps at u = 0, and that of TRADES' divergence vanishes there as eps^2 |u| / 4",
    source="contrast of PGD-AT and TRADES in Dong et al., ICLR 2022, arXiv:2106.01606; derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={
        "jumps by eps, 1 times": Constant(lambda f: {"jump_factor": f}),
        "eps^2 |u| / 4": Constant(lambda f: {"fourth": 4.0 * f}),
        "the exponent 2 of eps": Constant(lambda f: {"power": 2.0 * f}),
    },
    controls={
        "a jump of 2 eps": {"jump_factor": 2.0},
        "eps^2 |u| / 3.96": {"fourth": 3.96},
        "eps |u| / 4": {"power": 1.0},
    },
)
