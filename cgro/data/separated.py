"""Families of labelled points: prescribed separation, worst cases for lower bounds, and one weak clean coordinate.

Two classes have labels -1 and +1, more have 0..C-1. Where at least as many points as classes are drawn, every class
occurs. Labels and coordinates come from independent streams of one seed. Prescribed distances hold to within rounding,
a relative 1e-12; `separation.opposite_separation` measures them.

Letters: N points, D dimensions, C classes, K cells per side.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int, Int64

from cgro.base.arrays import as_array
from cgro.base.errors import UserError
from cgro.base.norms import EXPONENT, Norm, require_norm
from cgro.base.validate import above, at_least, between, integer
from cgro.data.patches import require_sizes
from cgro.data.separation import LabelledPoints, checked_labels

LARGEST_FAMILY = 10**6
"""Largest number of points of a family whose size is exponential in its parameters."""
Seed = int | np.random.SeedSequence

_SLACK = 1e-12
"""Relative rounding error permitted for a prescribed distance."""
_MANY = 2**16
"""Number of letters beyond which words are effectively continuous."""


def random_points(samples: int, dim: int, *, classes: int = 2, seed: Seed) -> LabelledPoints:
    """Independent uniform points in [0, 1]^D with random labels; their separation is not controlled.

    Raises: UserError for a size that is not a positive integer, and for fewer than two classes.
    """
    require_sizes(samples=samples, dim=dim)
    labels, coordinates = _streams(seed, 2)
    y = _random_labels(labels, samples, classes)
    return LabelledPoints(coordinates.random((samples, dim)), y)


def random_separated(
    samples: int, dim: int, norm: Norm, separation: float, *, classes: int = 2, seed: Seed
) -> LabelledPoints:
    """Random points in [0, 1]^D, any two of them at least `separation` apart in l_p, with random labels.

    The points sit at random places of different cells. A cell is a word of b letters out of m; each letter is repeated
    on h = floor(D / b) coordinates, where it stands for one of m intervals of [0, 1], g apart. Words differ in a
    letter, hence points in h coordinates by at least g, and

        |x - x'|_p >= h^(1/p) g = separation,    number of cells m^b,   m <= 1 + 1/g.

    b is as large as it can be with N cells, and m about half of its largest value, so that intervals are as wide as
    their gaps. Coordinates beyond b h are uniform.

    separation: in (0, D^(1/p)], in units of the cube's side.
    Raises: UserError for bad sizes, and beyond the packing limit max over b of m^b, which it names, with the largest
    separation at this number of points.
    """
    require_sizes(samples=samples, dim=dim)
    require_norm(norm)
    above("separation", separation, 0)
    labels, cells, jitter, columns = _streams(seed, 4)
    y = _random_labels(labels, samples, classes)
    length, letters, gap = _code(samples, dim, norm, separation)
    width = max(0.0, (1 - (letters - 1) * gap) / letters)
    repeats = dim // length
    word = np.repeat(_distinct_words(cells, samples, length, letters), repeats, axis=1)
    points = jitter.random((samples, dim))
    points[:, : length * repeats] = word * (width + gap) + width * points[:, : length * repeats]
    # Rounding may leave the cube by an ulp.
    return LabelledPoints(np.minimum(points[:, columns.permutation(dim)], 1.0), y)


def grid_family(
    cells_per_side: int,
    dim: int,
    offset: float,
    *,
    labelling: Int[np.ndarray, " cells"] | None = None,
    seed: Seed = 0,
) -> LabelledPoints:
    """The family behind the exponential lower bound for robust classifiers: a grid, shifted by its labels.

        x_i = (i_1 / K, ..., i_{D-1} / K, 1/2 + offset phi(i)),   y_i = phi(i),   i in {1..K}^(D-1)

    The hyperplane x_D = 1/2 has clean error 0; a classifier that is robust at a radius of `offset` or more must realise
    phi, and there is one up to 1/(2K): points are at least 1/K apart in every l_p. The last index runs fastest.

    labelling: phi in that order, of -1 and +1; None draws it with `seed`. offset: in (0, 1/2].
    Raises: UserError for bad sizes, offset or labelling, D < 2, and more than 10^6 points.
    Reference: Li et al. (NeurIPS 2022, arXiv:2205.13863), Theorem 4.3, with K = floor(1 / (2 epsilon)) [S].
    """
    require_sizes(cells_per_side=cells_per_side, dim=dim)
    if dim < 2:
        raise UserError(f"dim must be at least 2, got {dim}: the last coordinate only carries the offset")
    between("offset", offset, 0, 0.5, open_low=True)
    count = _power_within(cells_per_side, dim - 1, "cells_per_side^(dim - 1)")
    y = _random_labels(_streams(seed, 1)[0], count, 2) if labelling is None else _signs(labelling, count)
    index = np.stack(np.unravel_index(np.arange(count), (cells_per_side,) * (dim - 1)), axis=1)
    return LabelledPoints(np.column_stack([(index + 1) / cells_per_side, 0.5 + offset * y]), y)


def weak_coordinate(
    samples: int,
    dim: int,
    *,
    margin: float,
    separation: float,
    spread: float = 0.0,
    informative: int | None = None,
    seed: Seed,
) -> LabelledPoints:
    """One weak coordinate determines the label; in the others the classes are far apart, but hard to tell apart.

        x_0 = y u,   u uniform in [margin, margin + spread],
        x_k = c_k (1 + separation) / 2 + (1 - separation) / 2 * uniform[0, 1],   c_k in {0, 1},   y = prod_k (-1)^(c_k)

    for k = 1..informative; the coordinates after them are uniform in [0, 1]. The classifier sgn(x_0) has clean error 0
    and, at radius r in any l_p, robust error P[u <= r]: 0 for r < margin, 1 for r >= margin + spread. The supports of
    the classes lie in 2^informative cells in the pattern of a checkerboard, so they are at least `separation` apart in
    every l_p: a robust classifier exists, but must distinguish all cells.

    Calls with different seeds draw from the same distribution: one for training, one for testing.

    margin: > 0. separation: in (0, 1). spread: >= 0. informative: 1..D-1, None for all D-1.
    Raises: UserError outside these ranges and for D < 2.
    Reference: a distribution under Assumption 4.2 of Li & Li (ICML 2025, arXiv:2306.01271) for separation > 2 delta
    [D].
    """
    require_sizes(samples=samples, dim=dim)
    if dim < 2:
        raise UserError(f"dim must be at least 2, got {dim}: the weak coordinate and one more")
    above("margin", margin, 0)
    at_least("spread", spread, 0)
    between("separation", separation, 0, 1, open_low=True, open_high=True)
    informative = dim - 1 if informative is None else informative
    integer("informative", informative, low=1, high=dim - 1)
    labels, weak, cells, jitter = _streams(seed, 4)
    y = _random_labels(labels, samples, 2)
    cell = cells.integers(0, 2, (samples, informative))
    # The last cell settles the parity.
    cell[:, -1] = (cell[:, :-1].sum(1) + (y < 0)) % 2
    points = jitter.random((samples, dim))
    points[:, 0] = y * (margin + spread * weak.random(samples))
    inside = slice(1, informative + 1)
    points[:, inside] = cell * (1 + separation) / 2 + (1 - separation) / 2 * points[:, inside]
    return LabelledPoints(points, y)


def basis_family(dim: int, extra: int = 0) -> LabelledPoints:
    """0 with label -1, then e_1..e_D with label +1, then 2 e_1, 3 e_1, ... (`extra` of them) with label +1.

    The separation is 1 in every l_p. A network that memorizes it robustly at radius rho / 2 in l_2 has at least
    rho^2 min(N - 1, D) neurons in its first layer.

    Raises: UserError for a dimension below 1 or a negative `extra`.
    Reference: Kim, Moon, Yun (NeurIPS 2025, arXiv:2510.24643), Proposition 3.2 [S].
    """
    require_sizes(dim=dim)
    integer("extra", extra, low=0)
    beyond = np.zeros((extra, dim))
    beyond[:, 0] = np.arange(2, extra + 2)
    points = np.vstack([np.zeros(dim), np.eye(dim), beyond])
    return LabelledPoints(points, np.where(np.arange(len(points)) == 0, -1, 1))


def packing_limit(dim: int, norm: Norm, separation: float) -> int:
    """How many points `random_separated` can place: max over b of m^b, m = floor(1 + h^(1/p) / separation).

    It is the limit of that construction: denser packings of the cube exist.
    """
    require_sizes(dim=dim)
    require_norm(norm)
    above("separation", separation, 0)
    return max(_most_letters(dim // b, norm, separation) ** b for b in _lengths(dim))


def largest_separation(samples: int, dim: int, norm: Norm) -> float:
    """Largest separation at which `random_separated` can place N points: max over b of h^(1/p) / (m - 1), m^b >= N."""
    require_sizes(samples=samples, dim=dim)
    require_norm(norm)
    return max(_repeated(dim // b, norm) / max(1, _least_letters(samples, b) - 1) for b in _lengths(dim))


def _code(samples: int, dim: int, norm: Norm, separation: float) -> tuple[int, int, float]:
    """Length b of the words, number m of letters and gap g for so many points at that separation."""
    for b in reversed(_lengths(dim)):
        least, most = _least_letters(samples, b), _most_letters(dim // b, norm, separation)
        if least <= most:
            gap = separation / _repeated(dim // b, norm)
            return b, min(max(least, math.ceil((1 + min(1 / gap, _MANY)) / 2)), most), gap
    limit, largest = packing_limit(dim, norm, separation), largest_separation(samples, dim, norm)
    raise UserError(
        f"separation must be at most {largest:.13g} for {samples} points of [0, 1]^{dim} in l_{norm}, got "
        f"{separation:g}: lower it or draw at most {limit} points"
    )


def _lengths(dim: int) -> list[int]:
    """Lengths b of words that differ in the number of repetitions, floor(D / b), the longest of each."""
    return sorted({dim // repeats for repeats in {dim // b for b in range(1, dim + 1)}})


def _repeated(repeats: int, norm: Norm) -> float:
    """l_p norm of `repeats` ones."""
    return repeats ** (1 / EXPONENT[norm])


def _most_letters(repeats: int, norm: Norm, separation: float) -> int:
    return 1 + math.floor(min(_repeated(repeats, norm) / separation * (1 + _SLACK), 2.0**53))


def _least_letters(samples: int, length: int) -> int:
    """Smallest m with m^b >= N."""
    m = max(1, math.floor(samples ** (1 / length)))
    while m**length < samples:
        m += 1
    return m


def _distinct_words(
    rng: np.random.Generator, count: int, length: int, letters: int
) -> Int64[np.ndarray, "count length"]:
    """Distinct words of letters 0..letters-1, every set of words equally likely."""
    total = letters**length
    if total < 2**62:
        code = rng.choice(total, count, replace=False)
        return code[:, None] // np.array([letters**k for k in range(length)]) % letters
    while True:
        # Among so many words, two hardly ever agree.
        words = rng.integers(0, letters, (count, length))
        if len(np.unique(words, axis=0)) == count:
            return words


def _random_labels(rng: np.random.Generator, count: int, classes: int) -> Int64[np.ndarray, " count"]:
    """Independent uniform labels, except for one point of each class at random positions."""
    require_sizes(least={"classes": 2}, classes=classes)
    y = np.concatenate([rng.permutation(classes), rng.integers(0, classes, max(0, count - classes))])[:count]
    y = rng.permutation(y)
    return 2 * y - 1 if classes == 2 else y


def _signs(labelling: Int[np.ndarray, " cells"], count: int) -> Int64[np.ndarray, " count"]:
    given = as_array("labelling", labelling)
    if given.dtype == bool:
        raise UserError(f"labelling must be {count} values of -1 and +1, got {given.flat[0]}")
    if given.shape != (count,) or not np.isin(checked_labels(given, count), (-1, 1)).all():
        raise UserError(f"labelling must be {count} values of -1 and +1, one for each cell, got shape {given.shape}")
    return checked_labels(given, count)


def _power_within(base: int, exponent: int, name: str) -> int:
    if exponent * math.log(base) > math.log(LARGEST_FAMILY) + 1 or base**exponent > LARGEST_FAMILY:
        raise UserError(f"{name} must be at most {LARGEST_FAMILY:,} points, got {base}^{exponent}")
    return base**exponent


def _spawn(seed: Seed, count: int) -> list[np.random.SeedSequence]:
    if isinstance(seed, np.random.SeedSequence):
        # A copy: spawning changes the parent, and the same argument must give the same points again.
        sequence = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)
        return sequence.spawn(count)
    return np.random.SeedSequence(integer("seed", seed, low=0)).spawn(count)


def _streams(seed: Seed, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(child) for child in _spawn(seed, count)]
