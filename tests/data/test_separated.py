"""Families of labelled points: prescribed separation in every norm, packing limits, laws of the labels, errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.base.norms import Norm, distances
from cgro.data import separated as families
from cgro.data.separated import (
    basis_family,
    grid_family,
    largest_separation,
    packing_limit,
    random_points,
    random_separated,
    weak_coordinate,
)
from cgro.data.separation import LabelledPoints

NORMS = get_args(Norm)
norms = st.sampled_from(NORMS)
WEAK = {"margin": 0.02, "separation": 0.4}


def smallest_distance(data: LabelledPoints, norm: Norm, *, opposite: bool = True) -> float:
    """Over all pairs of points, or of points of different labels."""
    apart = distances(data.points, data.points, norm)
    apart[np.eye(data.size, dtype=bool) | (opposite & (data.labels[:, None] == data.labels))] = np.inf
    return float(apart.min())


@settings(max_examples=150)
@given(
    samples=st.integers(2, 150),
    dim=st.integers(1, 120),
    norm=norms,
    fraction=st.floats(1e-6, 1),
    classes=st.integers(2, 5),
    seed=st.integers(0, 2**40),
)
def test_prescribed_separation_holds_up_to_the_packing_limit(
    samples: int, dim: int, norm: Norm, fraction: float, classes: int, seed: int
) -> None:
    separation = fraction * largest_separation(samples, dim, norm)
    assert packing_limit(dim, norm, separation) >= samples
    data = random_separated(samples, dim, norm, separation, classes=classes, seed=seed)
    assert smallest_distance(data, norm, opposite=False) >= separation * (1 - 1e-9)
    assert data.points.min() >= 0
    assert data.points.max() <= 1


@given(samples=st.integers(2, 500), dim=st.integers(1, 40), norm=norms)
def test_beyond_the_packing_limit_there_is_a_refusal_with_the_limits(samples: int, dim: int, norm: Norm) -> None:
    largest = largest_separation(samples, dim, norm)
    separation = 1.001 * largest
    limit = packing_limit(dim, norm, separation)
    assert limit < samples
    with pytest.raises(UserError) as refusal:
        random_separated(samples, dim, norm, separation, seed=0)
    line = str(refusal.value)
    assert line.startswith("separation must be at most ")
    assert f"for {samples} points of [0, 1]^{dim} in l_{norm}, got " in line
    assert line.endswith(f": lower it or draw at most {limit} points")
    # What the line offers is accepted.
    random_separated(limit, dim, norm, separation, seed=0)
    random_separated(samples, dim, norm, float(line.split(" ")[5]), seed=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dim", [2, 10, 100])
@pytest.mark.parametrize("samples", [10, 100, 1000])
def test_sizes_used_by_experiments(samples: int, dim: int, norm: Norm) -> None:
    separation = 0.9 * largest_separation(samples, dim, norm)
    data = random_separated(samples, dim, norm, separation, seed=3)
    assert smallest_distance(data, norm) >= separation * (1 - 1e-9)
    assert abs(data.labels.mean()) < 5 / math.sqrt(samples)


def test_packing_limits_by_hand() -> None:
    assert packing_limit(2, "inf", 0.5) == 9
    assert packing_limit(2, "inf", 1 / 3) == 16
    assert packing_limit(3, "inf", 1.0) == 8
    assert packing_limit(3, "inf", 1.01) == 1
    # 100 coordinates, each of 10 letters on 10 of them: 10 apart in l_1, sqrt(10) in l_2.
    assert packing_limit(100, "1", 10.0) == 2**10
    assert packing_limit(100, "2", 3.16) == 2**10
    assert largest_separation(1000, 100, "1") == 10
    np.testing.assert_allclose(largest_separation(1000, 100, "2"), math.sqrt(10))
    assert largest_separation(1000, 100, "inf") == 1
    assert largest_separation(9, 2, "inf") == 0.5
    # Beyond what one coordinate can tell apart.
    assert largest_separation(10, 100, "1") == 25
    assert smallest_distance(random_separated(10, 100, "1", 25, seed=0), "1") >= 25 * (1 - 1e-12)


def test_a_full_packing_uses_every_cell_once() -> None:
    data = random_separated(9, 2, "inf", 0.5, seed=0)
    np.testing.assert_array_equal(np.unique(data.points, axis=0), list(itertools.product([0, 0.5, 1], repeat=2)))
    one = random_separated(1, 3, "2", 100.0, seed=0)
    assert one.size == 1


def test_tiny_separations_leave_points_nearly_uniform() -> None:
    points = random_separated(20_000, 3, "2", 1e-200, seed=0).points
    np.testing.assert_allclose(points.mean(0), 0.5, atol=5 / math.sqrt(12 * 20_000))
    np.testing.assert_allclose(points.var(0), 1 / 12, rtol=0.05)


def test_uniform_points_are_uniform() -> None:
    data = random_points(20_000, 3, seed=0)
    np.testing.assert_allclose(data.points.mean(0), 0.5, atol=5 / math.sqrt(12 * 20_000))
    np.testing.assert_allclose(np.cov(data.points.T), np.eye(3) / 12, atol=0.003)
    assert abs(data.labels.mean()) < 5 / math.sqrt(20_000)
    assert abs((data.labels * (data.points[:, 0] - 0.5)).mean()) < 5 / math.sqrt(12 * 20_000)


@given(classes=st.integers(2, 6), more=st.integers(0, 20), seed=st.integers(0, 1000))
def test_every_class_occurs(classes: int, more: int, seed: int) -> None:
    expected = [-1, 1] if classes == 2 else list(range(classes))
    assert random_points(classes + more, 2, classes=classes, seed=seed).classes.tolist() == expected
    assert random_separated(classes + more, 9, "2", 0.1, classes=classes, seed=seed).classes.tolist() == expected


FAMILIES: dict[str, Callable[[int | np.random.SeedSequence], LabelledPoints]] = {
    "uniform": lambda seed: random_points(20, 3, seed=seed),
    "separated": lambda seed: random_separated(20, 3, "2", 0.2, seed=seed),
    "grid": lambda seed: grid_family(4, 3, 0.1, seed=seed),
    "weak coordinate": lambda seed: weak_coordinate(20, 5, **WEAK, seed=seed),
}


@pytest.mark.parametrize("draw", FAMILIES.values(), ids=FAMILIES)
def test_one_seed_gives_one_set_of_points(draw: Callable[[int | np.random.SeedSequence], LabelledPoints]) -> None:
    sequence = np.random.SeedSequence(7)
    first, *same = draw(7), draw(7), draw(sequence), draw(sequence)
    for other in same:
        np.testing.assert_array_equal(first.points, other.points)
        np.testing.assert_array_equal(first.labels, other.labels)
    different = draw(8)
    assert not (np.array_equal(first.points, different.points) and np.array_equal(first.labels, different.labels))
    assert not np.array_equal(draw(sequence.spawn(1)[0]).labels, first.labels)
    with pytest.raises(UserError, match="seed must be a non-negative integer, got -1"):
        draw(-1)


@given(cells=st.integers(2, 5), dim=st.integers(2, 4), offset=st.floats(1e-6, 0.5), seed=st.integers(0, 100))
def test_grid_family_is_shifted_by_its_labels(cells: int, dim: int, offset: float, seed: int) -> None:
    data = grid_family(cells, dim, offset, seed=seed)
    assert data.points.shape == (cells ** (dim - 1), dim)
    np.testing.assert_array_equal(data.points[:, -1], 0.5 + offset * data.labels)
    expected = list(itertools.product(np.arange(1, cells + 1) / cells, repeat=dim - 1))
    np.testing.assert_array_equal(data.points[:, :-1], expected)
    for norm in NORMS:
        assert smallest_distance(data, norm, opposite=False) >= (1 / cells) * (1 - 1e-12)


def test_grid_family_takes_any_labelling() -> None:
    phi = np.array([1, -1, -1, 1])
    data = grid_family(2, 3, 0.25, labelling=phi)
    np.testing.assert_array_equal(data.labels, phi)
    np.testing.assert_array_equal(data.points, [[0.5, 0.5, 0.75], [0.5, 1, 0.25], [1, 0.5, 0.25], [1, 1, 0.75]])


@settings(max_examples=60)
@given(
    dim=st.integers(2, 8),
    margin=st.floats(1e-4, 0.3),
    spread=st.floats(0, 0.5),
    separation=st.floats(0.01, 0.99),
    data=st.data(),
    seed=st.integers(0, 1000),
)
def test_weak_coordinate_separates_the_supports(
    dim: int, margin: float, spread: float, separation: float, data: st.DataObject, seed: int
) -> None:
    informative = data.draw(st.one_of(st.none(), st.integers(1, dim - 1)))
    drawn = [
        weak_coordinate(80, dim, margin=margin, spread=spread, separation=separation, informative=informative, seed=s)
        for s in (seed, seed + 1)
    ]
    # Training and test points together: supports, not only points of one draw, are separated.
    both = LabelledPoints(np.vstack([d.points for d in drawn]), np.concatenate([d.labels for d in drawn]))
    strength = both.points[:, 0] * both.labels
    assert strength.min() >= margin
    assert strength.max() <= margin + spread
    rest = LabelledPoints(both.points[:, 1:], both.labels)
    for norm in NORMS:
        assert smallest_distance(rest, norm) >= separation * (1 - 1e-12)
    assert rest.points.min() >= 0
    assert rest.points.max() <= 1 + 1e-12


def test_weak_coordinate_has_the_stated_robust_error_and_a_checkerboard() -> None:
    data = weak_coordinate(20_000, 4, margin=0.1, spread=0.4, separation=0.5, informative=2, seed=0)
    x, y = data.points, data.labels
    assert (np.sign(x[:, 0]) == y).all()
    for radius, error in [(0.05, 0.0), (0.2, 0.25), (0.4, 0.75), (0.5, 1.0)]:
        measured = (y * (x[:, 0] - radius * y) <= 0).mean()
        np.testing.assert_allclose(measured, error, atol=5 * math.sqrt(0.25 / 20_000))
    np.testing.assert_array_equal(np.prod(np.where(x[:, 1:3] < 0.5, 1, -1), axis=1), y)
    # All cells are equally likely, and no single coordinate of them tells the label.
    cells = (x[:, 1:3] > 0.5) @ [2, 1]
    assert (abs(np.bincount(cells) / 20_000 - 0.25) < 0.02).all()
    assert (abs((y[:, None] * (x[:, 1:] - 0.5)).mean(0)) < 0.02).all()
    assert 0.27 < np.std(x[:, 3]) < 0.31


def test_basis_family_by_hand() -> None:
    data = basis_family(2, extra=2)
    np.testing.assert_array_equal(data.points, [[0, 0], [1, 0], [0, 1], [2, 0], [3, 0]])
    np.testing.assert_array_equal(data.labels, [-1, 1, 1, 1, 1])
    for norm in NORMS:
        assert smallest_distance(basis_family(6), norm) == 1


@given(samples=st.integers(1, 10**6), length=st.integers(1, 60))
def test_fewest_letters(samples: int, length: int) -> None:
    m = families._least_letters(samples, length)
    assert m**length >= samples
    assert m == 1 or (m - 1) ** length < samples


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: random_points(0, 2, seed=0), "samples must be an integer of at least 1, got 0"),
        (lambda: random_points(2, 1.5, seed=0), "dim must be an integer of at least 1, got 1.5"),
        (lambda: random_points(2, 2, classes=1, seed=0), "classes must be an integer of at least 2, got 1"),
        (lambda: random_points(2, 2, seed=1.5), "seed must be a non-negative integer, got 1.5"),
        (lambda: random_separated(2, 0, "2", 0.1, seed=0), "dim must be .*got 0"),
        (lambda: random_separated(2, 2, "0", 0.1, seed=0), "norm must be .*got '0'"),
        (lambda: random_separated(2, 2, "2", 0, seed=0), "separation must be greater than 0, got 0"),
        (lambda: random_separated(2, 2, "2", math.nan, seed=0), "separation must be finite, got nan"),
        (lambda: random_separated(2, 2, "2", "1", seed=0), "separation must be a real number, got '1'"),
        (
            lambda: random_separated(10, 2, "inf", 0.5, seed=0),
            r"separation must be at most 0.3333333333333 for 10 points of .* in l_inf, got 0.5: .*at most 9 points$",
        ),
        (lambda: grid_family(0, 2, 0.1), "cells_per_side must be .*got 0"),
        (lambda: grid_family(2, 1, 0.1), "dim must be at least 2, got 1: the last coordinate only carries"),
        (lambda: grid_family(2, 2, 0.6), r"offset must be in \(0, 0.5\], got 0.6"),
        (lambda: grid_family(10, 8, 0.1), r"cells_per_side\^\(dim - 1\) must be at most 1,000,000 points, got 10\^7"),
        (lambda: grid_family(2, 2, 0.1, labelling=np.array([1, 0])), "labelling must be 2 values of -1 and .1"),
        (lambda: grid_family(2, 2, 0.1, labelling=np.ones(3)), r"labelling must be 2 values .*got shape \(3,\)"),
        (lambda: packing_limit(2, "2", -1), "separation must be greater than 0, got -1"),
        (lambda: packing_limit(2, "p", 1), "norm must be .*got 'p'"),
        (lambda: largest_separation(0, 2, "2"), "samples must be .*got 0"),
        (lambda: weak_coordinate(9, 1, **WEAK, seed=0), "dim must be at least 2, got 1: the weak coordinate"),
        (lambda: weak_coordinate(9, 3, margin=0, separation=0.1, seed=0), "margin must be greater than 0, got 0"),
        (lambda: weak_coordinate(9, 3, margin=1, separation=1, seed=0), r"separation must be in \(0, 1\), got 1"),
        (lambda: weak_coordinate(9, 3, **WEAK, spread=-1, seed=0), "spread must be at least 0, got -1"),
        (
            lambda: weak_coordinate(9, 3, **WEAK, informative=3, seed=0),
            "informative must be .* 1 to 2, got 3",
        ),
        (lambda: weak_coordinate(9, 3, **WEAK, informative=0, seed=0), "informative must be .*got 0"),
        (lambda: basis_family(0), "dim must be .*got 0"),
        (lambda: basis_family(2, -1), "extra must be a non-negative integer, got -1"),
        (lambda: basis_family(2, True), "extra must be a non-negative integer, got True"),
        (lambda: basis_family(2, "3"), "extra must be a non-negative integer, got '3'"),
        (lambda: random_points(True, 2, seed=0), "samples must be an integer of at least 1, got True"),
        (lambda: random_points(2, 2, seed=True), "seed must be a non-negative integer, got True"),
        (lambda: random_points(2, 2, seed=None), "seed must be a non-negative integer, got None"),
        (lambda: random_separated(2, 2, "2", np.complex128(0.1), seed=0), "separation must be a real number"),
        (lambda: random_separated(2, 2, "2", True, seed=0), "separation must be a real number, got True"),
        (
            lambda: grid_family(2, 2, 0.1, labelling=np.array([1, -1 + 0j])),
            "labels must be integers, got type complex128",
        ),
        (
            lambda: grid_family(2, 2, 0.1, labelling=np.array([True, True])),
            "labelling must be .*got True",
        ),
        (lambda: grid_family(2, 2, 0.1, labelling=["a", "b"]), "labels must be integers, got type <U1"),
    ],
)
def test_bad_arguments_are_refused(draw: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw()
