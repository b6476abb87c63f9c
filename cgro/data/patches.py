"""Patch-structured data of Li & Li (ICML 2025, arXiv:2306.01271), section 5: full patches, or only their Gram matrix.

A sample is X = (X[1], ..., X[P]), X[j] in R^d, with label y uniform in {-1, +1}. One patch carries the signal,
X[s] = alpha y w* with ||w*|| = 1; the other P - 1 are noise, i.i.d. N(0, sigma^2 (I - w* w*^T)).

Draws are kept in standard units (sigma = sigma_0 = 1): the scales of the noise, the signal and the initial filters
multiply them afterwards. So one seed gives the same randomness at every value of every scale (common random numbers),
and a diagram over scales needs one draw per seed. The signal direction is the first coordinate, w* = e_1, without loss
of generality, because noise and filters are isotropic.

Letters: N samples, P patches, n = N (P - 1) noise patches, d patch dimension, F filters. Noise patch (i, j) has row
i (P - 1) + j.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64

from cgro.base.errors import UserError
from cgro.base.validate import integer

LARGEST_SIZE = 2**53
"""Up to here floating-point numbers count exactly."""


@dataclass(frozen=True)
class PatchDraw:
    """Noise patches and initial filters as vectors, in standard units."""

    noise: Float64[np.ndarray, "n d"]
    """Noise patches, N(0, I - w* w*^T): the first coordinate is zero."""
    filters: Float64[np.ndarray, "F d"]
    """Initial filters, N(0, I)."""
    labels: Int64[np.ndarray, " N"]
    signal_position: Int64[np.ndarray, " N"]
    """Index in 0..P-1 of the signal patch of each sample."""

    def patches(self, signal: float, noise: float) -> Float64[np.ndarray, "N P d"]:
        """The samples themselves, with signal strength alpha = `signal` and noise scale sigma = `noise`."""
        count, dim = len(self.labels), self.noise.shape[1]
        patches = len(self.noise) // count + 1
        X = np.zeros((count, patches, dim))
        is_noise = np.arange(patches) != self.signal_position[:, None]
        X[is_noise] = noise * self.noise
        X[~is_noise, 0] = signal * self.labels
        return X


@dataclass(frozen=True)
class GramDraw:
    """All that the reduced dynamics need to know of data and initial filters, in standard units."""

    gram: Float64[np.ndarray, "n n"]
    """G: inner products of the noise patches."""
    noise_projection: Float64[np.ndarray, "F n"]
    """v(0): inner products of initial filters and noise patches."""
    signal_projection: Float64[np.ndarray, " F"]
    """u(0): inner products of initial filters and w*."""
    filter_gram: Float64[np.ndarray, "F F"]
    """K(0): inner products of the initial filters' components orthogonal to w*."""
    labels: Int64[np.ndarray, " N"]

    @classmethod
    def of(cls, draw: PatchDraw) -> GramDraw:
        """The Gram form of a vector draw."""
        inside = draw.filters[:, 1:]
        return cls(
            gram=draw.noise @ draw.noise.T,
            noise_projection=draw.filters @ draw.noise.T,
            signal_projection=draw.filters[:, 0].copy(),
            filter_gram=inside @ inside.T,
            labels=draw.labels,
        )


def require_sizes(*, least: Mapping[str, int] = MappingProxyType({}), **sizes: int) -> None:
    """Refuse the first size that is not a positive integer, or too large for exact arithmetic in float64.

    least: smallest permitted values by name; 1 for the others.

    Raises: UserError.
    """
    for name, value in sizes.items():
        integer(name, value, low=least.get(name, 1))
        if value > LARGEST_SIZE:
            raise UserError(f"{name} must be at most {LARGEST_SIZE:,}, got a larger number")


def require_shape(samples: int, patches: int, dim: int, filters: int) -> None:
    """Refuse sizes that no patch data or filters can have. Raises: UserError."""
    require_sizes(samples=samples, patches=patches, dim=dim, filters=filters)
    if patches < 2:
        raise UserError(f"patches must be at least 2, got {patches}: one carries the signal, the others noise")
    if dim < 2:
        raise UserError(f"dim must be at least 2, got {dim}: noise is orthogonal to the signal direction")


def require_gram(dim: int, count: int) -> None:
    """Refuse a Gram draw in fewer dimensions than there are noise patches. Raises: UserError."""
    if dim < count:
        raise UserError(
            f"dim must be at least {count}, the number of noise patches, for sampling 'gram', got {dim}: raise dim or "
            "use sampling 'vectors' or 'auto'"
        )


def _streams(seed: int, count: int) -> list[np.random.Generator]:
    sequence = np.random.SeedSequence(integer("seed", seed, low=0))
    return [np.random.default_rng(child) for child in sequence.spawn(count)]


def draw_patches(seed: int, *, samples: int, patches: int, dim: int, filters: int) -> PatchDraw:
    """Draw noise patches and initial filters as d-dimensional vectors.

    Raises: UserError for a non-positive size, fewer than two patches or a dimension below two.
    """
    require_shape(samples, patches, dim, filters)
    labels, noise, start, position = _streams(seed, 4)
    X = noise.standard_normal((samples * (patches - 1), dim))
    X[:, 0] = 0.0
    return PatchDraw(
        noise=X,
        filters=start.standard_normal((filters, dim)),
        labels=2 * labels.integers(0, 2, samples) - 1,
        signal_position=position.integers(0, patches, samples),
    )


def draw_gram(seed: int, *, samples: int, patches: int, dim: int, filters: int) -> GramDraw:
    """Draw (G, v(0), u(0), K(0)) from their joint law without any d-dimensional vector; d up to 10^9 and beyond.

    The noise patches live in R^(d-1), so with k = min(n, d-1) their matrix is L Q with L the lower-trapezoidal
    Bartlett factor of a Wishart matrix (chi variables with d-1-i degrees of freedom on the diagonal, standard normals
    below it) and Q a Haar-distributed k-frame independent of L. The filters' coordinates in that frame, Omega, are
    standard normal, hence

        G = L L^T,   v(0) = Omega^T L^T,   K(0) = Omega^T Omega + Wishart_F(d - 1 - k).

    The cost is O(n^2 (k + F)), whatever d.

    Raises: UserError for a non-positive size, fewer than two patches, or a dimension below the number n of noise
    patches (there the vectors are no larger than their Gram matrix: use `draw_patches`).
    Reference: Bartlett (1933); theory of the reduced dynamics [D], checked against vector draws in the tests.
    """
    require_shape(samples, patches, dim, filters)
    count = samples * (patches - 1)
    require_gram(dim, count)
    labels, noise, start, rest = _streams(seed, 4)
    frame = min(count, dim - 1)
    L = _bartlett(noise, count, dim - 1, frame)
    omega = start.standard_normal((frame, filters))
    outside = _bartlett(rest, filters, dim - 1 - frame, min(filters, dim - 1 - frame))
    return GramDraw(
        gram=L @ L.T,
        noise_projection=(L @ omega).T.copy(),
        signal_projection=start.standard_normal(filters),
        filter_gram=omega.T @ omega + outside @ outside.T,
        labels=2 * labels.integers(0, 2, samples) - 1,
    )


def _bartlett(rng: np.random.Generator, rows: int, freedom: int, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """Lower-trapezoidal L with L L^T ~ Wishart_rows(I, freedom), columns = min(rows, freedom)."""
    L = np.tril(rng.standard_normal((rows, columns)), -1)
    diagonal = np.arange(columns)
    L[diagonal, diagonal] = np.sqrt(rng.chisquare(freedom - diagonal))
    return L
