"""(G, v(0), K(0)) drawn without vectors have pivots with the laws of vector draws, at two sizes.

Vectors: rows x_i of X (n, D) and w_r of W (F, D), standard normal, G = X X^T, v = W X^T, K = W W^T. Write X = L Q with
Q Q^T = I.

1. Bartlett's factorization. G has the Wishart density, proportional to det(G)^((D-n-1)/2) e^(-tr G / 2). sympy computes
   the Jacobian of L -> L L^T for lower-triangular L, up to n = 4: it is 2^n prod_i L_ii^(n-i+1). So the density of L is
   a product: L_ij normal, and L_ii^(D-i) e^(-L_ii^2 / 2), a chi variable with D - i + 1 degrees of freedom, for
   symbolic D.
2. Given X, Omega = Q W^T has the covariance Q Q^T = I for each filter: standard normal whatever X is, and so
   independent of it. v = Omega^T L^T.
3. K - Omega^T Omega = W (I - Q^T Q) W^T, with a projector of rank D - n that annihilates Q: Wishart with D - n
   degrees of freedom, independent of Omega.

This says why the pivots below are the ones to look at; what the check decides is their laws, at n = F = 12 and the
given d, not the joint law of all entries. There are pivots with known laws, independent of each other: G_11 (chi^2_D),
log det G, L^-1 v^T (n F normals), and K_11 minus its part in the frame (chi^2_(D-n)); ratios of two of them test
independence. The empirical distribution function of each over many draws of the library is compared with its exact
law: its distance from the true one is at most the Dvoretzky-Kiefer-Wolfowitz width, for all pivots together with the
stated confidence. (The law of log det G, a sum of logarithms of chi^2 variables, is itself a table of 200,000 draws.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import sympy as sp
from scipy import stats

from cgro.claims.claim import Claim, Constant, Finding
from cgro.data.patches import GramDraw, draw_gram

Draw = Callable[[int, int], GramDraw]
CONFIDENCE = 0.99
SAMPLES, FILTERS = 12, 12
"""n = N noise patches (P = 2), and F filters."""


def bartlett_holds(largest: int = 4) -> bool:
    """The density of L as a product, for n = 1, ..., largest and symbolic D."""
    D = sp.Symbol("D", positive=True)
    for n in range(1, largest + 1):
        L = sp.Matrix(n, n, lambda i, j: sp.Symbol(f"L{i}{j}", positive=i == j) if i >= j else 0)
        entries = [L[i, j] for i in range(n) for j in range(i + 1)]
        G = L * L.T
        jacobian = sp.Matrix([G[i, j] for i in range(n) for j in range(i + 1)]).jacobian(entries).det()
        if sp.expand(sp.trace(G) - sum(e**2 for e in entries)) != 0:
            return False
        # det G = prod L_ii^2; chi with k degrees of freedom has the density x^(k-1) e^(-x^2/2), up to a constant.
        density = sp.prod([L[i, i] for i in range(n)]) ** (D - n - 1) * jacobian
        claimed = 2**n * sp.prod([L[i, i] ** (D - i - 1) for i in range(n)])
        if sp.simplify(sp.powsimp(sp.expand_power_base(density / claimed, force=True))) != 1:
            return False
    return True


def pivots(draw: GramDraw) -> tuple[float, ...]:
    """G_11, log det G, the sum of squares of L^-1 v^T, and K_11 without its part in the frame."""
    L = np.linalg.cholesky(draw.gram)
    omega = np.linalg.solve(L, draw.noise_projection.T)
    rest = draw.filter_gram[0, 0] - float(omega[:, 0] @ omega[:, 0])
    return float(draw.gram[0, 0]), float(2 * np.log(np.diag(L)).sum()), float((omega**2).sum()), rest


@lru_cache(maxsize=8)
def _determinants(dim: int, n: int) -> np.ndarray:
    """Sorted draws of sum_i log chi^2_(dim - i), i = 0, ..., n - 1: so many that they count as the law."""
    generator = np.random.default_rng(0)
    return np.sort(np.log(generator.chisquare(dim - np.arange(n), size=(200_000, n))).sum(1))


Law = Callable[[np.ndarray], np.ndarray]


def laws(inside: int) -> dict[str, tuple[Law, Law]]:
    """For every pivot or ratio: its value from the pivots (draws, 4), and its distribution function; D = `inside`."""
    n, F = SAMPLES, FILTERS
    freedom = {"G_11": (0, inside), "|L^-1 v|^2": (2, n * F), "rest of K_11": (3, inside - n)}
    table = _determinants(inside, n)

    def alone(k: int) -> Law:
        return lambda x: x[:, k]

    def ratio(a: int, p: int, b: int, r: int) -> Law:
        return lambda x: x[:, a] / p / (x[:, b] / r)

    found: dict[str, tuple[Law, Law]] = {name: (alone(k), stats.chi2(f).cdf) for name, (k, f) in freedom.items()}
    found["log det G"] = (alone(1), lambda z: np.searchsorted(table, z) / len(table))
    for one, other in (("G_11", "|L^-1 v|^2"), ("G_11", "rest of K_11"), ("rest of K_11", "|L^-1 v|^2")):
        (a, p), (b, r) = freedom[one], freedom[other]
        found[f"{one} / {other}"] = (ratio(a, p, b, r), stats.f(p, r).cdf)
    return found


def from_gram(seed: int, dim: int) -> GramDraw:
    """The library's draw, without vectors."""
    return draw_gram(seed, samples=SAMPLES, patches=2, dim=dim, filters=FILTERS)


