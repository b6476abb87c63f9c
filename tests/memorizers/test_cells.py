"""Networks with exact rational weights, and the small-radius memorizer that needs them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_memorizers import cloud, on_spheres

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.certify.affine import affine_margins
from cgro.certify.structural import structural_margins
from cgro.data.separation import LabelledPoints
from cgro.memorizers.cells import Plan, fit_grid
from cgro.memorizers.constructions import memorize
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork, Program
from cgro.networks.readout import margins
from cgro.networks.relu import PrecisionError


def cells(samples: int, dim: int, classes: int, seed: int, norm: Norm = "inf", ratio: float = 0.99) -> Memorizer:
    """The memorizer at a fraction of the radius that the grid admits."""
    points, labels = cloud(samples, dim, classes, seed)
    radius = ratio * fit_grid(LabelledPoints(points, labels)).largest_radius
    return memorize(points, labels, norm, radius, construction="grid_cells")


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("samples", "dim", "classes"), [(2, 1, 2), (10, 2, 2), (12, 1, 5), (15, 6, 3), (25, 2, 2)])
def test_the_output_is_exact_on_all_balls(samples: int, dim: int, classes: int, ratio: float) -> None:
    for norm in ("1", "2", "inf"):
        m = cells(samples, dim, classes, 0, norm, ratio)  # type: ignore[arg-type]
        labels = m.task.data.labels
        for points in (m.task.data.points, *on_spheres(m, 2, 0)):
            assert (margins(m.readout, m.network(points), labels) == 0.5).all()
        assert (structural_margins(m) == 0.5).all()
        exact = affine_margins(m.network, m.task.data.points, labels, norm, m.task.radius, m.readout)  # type: ignore
        assert set(exact) == {Fraction(1, 2)}
        assert (m.predict(m.task.data.points) == labels).all()
        assert m.network.size == m.claimed


@given(
    samples=st.integers(2, 40),
    dim=st.integers(1, 4),
    classes=st.integers(2, 6),
    least=st.integers(-3, 3),
    sign=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_size_is_that_of_the_formula(
    samples: int, dim: int, classes: int, least: int, sign: bool, seed: int
) -> None:
    """Non-zero weights and biases included, for every number of groups, of bits of an index and of a label."""
    points, labels = cloud(samples, dim, 2, seed)
    if not sign:
        # Labels beyond the index bits, too.
        labels = least + (np.arange(samples) % classes) ** 3
    radius = 0.5 * fit_grid(LabelledPoints(points, labels)).largest_radius
    m = memorize(points, labels, "inf", radius, construction="grid_cells", readout="sign" if sign else "label")
    assert m.network.size == m.claimed


def test_neighbouring_cells_do_not_mix_their_labels() -> None:
    points, labels = np.arange(14.0)[:, None], np.array([0, 7, 3, 5, 6, 1, 7, 2, 7, 4, 6, 5, 7, 1])
    m = memorize(points, labels, "inf", 0.2, construction="grid_cells")
    assert (m.network(points)[:, 0] == labels).all()


@pytest.mark.parametrize(("largest", "bits"), [(1, 1), (7, 3), (8, 4), (100, 7)])
def test_labels_are_as_long_as_the_largest_and_no_longer(largest: int, bits: int) -> None:
    points, labels = np.arange(5.0)[:, None], np.array([0, largest, 0, 1, largest])
    m = memorize(points, labels, "inf", 0.2, construction="grid_cells", readout="label")
    digits = fit_grid(LabelledPoints(points, labels)).digits
    assert m.network.size == replace(Plan.best(3, digits, bits, digits, 1), output_bias=False).size


@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-20, 20))
def test_scale_and_place_do_not_matter(seed: int, scale: float, shift: float) -> None:
    points, labels = cloud(6, 2, 2, seed)
    points = points * 10**scale + shift
    radius = 0.9 * fit_grid(LabelledPoints(points, labels)).largest_radius
    m = memorize(points, labels, "inf", radius, construction="grid_cells")
    for z in (points, *on_spheres(m, 2, seed)):
        assert (margins(m.readout, m.network(z), labels) == 0.5).all()


def test_the_radius_is_about_the_separation_over_the_points() -> None:
    for samples in (5, 20, 80):
        points, labels = cloud(samples, 1, 2, 0)
        data = LabelledPoints(points, labels)
        grid = fit_grid(data)
        assert grid.room >= Fraction(1, 2 * samples)
        assert 1 / float(grid.scale) <= np.abs(points - points.T)[labels[:, None] != labels].min()
        faces = np.array([float(grid.scale * Fraction(v[0]) + grid.shift[0]) for v in points.tolist()])
        assert np.abs(faces - np.rint(faces)).min() >= float(grid.room) * (1 - 1e-9)


def test_parameters_grow_like_the_root_of_the_points() -> None:
    small, large = (cells(samples, 2, 2, 0, ratio=0.5).network.size.total for samples in (25, 400))
    # Indices get longer with N, like log N.
    assert 0.45 < np.log(large / small) / np.log(16) < 0.75


def test_a_radius_beyond_the_cells_is_refused() -> None:
    points, labels = cloud(10, 2, 2, 0)
    limit = fit_grid(LabelledPoints(points, labels)).largest_radius
    for radius in (limit * (1 + 1e-15), limit * 2):
        with pytest.raises(UserError, match=r"radius must be below .* for balls to fit into cells"):
            memorize(points, labels, "inf", radius, construction="grid_cells")
    # Close to the limit the step of the floor network is steep, and still exact.
    m = memorize(points, labels, "inf", limit * (1 - 1e-12), construction="grid_cells")
    assert affine_margins(m.network, points, labels, "inf", m.task.radius, "sign") == [Fraction(1, 2)] * 10


def test_float64_is_refused_where_it_does_not_carry_the_bits() -> None:
    m = cells(40, 2, 2, 0)
    with pytest.raises(PrecisionError, match=r"layer \d+ has a weight of \d+ bits: float64 carries 53"):
        m.network.as_float(m.task.data.points)
    assert m.network.bits > 53


def test_a_network_that_float64_holds_is_converted() -> None:
    program = Program(["x", "y"])
    program.let("s", {"x": 2, "y": -1, "": Fraction(1, 4)})
    program.relu({"p": {"s": 1}, "n": {"s": -1}})
    network = program.output({"p": 1, "n": 1, "": -0.5})
    x = np.random.default_rng(0).normal(size=(50, 2))
    expected = np.abs(2 * x[:, 0] - x[:, 1] + 0.25) - 0.5
    np.testing.assert_allclose(network(x)[:, 0], expected, rtol=1e-14, atol=1e-15)
    real = network.as_float(x)
    np.testing.assert_allclose(real(x)[:, 0], expected, rtol=1e-13, atol=1e-15)
    assert real.size == network.size
    with pytest.raises(UserError, match="points must have last dimension 2"):
        network(np.ones((3, 4)))


def test_a_point_that_rounding_moves_is_named() -> None:
    network = ExactNetwork(1, (((((0, Fraction(2**60)),), Fraction(1)),), ((((0, Fraction(1)),), Fraction(-(2**60))),)))
    with pytest.raises(PrecisionError, match="point 0 gets another output in float64"):
        network.as_float(np.array([[1.0]]))


def test_affine_certificates_are_exact_and_give_up_where_a_neuron_switches() -> None:
    program = Program(["x", "y"])
    program.relu({"h": {"x": 3, "y": -4, "": 10}})
    network = program.output({"h": 1})
    x, y = np.array([[0.0, 0.0]]), np.array([1])
    for norm, dual in (("1", 4), ("2", 5), ("inf", 7)):
        (margin,) = affine_margins(network, x, y, norm, 1.25, "sign")
        assert float(margin) == pytest.approx(10 - 1.25 * dual, abs=1e-10)
        assert margin <= 10 - Fraction(5, 4) * dual
        assert affine_margins(network, x, y, norm, 10.1 / dual, "sign") == [None]
