"""The adversarial loss need not be gradient-Lipschitz: |grad L_adv(u) - grad L_adv(v)| <= K |u - v| + 2 eps K', and
the constant is attained.

grad L_adv(u) = grad_u L(u, x_u) with x_u a worst case in the ball (Danskin), so

    |grad L(u, x_u) - grad L(v, x_v)| <= |grad L(u, x_u) - grad L(v, x_u)| + |grad L(v, x_u) - grad L(v, x_v)|
        <= K |u - v| + K' |x_u - x_v|

and two points of a ball are at most 2 eps apart. For L = u x in dimension 1, K = 0 and K' = 1, the worst case is eps
sgn u, and the gradient jumps by exactly 2 eps at u = 0: the constant cannot be lowered. The inequality is verified
for logistic regression in l_2, where worst case, K = (|x| + eps)^2 / 4 and K' = 1 + R (|x| + eps) / 4 over |u| <= R
are in closed form.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding


def jump(eps: Fraction) -> Fraction:
    """Jump of the adversarial gradient of L = u x from u < 0 to u > 0: worst case eps sgn u, gradient x."""
    return eps - (-eps)


def logistic_case(generator: np.random.Generator, eps: float) -> tuple[float, float, float, float]:
    """|difference of gradients|, |u - v|, K, K' for a random pair of weights; half of the pairs are close to 0 and
    opposite."""
    d, R = 3, 2.0
    x = generator.standard_normal(d) * generator.uniform(0, 2)
    u, v = generator.standard_normal((2, d))
    if generator.random() < 0.5:
        u *= 1e-3
        v = -u
    u, v = (w * min(1, R / np.linalg.norm(w)) for w in (u, v))

    def gradient(w: np.ndarray) -> np.ndarray:
        worst = x - eps * w / np.linalg.norm(w)
        return -worst / (1 + np.exp(w @ worst))

    size = float(np.linalg.norm(x)) + eps
    return float(np.linalg.norm(gradient(u) - gradient(v))), float(np.linalg.norm(u - v)), size**2 / 4, 1 + R * size / 4


def check(*, pairs: int = 2000, share: float = 1.0, seed: int = 0) -> Finding:
    """The jump exactly, and random pairs for logistic regression.

    Args:
        pairs: pairs of weights for each radius.
        share: the claimed constant is share times 2 eps K'.
        seed: seed of the pairs.
    """
    exact = [(jump(Fraction(k, 8)), Fraction(share) * 2 * Fraction(k, 8)) for k in (1, 2, 4, 8)]
    attained = scan(range(4), lambda k: exact[k])
    generator = np.random.default_rng(seed)
    cases = [(eps, *logistic_case(generator, eps)) for eps in (0.05, 0.5, 2.0) for _ in range(pairs)]
    found = scan(cases, lambda c: (c[1], c[3] * c[2] + share * 2 * c[0] * c[4]))
    holds = attained.holds and found.holds
    return Finding(
        holds=holds,
        slack=min(attained.slack, found.slack),
        tested=f"L = u x exactly; {found.count} pairs of weights for logistic regression in dimension 3, eps up to 2",
        bound=f"K |u - v| + {2 * share:g} eps K'",
        measured=f"jump of L = u x: {float(attained.slack):.3g} of the constant; logistic slack {found.slack:.3g}",
        counterexample="" if holds else "L = u x, weights on both sides of 0",
    )


CLAIM = Claim(
    statement="|grad L_adv(u) - grad L_adv(v)| <= K |u - v| + 2 eps K', and the constant 2 eps K' is attained",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, stability of gradients",
    tag="[R]",
    evidence="exact",
    check=check,
    hypotheses={"pairs >= 1": lambda pairs: pairs >= 1},
    deep={"pairs": 100_000},
    controls={
        "eps K' instead of 2 eps K'": {"share": 0.5, "pairs": 10},
        "without the constant": {"share": 0.0, "pairs": 10},
        "0.8 times the constant": {"share": 0.8, "pairs": 10},
    },
)