@lru_cache(maxsize=32)
def _drawn(law: Draw, draws: int, dim: int, seed: int) -> np.ndarray:
    return np.array([pivots(law(10**6 * seed + k, dim)) for k in range(draws)])


def check(
    *,
    draws: int = 2000,
    dims: tuple[int, ...] = (15, 400),
    tolerance: float = 0.1,
    seed: int = 0,
    law: Draw = from_gram,
) -> Finding:
    """Bartlett's factorization symbolically, and the distances between distribution functions of all pivots.

    Args:
        draws: draws for each dimension.
        dims: dimensions d of a patch.
        tolerance: largest accepted distance, confidence width included.
        seed: first seed.
    """
    proved = bartlett_holds()
    distances = {}
    for dim in dims:
        values = _drawn(law, draws, dim, seed)
        for name, (value, cdf) in laws(dim - 1).items():
            at = cdf(np.sort(value(values)))
            steps = np.arange(draws + 1) / draws
            distances[f"{name} at d = {dim}"] = float(max((steps[1:] - at).max(), (at - steps[:-1]).max()))
    width = math.sqrt(math.log(2 * len(distances) / (1 - CONFIDENCE)) / (2 * draws))
    name, worst = max(distances.items(), key=lambda item: item[1])
    holds = False if not proved or worst > width else True if worst + width <= tolerance else None
    return Finding(
        holds=holds,
        slack=tolerance / (worst + width) if holds else min(tolerance / (worst + width), 0.99),
        tested=f"Bartlett's factorization for n <= 4 and all D; {len(distances)} pivots of {draws} draws each, "
        f"n = {SAMPLES}, F = {FILTERS}, d = {', '.join(map(str, dims))}",
        bound=f"observed distance to the exact distribution function <= {width:.3f}, which an exact law exceeds with "
        f"probability <= {1 - CONFIDENCE:.2g}, and the true one <= {tolerance:g}",
        measured=f"factorization {'proved' if proved else 'wrong'}; largest observed distance {worst:.3f} "
        f"({name}), at most "
        f"{worst + width:.3f}",
        counterexample=name if holds is False else "",
        confidence=CONFIDENCE,
    )


def _wrong_freedom(seed: int, dim: int) -> GramDraw:
    """One dimension too few."""
    return from_gram(seed, dim - 1)


def _independent(seed: int, dim: int) -> GramDraw:
    """v from another draw than G and K."""
    one, other = from_gram(seed, dim), from_gram(seed + 250_000, dim)
    return replace(one, noise_projection=other.noise_projection)


def _scaled(name: str, factor: float) -> Draw:
    """One of the three parts multiplied by a factor."""

    def draw(seed: int, dim: int) -> GramDraw:
        drawn = from_gram(seed, dim)
        return replace(drawn, **{name: factor * getattr(drawn, name)})

    return draw


CLAIM = Claim(
    statement="for G, v(0), K(0) drawn without d-dimensional vectors, n = F = 12, d = 15 and 400, the seven pivots "
    "G_11, log det G, the squared norm of L^-1 v, the rest of K_11 and ratios of them have the laws of "
    "vector draws to within 0.1, each with the scale 1",
    source="Bartlett 1933; reduced dynamics derived here",
    tag="[D]",
    evidence="statistical",
    check=check,
    hypotheses={
        f"dims > {SAMPLES + 1}": lambda dims: min(dims) > SAMPLES + 1,
        "draws >= 1000": lambda draws: draws >= 1000,
    },
    deep={"draws": 15_000, "tolerance": 0.04},
    constants={
        "within 0.1": Constant(
            lambda f: {"tolerance": 0.1 * f}, refuted=(), otherwise="width of the band: the finding prints the distance"
        ),
        "n = F = 12, d = 15 and 400": Constant(None, refuted=(), otherwise="the sizes that are drawn"),
        "the scale 1 of G": Constant(lambda f: {"law": _scaled("gram", f)} if f != 1 else {}),
        "the scale 1 of v(0)": Constant(lambda f: {"law": _scaled("noise_projection", f)} if f != 1 else {}),
        "the scale 1 of K(0)": Constant(lambda f: {"law": _scaled("filter_gram", f)} if f != 1 else {}),
    },
    controls={
        "one degree of freedom less": {"law": _wrong_freedom, "draws": 1000},
        "v independent of G": {"law": _independent, "draws": 1000},
        "G 2 % larger": {"law": _scaled("gram", 1.02), "draws": 1000},
    },
)
