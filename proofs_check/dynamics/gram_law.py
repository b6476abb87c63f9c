"""(G, v(0), K(0)) drawn without vectors have the law of vector draws: Bartlett factors, a Haar frame, and a Wishart
rest.

Statistics of single draws, among them products that combine the three parts, are compared between many draws of
either kind. For all statistics together, with the stated confidence, the largest distance between distribution
functions is at most the observed one plus twice the Dvoretzky-Kiefer-Wolfowitz width. It must stay below the
tolerance; it certainly exceeds 0 where the observed distance exceeds that width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import stats

from cgro.claims.claim import Claim, Finding
from cgro.data.patches import GramDraw, draw_gram, draw_patches

Draw = Callable[[int, int], GramDraw]
CONFIDENCE = 0.99
STATISTICS: dict[str, Callable[[GramDraw], float]] = {
    "G_11": lambda g: g.gram[0, 0],
    "G_12": lambda g: g.gram[0, 1],
    "det G": lambda g: np.linalg.det(g.gram),
    "v_11": lambda g: g.noise_projection[0, 0],
    "K_11": lambda g: g.filter_gram[0, 0],
    "K_12": lambda g: g.filter_gram[0, 1],
    "v_11 v_12 G_12": lambda g: g.noise_projection[0, 0] * g.noise_projection[0, 1] * g.gram[0, 1],
    "v_11 v_21 K_12": lambda g: g.noise_projection[0, 0] * g.noise_projection[1, 0] * g.filter_gram[0, 1],
    "v_11^2 / (G_11 K_11)": lambda g: g.noise_projection[0, 0] ** 2 / (g.gram[0, 0] * g.filter_gram[0, 0]),
}
SIZES = {"samples": 2, "patches": 2, "filters": 2}


def from_gram(seed: int, dim: int) -> GramDraw:
    """Drawn directly, without vectors."""
    return draw_gram(seed, dim=dim, **SIZES)


def from_vectors(seed: int, dim: int) -> GramDraw:
    """Computed from d-dimensional vectors."""
    return GramDraw.of(draw_patches(seed, dim=dim, **SIZES))


@lru_cache(maxsize=50_000)
def _statistics(draw: Draw, seed: int, dim: int) -> tuple[float, ...]:
    """Every statistic of one draw; checks of other laws compare them with the same vector draws."""
    drawn = draw(seed, dim)
    return tuple(float(f(drawn)) for f in STATISTICS.values())


def check(*, draws: int = 3000, dim: int = 6, tolerance: float = 0.15, seed: int = 0, law: Draw = from_gram) -> Finding:
    """The distances between the distribution functions of all statistics.

    Args:
        draws: draws of either kind.
        dim: dimension d of a patch.
        tolerance: largest accepted distance, confidence width included.
        seed: first seed.
    """
    first = 10**6 * seed
    values = [
        np.array([_statistics(draw, first + shift + k, dim) for k in range(draws)])
        for draw, shift in ((law, 0), (from_vectors, 500_000))
    ]
    distances = [
        float(stats.ks_2samp(a, b, method="asymp").statistic) for a, b in zip(values[0].T, values[1].T, strict=True)
    ]
    alpha = (1 - CONFIDENCE) / (2 * len(STATISTICS))
    width = 2 * math.sqrt(math.log(2 / alpha) / (2 * draws))
    name, worst = max(zip(STATISTICS, distances, strict=True), key=lambda item: item[1])
    holds = True if worst + width <= tolerance else False if worst > width else None
    return Finding(
        holds=holds,
        slack=tolerance / (worst + width) if holds else min(tolerance / (worst + width), 0.99),
        tested=f"{len(STATISTICS)} statistics of {draws} draws each, N = P = m = 2, d = {dim}",
        bound=f"distance of distribution functions <= {tolerance:g}",
        measured=f"largest observed distance {worst:.3f} ({name}), at most {worst + width:.3f}",
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


CLAIM = Claim(
    statement="(G, v(0), K(0)) drawn without d-dimensional vectors have the law of vector draws",
    source="Bartlett 1933; reduced dynamics derived here",
    tag="[D]",
    evidence="statistical",
    check=check,
    hypotheses={"dim >= 3": lambda dim: dim >= 3, "draws >= 1000": lambda draws: draws >= 1000},
    deep={"draws": 60_000, "tolerance": 0.04},
    controls={
        "one degree of freedom less": {"law": _wrong_freedom, "draws": 1000},
        "v independent of G": {"law": _independent, "draws": 1000},
    },
)
