"""The search for the closest points of different labels is exact: compared with all pairs by brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.data import separation as module
from cgro.data.separation import LabelledPoints, byte_separation, nearest_opposite_distances, opposite_separation

NORMS = get_args(Norm)
norms = st.sampled_from(NORMS)


def brute_force(points: np.ndarray, labels: np.ndarray, norm: Norm) -> tuple[float, tuple[int, int]]:
    """Smallest value, squared in l_2, over all opposite pairs, one by one; the first pair that attains it."""
    values = {}
    for i, j in itertools.combinations(range(len(points)), 2):
        if labels[i] != labels[j]:
            gap = np.abs(points[i] - points[j])
            values[i, j] = {"1": gap.sum(), "2": (gap * gap).sum(), "inf": gap.max()}[norm]
    pair = min(values, key=lambda p: (values[p], p))
    return float(values[pair]), pair


def exact_distance(a: np.ndarray, b: np.ndarray, norm: Norm) -> Fraction:
    """Distance of two points with their coordinates taken as exact; squared in l_2."""
    gaps = [abs(Fraction(x) - Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return {"1": sum(gaps), "2": sum(g * g for g in gaps), "inf": max(gaps)}[norm]


@st.composite
def labels_of(draw: st.DrawFn, count: int) -> np.ndarray:
    """Labels of `count` points, in two or three non-empty classes."""
    classes = draw(st.integers(2, min(3, count)))
    rest = draw(st.lists(st.integers(0, classes - 1), min_size=count - classes, max_size=count - classes))
    return np.array(draw(st.permutations([*range(classes), *rest])))


@st.composite
def lattice_points(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small integers: sums are exact, ties and duplicates common."""
    count, dim = draw(st.integers(2, 40)), draw(st.integers(1, 6))
    points = draw(hnp.arrays(np.float64, (count, dim), elements=st.integers(-3, 3).map(float)))
    return points, draw(labels_of(count))


