"""Labelled points and their separation: the smallest distance between points of different labels, exactly.

All statements about robust memorization and CGRO classifiers start from this number, lambda_p = min over
y_i != y_j of |x_i - x_j|_p: balls of radius delta around points of different labels are disjoint iff delta is below
lambda_p / 2.

The search covers every pair of points with different labels, and is fast because a lower bound rules out nearly all
of them. Coordinates are partitioned into at most 64 groups g that vary together, and for any partition

    |x - y|_1 >= sum_g |s_g(x) - s_g(y)|,    |x - y|_2^2 >= sum_g (s_g(x) - s_g(y))^2 / size of g,
    s_g(x) = sum over k in g of x_k;

for l_inf the bound is the largest difference among 64 single coordinates. Distances of the remaining pairs
are summed in blocks until the sum exceeds the smallest distance found so far. Images are searched in integers.

Letters: N points, D dimensions, G groups. Reference: 2-epsilon-separation as in Li et al. (NeurIPS 2022,
arXiv:2205.13863) [S], with lambda = 2 epsilon; the bounds are the triangle and Cauchy-Schwarz inequalities.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numba as nb
import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from cgro.base.arrays import as_array, real_array
from cgro.base.errors import UserError
from cgro.base.machine import available_cores
from cgro.base.norms import Norm, distances, require_norm
from cgro.base.work import Tick

LARGEST_COORDINATE = 1e150
"""Largest absolute coordinate of a labelled point, so that squared distances do not overflow."""
SMALLEST_EUCLIDEAN = 1e-140
"""Smallest separation in l_2 in floating point; below it squares underflow."""

_GROUPS = 64
_POINTS_PER_GROUP = 8
"""Fewer points have fewer groups: a group costs as much as comparing every point with four others."""
_LEAD = 32
"""Number of groups compared first."""
_SAMPLE = 1000
"""Number of points from which the groups are chosen; the choice affects the running time only."""
_CHUNK = 64
"""Points compared with all others in one call of the compiled search."""
_BLOCK = 256
"""Coordinates summed before the sum is compared with the smallest distance so far."""
_POWER: dict[Norm, int] = {"inf": 0, "1": 1, "2": 2}
# Sums may be reordered and multiplications fused; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """N points in R^D with integer labels: checked, copied and read-only.

    Raises: UserError, on creation, unless there is at least one point of at least one finite coordinate, none
    beyond 1e150 in size, and one integer label for each point.
    """

    points: Float64[np.ndarray, "N D"]
    labels: Int64[np.ndarray, " N"]

    def __post_init__(self) -> None:
        points = _checked_points(self.points)
        labels = checked_labels(self.labels, len(points))
        for name, array in (("points", points), ("labels", labels)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def size(self) -> int:
        """Number of points, N."""
        return len(self.points)

    @property
    def dim(self) -> int:
        """Number of coordinates, D."""
        return self.points.shape[1]

    @property
    def classes(self) -> Int64[np.ndarray, " C"]:
        """The different labels, in increasing order."""
        return np.unique(self.labels)


@dataclass(frozen=True)
class Separation:
    """Smallest l_p distance between points of different labels, and the first pair that attains it."""

    norm: Norm
    distance: float
    lower: float
    """A proven lower bound of the exact distance, within rounding of `distance`: what proofs use."""
    pair: tuple[int, int]
    """Indices i < j of two points at that distance; of several pairs the lexicographically first."""
    labels: tuple[int, int]
    """Labels of the two points."""

    def scaled(self, factor: float) -> Separation:
        """The separation of all points times `factor` > 0, e.g. 1/255 from grey levels to [0, 1].

        Raises: UserError for a factor that is not positive and finite.
        """
        if not (factor > 0 and math.isfinite(factor)):
            raise UserError(f"factor must be positive and finite, got {factor}")
        # The factor itself may be a rounded quotient, and so is the product.
        lower = math.nextafter(math.nextafter(self.lower * factor, 0.0), 0.0)
        return replace(self, distance=self.distance * factor, lower=lower)

    def require_positive(self) -> Separation:
        """The separation itself. Raises: UserError if two points of different labels coincide, naming them."""
        if self.distance > 0:
            return self
        (i, j), (a, b) = self.pair, self.labels
        raise UserError(f"points {i} and {j} coincide but have labels {a} and {b}: remove one of them or relabel it")


def opposite_separation(data: LabelledPoints, norm: Norm, *, tick: Tick | None = None) -> Separation:
    """lambda_p = min over y_i != y_j of |x_i - x_j|_p, over all pairs, in any dimension.

    Distances are sums in float64, with a relative error of at most (D + 4) 2^-53 for coordinates taken as exact;
    `lower` is the distance less that error. Pairs nearer to a tie than that error count as they come out.

    tick: called with the number of points just done; the total is N. Memory O(N G) beside the points.
    Returns: distance in units of the coordinates; the same for any number of threads.
    Raises: UserError for points of one label only, for two equal points of different labels, and in l_2 for a
    distance below 1e-140, whose square would underflow.
    """
    require_norm(norm)
    _require_two_classes(data.labels)
    distance, i, j = _search(data.points, data.labels, norm, tick)
    if norm == "2":
        distance = math.sqrt(distance)
        if distance < SMALLEST_EUCLIDEAN and not np.array_equal(data.points[i], data.points[j]):
            raise UserError(
                f"points {i} and {j} are less than {SMALLEST_EUCLIDEAN} apart: the square of that underflows; "
                "multiply all coordinates by a large constant"
            )
    return _separation(norm, distance, _rounded_down(distance, data.dim), i, j, data.labels).require_positive()


def byte_separation(
    images: UInt8[np.ndarray, "N D"], labels: Int64[np.ndarray, " N"], norm: Norm, *, tick: Tick | None = None
) -> Separation:
    """lambda_p of images in units of one grey level, in exact integers: l_1 and l_inf, and l_2 squared.

    `scaled(1 / 255)` turns the result into units of [0, 1]. Equal images of different labels give 0.

    tick: called with the number of images just done; the total is N. All 50,000 training images of CIFAR-10 take
    seconds.
    Returns: distance, with `lower` equal to it in l_1 and l_inf and one rounding below it in l_2.
    Raises: UserError unless images are a two-dimensional array of bytes with one label each and two labels at least.
    """
    require_norm(norm)
    images = as_array("images", images)
    if images.dtype != np.uint8 or images.ndim != 2 or not images.size:
        raise UserError(f"images must be uint8 (N, D), not empty, got {images.dtype} {images.shape}: flatten them")
    labels = checked_labels(labels, len(images))
    _require_two_classes(labels)
    value, i, j = _search(np.ascontiguousarray(images), labels, norm, tick)
    distance = math.sqrt(value) if norm == "2" else float(value)
    lower = math.nextafter(distance, 0.0) if norm == "2" else distance
    return _separation(norm, distance, lower, i, j, labels)


def nearest_opposite_distances(data: LabelledPoints, norm: Norm) -> Float[np.ndarray, " N"]:
    """Distance of each point to the nearest point of another label, in time O(N^2 D) and memory O(N).

    Raises: UserError for points of one label only.
    """
    require_norm(norm)
    _require_two_classes(data.labels)
    nearest = np.empty(data.size)
    rows = max(1, 2**20 // data.size)
    for first in range(0, data.size, rows):
        block = slice(first, first + rows)
        apart = distances(data.points[block], data.points, norm)
        apart[data.labels[block, None] == data.labels] = np.inf
        nearest[block] = apart.min(1)
    return nearest


def checked_labels(labels: object, count: int) -> Int64[np.ndarray, " N"]:
    """A copy of `count` labels as int64; 1.0 counts as 1. Raises: UserError for another number or kind of labels."""
    given = as_array("labels", labels)
    if given.shape != (count,):
        raise UserError(f"labels must have shape ({count},), one for each point, got {given.shape}")
    if given.dtype.kind not in "biuf":
        raise UserError(f"labels must be integers, got type {given.dtype}: number the classes")
    if given.dtype.kind == "f" or given.dtype == np.uint64:
        values = given.astype(np.float64)  # float16 holds no 2^53
        whole = np.isfinite(given) & (np.abs(values) < 2**53)
        whole[whole] = given[whole] == np.floor(given[whole])
        if not whole.all():
            i = int(np.argmin(whole))
            raise UserError(f"labels must be integers, got {given[i]} for point {i}: number the classes")
    return given.astype(np.int64)


def _checked_points(points: object) -> Float64[np.ndarray, "N D"]:
    """A copy, native and in C order."""
    checked = np.array(real_array("points", points), dtype=np.float64, order="C")
    if checked.ndim != 2 or not checked.size:
        raise UserError(f"points must have shape (N, D) with N, D >= 1, one row for each point, got {checked.shape}")
    good = np.abs(checked) <= LARGEST_COORDINATE  # also refuses NaN
    if not good.all():
        i, k = (int(index) for index in np.argwhere(~good)[0])
        raise UserError(
            f"coordinates must be finite and at most {LARGEST_COORDINATE:g} in size, got {checked[i, k]} at coordinate "
            f"{k} of point {i}: remove the point or rescale"
        )
    return checked


def _require_two_classes(labels: Int64[np.ndarray, " N"]) -> None:
    if labels.min() == labels.max():
        raise UserError(f"labels must be of two classes or more, got {labels[0]} for all {len(labels)} points")


def _separation(norm: Norm, distance: float, lower: float, i: int, j: int, labels: np.ndarray) -> Separation:
    return Separation(norm, distance, lower, (i, j), (int(labels[i]), int(labels[j])))


def _rounded_down(distance: float, dim: int) -> float:
    """A lower bound of the exact distance, given one computed with relative error (D + 4) 2^-53."""
    return math.nextafter(distance * (1 - (dim + 4) * 2.0**-53), 0.0)


def _search(points: np.ndarray, labels: np.ndarray, norm: Norm, tick: Tick | None) -> tuple[float, int, int]:
    """Smallest distance (squared in l_2) and the first pair i < j at that distance."""
    power = _POWER[norm]
    heads, slack, factor = _heads(points, power)
    order = np.argsort(heads[:, 0], kind="stable")
    heads, labels = heads[order], labels[order]
    exact = points.dtype == np.uint8
    limit = np.array(
        [np.iinfo(np.int64).max] if exact else [np.inf]
    )  # the smallest value so far, shared by all threads

    def work(first: int) -> tuple[float, int, int]:
        last = min(first + _CHUNK, len(points))
        found = _compare(points, heads, labels, order, power, first, last, limit, slack, factor)
        if tick is not None:
            tick(last - first)
        return found

    firsts = range(0, len(points), _CHUNK)
    if len(firsts) == 1:  # starting a thread would take longer
        best, i, j = work(0)
        return best, int(i), int(j)
    with ThreadPoolExecutor(min(len(firsts), available_cores())) as pool:
        best, i, j = min(pool.map(work, firsts))
    return best, int(i), int(j)


def _heads(points: np.ndarray, power: int) -> tuple[np.ndarray, float, float]:
    """Lower bounds of distances: heads (N, G), with absolute and relative errors of their distances.

    |h(x) - h(y)|_p <= (|x - y|_p + slack) factor, in computed numbers on both sides.
    """
    pivots, group = _groups(points)
    kind = np.float32 if points.dtype == np.uint8 else np.float64
    dim, unit = points.shape[1], float(np.finfo(kind).eps)
    factor = 1 + 4 * (len(pivots) + dim + 8) * unit
    if power == 0:
        return points[:, pivots].astype(kind), 0.0, factor
    weight = np.bincount(group).astype(np.float64) ** (-0.5 if power == 2 else 0.0)
    gather = np.zeros((dim, len(pivots)))
    gather[np.arange(dim), group] = weight[group]
    heads = np.empty((len(points), len(pivots)), kind)
    largest = 0.0
    for first in range(0, len(points), _SAMPLE):
        block = points[first : first + _SAMPLE].astype(np.float64)
        largest = max(largest, float((np.abs(block) @ gather).max()))
        heads[first : first + _SAMPLE] = block @ gather
    error = ((dim + 8) * 2.0**-52 + unit) * largest
    return heads, 2 * len(pivots) * error, factor


def _groups(points: np.ndarray) -> tuple[list[int], Int64[np.ndarray, " D"]]:
    """Pivots, coordinates that explain most of the variance one after another, and the pivot nearest to each one.

    Pivoted Gram-Schmidt on a sample; a coordinate joins the pivot with which it correlates most.
    """
    sample = points[:: -(-len(points) // _SAMPLE)].astype(np.float64)
    sample = sample - sample.mean(0)
    sample /= np.abs(sample).max() or 1.0
    variance, pivots = np.einsum("nk,nk->k", sample, sample), list[int]()
    count = min(_GROUPS, points.shape[1], max(1, len(points) // _POINTS_PER_GROUP))
    directions, parts = np.empty((len(sample), count)), np.empty((count, points.shape[1]))
    for g in range(count):
        pivot = int(variance.argmax())
        if pivots and variance[pivot] <= 1e-12:
            break
        pivots.append(pivot)
        rest = sample[:, pivot] - directions[:, :g] @ parts[:g, pivot]
        directions[:, g] = rest / (np.linalg.norm(rest) or 1.0)
        parts[g] = directions[:, g] @ sample
        variance -= parts[g] ** 2
        variance[pivots] = 0.0
    scale = np.linalg.norm(sample, axis=0)
    scale[scale == 0] = 1.0
    group = ((sample[:, pivots] / scale[pivots]).T @ (sample / scale)).argmax(0)
    group[pivots] = np.arange(len(pivots))
    return pivots, group


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _add(x, i, j, start, stop, power, total, zero):  # type: ignore[no-untyped-def]
    """`total` with the coordinates start..stop-1: max |a - b|, sum |a - b| or sum (a - b)^2, in the type of `zero`."""
    part = zero
    if power == 0:
        for k in range(start, stop):
            difference = abs(zero + x[i, k] - x[j, k])
            part = difference if difference > part else part
        return part if part > total else total
    if power == 1:
        for k in range(start, stop):
            part += abs(zero + x[i, k] - x[j, k])
    else:
        for k in range(start, stop):
            difference = zero + x[i, k] - x[j, k]
            part += difference * difference
    return total + part


@nb.njit(nogil=True, cache=True)
def _dismissal(value, power, slack, factor):  # type: ignore[no-untyped-def]
    """Heads further apart than this belong to points further apart than `value`; both squared in l_2."""
    if power == 2:
        root = (np.sqrt(value) + slack) * factor
        return root * root
    return (value + slack) * factor


@nb.njit(nogil=True, cache=True)
def _compare(points, heads, labels, order, power, first, last, limit, slack, factor):  # type: ignore[no-untyped-def]
    """Points first..last-1 of the order against all after them: smallest value, first pair.

    `limit` is lowered for the other threads. An outdated limit only costs time, since it is always the
    distance of some pair. Every comparison that rules out a pair is strict, so that no tie is lost.
    """
    count, dim = points.shape
    groups = heads.shape[1]
    lead = min(_LEAD, groups)
    zero, none = limit.dtype.type(0), heads.dtype.type(0)
    value, one, other = limit[0], count, count
    best, reach = value, _dismissal(value, power, slack, factor)
    for j in range(first + 1, count):
        if limit[0] < best:
            best = limit[0]
            reach = _dismissal(best, power, slack, factor)
        # Points are ordered by their first head, which alone is a bound.
        if j >= last and _add(heads, j, last - 1, 0, 1, power, none, none) > reach:
            break
        for i in range(first, min(last, j)):
            if labels[i] == labels[j]:
                continue
            bound = _add(heads, i, j, 0, lead, power, none, none)
            if bound > reach or _add(heads, i, j, lead, groups, power, bound, none) > reach:
                continue
            a, b = min(order[i], order[j]), max(order[i], order[j])
            total, start = zero, 0
            while start < dim and total <= best:
                stop = min(start + _BLOCK, dim)
                total = _add(points, a, b, start, stop, power, total, zero)
                start = stop
            if total > best:
                continue
            if total < value or a < one or (a == one and b < other):
                value, one, other = total, a, b
            if total < best:
                best = total
                limit[0] = min(limit[0], best)
                reach = _dismissal(best, power, slack, factor)
    return value, one, other
