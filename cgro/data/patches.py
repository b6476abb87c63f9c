"""Patch-structured data of Li & Li (ICML 2025, arXiv:2306.01271), section 5: full patches, or only their Gram matrix.

A sample is X = (X[1], ..., X[P]), X[j] in R^d, with label y uniform in {-1, +1}. One patch carries the signal,
X[s] = alpha y w* with ||w*|| = 1; the other P - 1 are noise, i.i.d. N(0, sigma^2 (I - w* w*^T)).

With two features, a sample carries alpha y v in place of alpha y w* with probability p_un, v orthogonal to w*: it is
unlearnable for a network that is blind to v. Noise is then orthogonal to both (Lee & Chung, ICML 2026,
arXiv:2605.21999 [N]).

Draws are kept in standard units (sigma = sigma_0 = 1): the scales of the noise, the signal and the initial filters
multiply them afterwards. So one seed gives the same randomness at every value of every scale (common random numbers),
and a diagram over scales needs one draw per seed; the unlearnable samples of a seed at one p_un are among those at any
larger one. The signal directions are the first coordinates, w* = e_1 and v = e_2. Noise and filters are isotropic, so
that this is no loss of generality, except for l_inf attacks on the whole input, which depend on the axes.

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
    """Noise patches, N(0, I - w* w*^T - ...): the coordinates of the features are zero."""
    filters: Float64[np.ndarray, "F d"]
    """Initial filters, N(0, I)."""
    labels: Int64[np.ndarray, " N"]
    signal_position: Int64[np.ndarray, " N"]
    """Index in 0..P-1 of the signal patch of each sample."""
    rank: Float64[np.ndarray, " N"]
    """Uniform in [0, 1): a sample is unlearnable if its rank is below p_un."""
    features: int = 1
    """Number of features, 1 or 2."""

    def patches(self, signal: float, noise: float, unlearnable: float = 0.0) -> Float64[np.ndarray, "N P d"]:
        """The samples themselves: signal strength alpha, noise scale sigma, probability p_un (0 with one feature)."""
        count, dim = len(self.labels), self.noise.shape[1]
        patches = len(self.noise) // count + 1
        X = np.zeros((count, patches, dim))
        is_noise = np.arange(patches) != self.signal_position[:, None]
        X[is_noise] = noise * self.noise
        X[np.arange(count), self.signal_position, (self.rank < unlearnable).astype(int)] = signal * self.labels
        return X


@dataclass(frozen=True)
class GramDraw:
    """All that the reduced dynamics need to know of data and initial filters, in standard units."""

    gram: Float64[np.ndarray, "n n"]
    """G: inner products of the noise patches."""
    noise_projection: Float64[np.ndarray, "F n"]
    """v(0): inner products of initial filters and noise patches."""
    signal_projection: Float64[np.ndarray, "features F"]
    """u(0): inner products of initial filters and w*, and in a second row v."""
    filter_gram: Float64[np.ndarray, "F F"]
    """K(0): inner products of the initial filters' components orthogonal to the features."""
    labels: Int64[np.ndarray, " N"]
    rank: Float64[np.ndarray, " N"]
    """As in `PatchDraw`."""

    @classmethod
    def of(cls, draw: PatchDraw) -> GramDraw:
        """The Gram form of a vector draw."""
        inside = draw.filters[:, draw.features :]
        return cls(
            gram=draw.noise @ draw.noise.T,
            noise_projection=draw.filters @ draw.noise.T,
            signal_projection=draw.filters[:, : draw.features].T.copy(),
            filter_gram=inside @ inside.T,
            labels=draw.labels,
            rank=draw.rank,
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


def require_shape(samples: int, patches: int, dim: int, filters: int, features: int = 1) -> None:
    """Refuse sizes that no patch data or filters can have. Raises: UserError."""
    require_sizes(samples=samples, patches=patches, dim=dim, filters=filters)
    if patches < 2:
        raise UserError(f"patches must be at least 2, got {patches}: one carries the signal, the others noise")
    if dim <= features:
        directions = "the signal direction" if features == 1 else "both features"
        raise UserError(f"dim must be at least {features + 1}, got {dim}: noise is orthogonal to {directions}")


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


def draw_patches(seed: int, *, samples: int, patches: int, dim: int, filters: int, features: int = 1) -> PatchDraw:
    """Draw noise patches and initial filters as d-dimensional vectors.

    Raises: UserError for a non-positive size, fewer than two patches or no dimension beside the features.
    """
    require_shape(samples, patches, dim, filters, features)
    labels, noise, start, position, rank = _streams(seed, 5)
    X = noise.standard_normal((samples * (patches - 1), dim))
    X[:, :features] = 0.0
    return PatchDraw(
        noise=X,
        filters=start.standard_normal((filters, dim)),
        labels=2 * labels.integers(0, 2, samples) - 1,
        signal_position=position.integers(0, patches, samples),
        rank=rank.random(samples),
        features=features,
    )


def draw_gram(seed: int, *, samples: int, patches: int, dim: int, filters: int, features: int = 1) -> GramDraw:
    """Draw (G, v(0), u(0), K(0)) from their joint law without any d-dimensional vector; d up to 10^9 and beyond.

    With one feature or two, the noise patches live in R^D, D = d - features. With k = min(n, D) their matrix is L Q,
    with L the lower-trapezoidal Bartlett factor of a Wishart matrix (chi variables with D - i degrees of freedom on the
    diagonal, standard normals below it) and Q a Haar-distributed k-frame independent of L. The filters' coordinates in
    that frame, Omega, are standard normal, hence

        G = L L^T,   v(0) = Omega^T L^T,   K(0) = Omega^T Omega + Wishart_F(D - k).

    The cost is O(n^2 (k + F)), whatever d.

    Raises: UserError for a non-positive size, fewer than two patches, or a dimension below the number n of noise
    patches (there the vectors are no larger than their Gram matrix: use `draw_patches`).
    Reference: Bartlett (1933); theory of the reduced dynamics [D], checked against vector draws in the tests.
    """
    require_shape(samples, patches, dim, filters, features)
    count, inside = samples * (patches - 1), dim - features
    require_gram(dim, count)
    labels, noise, start, rest, rank = _streams(seed, 5)
    frame = min(count, inside)
    L = _bartlett(noise, count, inside, frame)
    omega = start.standard_normal((frame, filters))
    outside = _bartlett(rest, filters, inside - frame, min(filters, inside - frame))
    return GramDraw(
        gram=L @ L.T,
        noise_projection=(L @ omega).T.copy(),
        signal_projection=start.standard_normal((features, filters)),
        filter_gram=omega.T @ omega + outside @ outside.T,
        labels=2 * labels.integers(0, 2, samples) - 1,
        rank=rank.random(samples),
    )


def _bartlett(rng: np.random.Generator, rows: int, freedom: int, columns: int) -> Float64[np.ndarray, "rows columns"]:
    """Lower-trapezoidal L with L L^T ~ Wishart_rows(I, freedom), columns = min(rows, freedom)."""
    L = np.tril(rng.standard_normal((rows, columns)), -1)
    diagonal = np.arange(columns)
    L[diagonal, diagonal] = np.sqrt(rng.chisquare(freedom - diagonal))
    return L