@given(data=lattice_points(), norm=norms)
def test_search_finds_the_first_of_the_closest_pairs(data: tuple[np.ndarray, np.ndarray], norm: Norm) -> None:
    points, labels = data
    value, pair = brute_force(points, labels, norm)
    if value == 0:
        with pytest.raises(UserError, match=f"points {pair[0]} and {pair[1]} coincide"):
            opposite_separation(LabelledPoints(points, labels), norm)
        return
    found = opposite_separation(LabelledPoints(points, labels), norm)
    assert found.pair == pair
    assert found.labels == (labels[pair[0]], labels[pair[1]])
    assert found.distance == (math.sqrt(value) if norm == "2" else value)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 400),
    dim=st.sampled_from([1, 2, 3, 17, 70, 300, 600]),
    classes=st.integers(2, 4),
    correlated=st.booleans(),
    scale=st.sampled_from([1e-100, 1e-9, 1.0, 1e9, 1e149]),
    offset=st.sampled_from([0.0, 1.0, 1e12]),
    norm=norms,
)
def test_search_agrees_with_brute_force_on_reals(
    seed: int, count: int, dim: int, classes: int, correlated: bool, scale: float, offset: float, norm: Norm
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((count, dim))
    if correlated:  # as pixels are: the bound by groups is tight
        points = points[:, :1] + rng.standard_normal((count, 3)) @ rng.standard_normal((3, dim)) + points / 50
    points = scale * ((offset + points / 40) / max(offset, 1))
    labels = np.concatenate([[0, 1], rng.integers(0, classes, count - 2)])
    value, _ = brute_force(points, labels, norm) if count <= 60 else (None, None)
    data = LabelledPoints(points, labels)
    nearest = nearest_opposite_distances(data, norm)
    assume(nearest.min() > 0)
    found = opposite_separation(data, norm)
    np.testing.assert_allclose(found.distance, nearest.min(), rtol=1e-12)
    if value is not None:
        np.testing.assert_allclose(found.distance, math.sqrt(value) if norm == "2" else value, rtol=1e-12)
    i, j = found.pair
    assert i < j
    assert labels[i] != labels[j]
    exact = exact_distance(points[i], points[j], norm)
    lower = Fraction(found.lower)
    assert (lower**2 if norm == "2" else lower) <= exact
    assert found.lower <= nearest.min()
    assert found.lower >= found.distance * (1 - (dim + 6) * 2.0**-52)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 300),
    dim=st.sampled_from([1, 2, 5, 64, 65, 257, 900]),
    classes=st.integers(2, 4),
    kind=st.sampled_from(["noise", "smooth", "extreme", "few levels"]),
    norm=norms,
)
def test_bytes_are_searched_exactly(seed: int, count: int, dim: int, classes: int, kind: str, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, dim))
    if kind == "smooth":
        images = images[:, :1] // 2 + images // 16
    if kind == "extreme":
        images = 255 * (images > 120)
    if kind == "few levels":
        images = images % 3
    labels = np.concatenate([[0, 1], rng.integers(0, classes, count - 2)])
    wide = images.astype(np.int64)
    gaps = np.abs(wide[:, None] - wide) if count * count * dim < 10**7 else None
    if gaps is None:
        count = 100
        wide, labels = wide[:count], labels[:count]
        gaps = np.abs(wide[:, None] - wide)
    values = {"1": gaps.sum(2), "2": (gaps * gaps).sum(2), "inf": gaps.max(2)}[norm]
    values[labels[:, None] == labels] = values.max() + 1
    first = int(values.argmin())
    found = byte_separation(wide.astype(np.uint8), labels, norm)
    assert found.pair == divmod(first, count)
    value = int(values.flat[first])
    assert found.distance == (math.sqrt(value) if norm == "2" else value)
    assert Fraction(found.lower) ** (2 if norm == "2" else 1) <= value


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_one_close_pair_is_found_wherever_it_is(norm: Norm, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from each other in the array, in any chunk, whatever the number of threads."""
    monkeypatch.setenv("CGRO_THREADS", threads)
    rng = np.random.default_rng(5)
    points = rng.random((200, 30))
    labels = np.arange(200) % 2
    for i, j in [(0, 199), (0, 1), (63, 64), (127, 130), (198, 199)]:
        moved = points.copy()
        moved[j] = moved[i] + 1e-6
        found = opposite_separation(LabelledPoints(moved, labels), norm)
        assert found.pair == (i, j)
        size = {"1": 30.0, "2": math.sqrt(30), "inf": 1.0}[norm]
        np.testing.assert_allclose(found.distance, 1e-6 * size, rtol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("place", range(60, 68))
def test_neighbours_in_different_chunks_are_compared(norm: Norm, place: int) -> None:
    """Points on a line, one step apart except for one shorter step."""
    points = np.arange(200.0)
    points[place + 1 :] -= 0.25
    found = opposite_separation(LabelledPoints(np.column_stack([points, 0 * points]), np.arange(200) % 2), norm)
    assert (found.distance, found.pair) == (0.75, (place, place + 1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(5))
def test_no_tie_is_lost_to_rounding_of_the_bound(norm: Norm, seed: int) -> None:
    """Sums of 600 large coordinates are inexact, and the bound is tight: all coordinates vary together."""
    step = np.random.default_rng(seed).permutation(40)
    points = np.repeat(1e12 + step[:, None] / 64, 600, axis=1)
    _, pair = brute_force(points, step % 2, norm)
    assert opposite_separation(LabelledPoints(points, step % 2), norm).pair == pair


@pytest.mark.parametrize("norm", NORMS)
def test_a_tie_of_partial_distances_is_not_a_tie(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images 0 and 1 differ by 5 in the first block, as the closest pair 2 and 3 does, and again in the second.

    Every second image is in the sample, and these vary only in the first coordinate. So there is one group, whose sum
    does not show that images 0 and 1 differ by +7 and -7 elsewhere.
    """
    monkeypatch.setenv("CGRO_THREADS", "1")
    images = np.full((1002, 600), 50, np.uint8)
    images[:, 0] = 100
    images[:4, 0] = [200, 205, 0, 5]
    images[1, 500:502] = [57, 43]
    labels = np.zeros(1002, int)
    labels[[1, 3]] = 1
    found = byte_separation(images, labels, norm)
    assert (found.distance, found.pair) == (5, (2, 3))


@pytest.mark.parametrize("norm", NORMS)
def test_points_of_one_class_do_not_count(norm: Norm) -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    found = opposite_separation(LabelledPoints(points, np.array([7, 7, -2, -2])), norm)
    assert found.distance == {"1": 7, "2": 5, "inf": 4}[norm]
    assert found.pair == (0, 2)
    assert found.labels == (7, -2)


def test_progress_adds_up_to_the_number_of_points() -> None:
    done: list[float] = []
    rng = np.random.default_rng(0)
    opposite_separation(LabelledPoints(rng.random((150, 3)), np.arange(150) % 2), "2", tick=done.append)
    assert sum(done) == 150
    assert len(done) > 1
    byte_separation(np.eye(70, dtype=np.uint8), np.arange(70), "1", tick=done.append)
    assert sum(done) == 220


def test_nearest_opposite_distances_by_hand() -> None:
    data = LabelledPoints(np.array([[0.0], [1.0], [1.5], [10.0]]), np.array([0, 0, 1, 2]))
    np.testing.assert_array_equal(nearest_opposite_distances(data, "1"), [1.5, 0.5, 0.5, 8.5])


def test_many_points_are_compared_in_blocks() -> None:
    rng = np.random.default_rng(1)
    data = LabelledPoints(rng.random((1500, 2)), rng.integers(0, 2, 1500))
    nearest = nearest_opposite_distances(data, "2")
    found = opposite_separation(data, "2")
    assert nearest.shape == (1500,)
    np.testing.assert_allclose(found.distance, nearest.min(), rtol=1e-12)
    np.testing.assert_allclose(nearest[list(found.pair)], found.distance, rtol=1e-12)


def test_equal_images_of_different_labels_are_reported_as_zero() -> None:
    images = np.full((3, 5), 9, np.uint8)
    found = byte_separation(images, np.array([0, 0, 4]), "2")
    assert (found.distance, found.lower, found.pair, found.labels) == (0, 0, (0, 2), (0, 4))
    with pytest.raises(UserError, match="points 0 and 2 coincide but have labels 0 and 4: remove"):
        found.require_positive()


def test_grey_levels_become_units() -> None:
    images = np.array([[0, 0], [10, 20]], np.uint8)
    found = byte_separation(images, np.array([0, 1]), "1").scaled(1 / 255)
    np.testing.assert_allclose(found.distance, 30 / 255, rtol=1e-15)
    assert Fraction(found.lower) <= Fraction(30, 255)
    assert found.require_positive() is found
    with pytest.raises(UserError, match="factor must be positive and finite, got 0"):
        found.scaled(0)
    with pytest.raises(UserError, match="factor must be positive and finite, got inf"):
        found.scaled(math.inf)


def test_points_are_copied_and_read_only() -> None:
    points, labels = np.asfortranarray(np.eye(3, dtype=np.float32)), np.array([1.0, 2.0, 1.0])
    data = LabelledPoints(points, labels)
    points[:], labels[:] = 9, 9
    np.testing.assert_array_equal(data.points, np.eye(3))
    np.testing.assert_array_equal(data.labels, [1, 2, 1])
    assert (data.size, data.dim, data.classes.tolist()) == (3, 3, [1, 2])
    assert (data.points.dtype, data.labels.dtype) == (np.float64, np.int64)
    assert data.points.flags.c_contiguous
    for array in (data.points, data.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (np.zeros(3), [0, 1, 1], r"points must have shape \(N, D\) .*got \(3,\)"),
        (np.zeros((0, 2)), [], r"points must have shape .*got \(0, 2\)"),
        (np.zeros((2, 0)), [0, 1], r"points must have shape .*got \(2, 0\)"),
        ([[1.0, 2.0], [3.0]], [0, 1], "points must be an array of numbers"),
        ([["a", "b"]], [0], "points must be real numbers"),
        ([[1.0, 2.0], [3.0, np.nan]], [0, 1], "coordinates must be finite .*got nan at coordinate 1 of point 1"),
        ([[np.inf, 2.0], [3.0, 1.0]], [0, 1], "coordinates must be finite .*got inf at coordinate 0 of point 0"),
        ([[1.0], [-2e150]], [0, 1], r"coordinates must be .*got -2e\+150 at coordinate 0 of point 1"),
        (np.zeros((2, 2)), [0, 1, 1], r"labels must have shape \(2,\), .*got \(3,\)"),
        (np.zeros((2, 2)), 0, r"labels must have shape \(2,\), .*got \(\)"),
        (np.zeros((2, 2)), [0, 0.5], "labels must be integers, got 0.5 for point 1"),
        (np.zeros((2, 2)), [np.nan, 0], "labels must be integers, got nan for point 0"),
        (np.zeros((2, 2)), [1e300, 0], r"labels must be integers, got 1e\+300 for point 0"),
        (np.zeros((2, 2)), ["cat", "dog"], "labels must be integers, got type <U3"),
        ([[1 + 2j], [3.0]], [0, 1], r"points must be real numbers, got type complex128"),
        ([["1_0"], ["2"]], [0, 1], r"points must be real numbers, got type <U3"),
        ([[b"1"], [b"2"]], [0, 1], r"points must be real numbers, got type \|S1"),
        (np.array([["1_0"], [2]], dtype=object), [0, 1], r"points must be real numbers, got type object"),
        ([[True], [False]], [0, 1], r"points must be real numbers, got type bool"),
        (np.zeros((2, 1), "M8[s]"), [0, 1], r"points must be real numbers, got type datetime64"),
        ([[10**30], [0]], [0, 1], r"points must be real numbers, got type object"),
        ([[2**53 + 1], [0]], [0, 1], "points must be exact in float64, got 9007199254740993"),
        ([[np.longdouble(1) / 3], [0]], [0, 1], "points must be exact in float64, got 0.333333.*"),
        (np.ma.masked_array([[1.0], [2.0]], [[True], [False]]), [0, 1], "points must have no masked"),
        (torch.zeros(2, 1, requires_grad=True), [0, 1], r"points must be an array of numbers .*\(.*detach"),
        (np.zeros((2, 1)), np.ma.masked_array([0, 1], [True, False]), "labels must have no masked"),
        (np.zeros((2, 1)), [[0], [1, 2]], r"labels must be an array of numbers .*\("),
        (np.zeros((2, 1)), [0, 1 + 0j], "labels must be integers, got type complex128"),
        (np.zeros((2, 1)), [0, 2**70], "labels must be integers, got type object"),
        (np.zeros((2, 1)), torch.zeros(2, requires_grad=True), r"labels must be an array of numbers .*\("),
    ],
)
def test_bad_points_and_labels_are_refused(points: object, labels: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelledPoints(points, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["<f2", ">f4", ">f8", "u1", "<i8", ">i4", "u8"])
def test_numbers_of_every_width_and_byte_order_are_read_exactly(kind: str) -> None:
    points = np.arange(6).reshape(3, 2).astype(kind)
    data = LabelledPoints(points, np.array([0, 1, 1]).astype(kind))
    assert data.points.dtype == np.float64
    assert data.points.dtype.isnative
    np.testing.assert_array_equal(data.points, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(data.labels, [0, 1, 1])


def test_points_without_separation_are_refused() -> None:
    one = LabelledPoints(np.eye(3), [1, 1, 1])
    for refuse in (opposite_separation, nearest_opposite_distances):
        with pytest.raises(UserError, match="labels must be of two classes or more, got 1 for all 3 points"):
            refuse(one, "2")
        with pytest.raises(UserError, match=r"norm must be .*got '3'"):
            refuse(one, "3")
    with pytest.raises(UserError, match="labels must be of two classes or more, got 0 for all 2 points"):
        byte_separation(np.zeros((2, 2), np.uint8), np.zeros(2, int), "2")
    with pytest.raises(UserError, match=r"norm must be .*got 'l2'"):
        byte_separation(np.zeros((2, 2), np.uint8), np.arange(2), "l2")
    with pytest.raises(UserError, match=r"images must be uint8 \(N, D\), not empty, got uint8 \(2, 2, 2\)"):
        byte_separation(np.zeros((2, 2, 2), np.uint8), np.arange(2), "2")
    with pytest.raises(UserError, match=r"images must be uint8 .*got float64 \(2, 2\)"):
        byte_separation(np.zeros((2, 2)), np.arange(2), "2")
    with pytest.raises(UserError, match="images must have no masked"):
        byte_separation(np.ma.masked_array(np.eye(2, dtype=np.uint8), np.eye(2)), np.arange(2), "2")
    with pytest.raises(UserError, match=r"labels must have shape .*got \(3,\)"):
        byte_separation(np.zeros((2, 2), np.uint8), np.arange(3), "2")


def test_distances_too_small_to_square_are_refused_in_l2_only() -> None:
    data = LabelledPoints(np.array([[0.0], [1e-170], [5.0]]), [0, 1, 1])
    with pytest.raises(UserError, match="points 0 and 1 are less than 1e-140 apart"):
        opposite_separation(data, "2")
    assert opposite_separation(data, "1").distance == 1e-170
    assert opposite_separation(data, "inf").distance == 1e-170


def test_a_failure_in_a_worker_ends_the_search() -> None:
    def stop(_done: float) -> None:
        raise KeyboardInterrupt

    data = LabelledPoints(np.random.default_rng(0).random((1000, 3)), np.arange(1000) % 2)
    with pytest.raises(KeyboardInterrupt):
        opposite_separation(data, "2", tick=stop)


@given(data=lattice_points())
def test_groups_partition_the_coordinates(data: tuple[np.ndarray, np.ndarray]) -> None:
    pivots, group = module._groups(data[0])
    assert len(set(pivots)) == len(pivots) >= 1
    assert group.shape == (data[0].shape[1],)
    np.testing.assert_array_equal(group[pivots], np.arange(len(pivots)))
    assert group.max() < len(pivots)
