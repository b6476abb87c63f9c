"""A random projection rarely shortens a vector much: P[|W u|^2 <= beta k / d] <= exp(-(k/2)(beta - 1 - ln beta)), 0 <
beta < 1.

W projects orthogonally onto a random k-dimensional subspace of R^d, |u| = 1. With Gaussians, by Markov's inequality,
for 0 <= t small,

    P <= E exp(t (k beta |X|^2 - d |X_1..k|^2)) = (1 - 2 t k beta)^(-(d-k)/2) (1 - 2 t (k beta - d))^(-k/2).

At t = (1 - beta) / (2 beta (d - k beta)), which is positive with both bases positive (z3, for all k < d and beta), this
is beta^(k/2) (1 + x)^((d-k)/2), x = (1-beta) k / (d-k), shown symbolically; and ln(1 + x) <= x, because x - ln(1 + x)
vanishes at 0 and has the derivative x / (1 + x), gives exp(k (1 - beta) / 2) for the second factor. That is a proof for
all k < d and beta, from the Gaussian moment generating function.

The exact probability, that of a Beta(k/2, (d-k)/2) variable, is compared in balls: for all k < d up to a largest d, and
at k far below d, where a rate 5 % larger fails.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import sympy as sp
import z3
from flint import arb

from cgro.claims.balls import Ball, beta_cdf, scan_balls
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove

Law = Callable[[Ball, int], Ball]


def tail(beta: Ball, k: int) -> Ball:
    """exp(-(k / 2) (beta - 1 - ln beta))."""
    return (-(beta - 1 - beta.log()) * k / 2).exp()


def proof_holds() -> bool:
    """The bases of the two powers at the best t, its admissibility, and ln(1 + x) <= x."""
    beta, k, d, x = sp.symbols("beta k d x", positive=True)
    t = (1 - beta) / (2 * beta * (d - k * beta))
    first = sp.simplify(1 / (1 - 2 * t * k * beta) - (1 + (1 - beta) * k / (d - k)))
    # (d - k) / 2 times x, and beta^(k/2), are the exponent that is claimed.
    exponent = (d - k) / 2 * ((1 - beta) * k / (d - k)) + k / 2 * sp.log(beta)
    assembled = sp.simplify(exponent + k / 2 * (beta - 1 - sp.log(beta)))
    second = sp.simplify(1 / (1 - 2 * t * (k * beta - d)) - beta)
    below = sp.simplify(sp.diff(x - sp.log(1 + x), x) - x / (1 + x))
    b, m, n, s = z3.Reals("beta k d t")
    at = 2 * b * (n - m * b) * s == 1 - b
    admissible = prove(z3.And(s > 0, 2 * s * m * b < 1, 2 * s * (m * b - n) < 1), at, b > 0, b < 1, m >= 1, n > m)
    return not any((first, second, below, assembled)) and admissible.holds is True


def check(*, largest_dim: int = 24, bound: Law = tail) -> Finding:
    """The proof, and the exact tail compared with the bound.

    Args:
        largest_dim: all k < d up to this dimension are compared.
    """
    proved = proof_holds()
    betas = (0.1, 0.25, 0.5, 0.75, 0.9)
    small = [(d, k, b) for d in range(2, largest_dim + 1) for k in range(1, d) for b in betas]
    wide = list(product((100_000,), (1, 10, 100, 1000), betas))

    def exact_and_bound(case: tuple[int, int, float]) -> tuple[Ball, Ball]:
        d, k, beta = case
        b = arb(beta)
        return beta_cdf(b * k / d, arb(k) / 2, arb(d - k) / 2), bound(b, k)

    found = scan_balls([*small, *wide], exact_and_bound)
    holds = found.holds if proved else False
    return Finding(
        holds=holds,
        slack=found.slack if holds else min(found.slack, 0.999),
        tested=f"all beta and k < d by the proof; exact tails in balls at all k < d <= {largest_dim} and {len(wide)} "
        f"triples with d = 100,000",
        bound="exp(-(k/2)(beta - 1 - ln beta))",
        measured=f"proof {'complete' if proved else 'incomplete'}; tightest at (d, k, beta) = {found.tightest}",
        counterexample=f"(d, k, beta) = {found.counterexample}" if found.counterexample else "",
    )


CLAIM = Claim(
    statement="P[|W u|^2 <= beta k / d] <= exp(-(k/2)(beta - 1 - ln beta)) for 0 < beta < 1 and |u| = 1, W a random "
    "projection to k < d of d dimensions, by Markov's inequality and the moment generating function of Gaussian "
    "squares",
    source="Dasgupta & Gupta 2003, Lemma 2.2",
    tag="[R]",
    evidence="symbolic",
    check=check,
    hypotheses={"2 <= largest_dim <= 200": lambda largest_dim: 2 <= largest_dim <= 200},
    deep={"largest_dim": 100},
    controls={
        "a rate 10 % larger": {"bound": lambda beta, k: tail(beta, k) ** arb("1.1")},
        "exponent k instead of k/2": {"bound": lambda beta, k: tail(beta, 2 * k)},
    },
    constants={
        "|W u|^2 and k/2": Constant(
            lambda f: {"bound": lambda beta, k: tail(beta, k) ** arb(f)},
            refuted=(1.05,),
            otherwise="a smaller rate is a weaker claim; 1.05 times the rate fails",
        ),
    },
)
