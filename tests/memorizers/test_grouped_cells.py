"""Groups of points with grids of their own: exact on all balls, also where they lie across the faces of other grids."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_memorizers import cloud, on_spheres

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.certify.structural import structural_margins
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers import grouped_cells as module
from cgro.memorizers.constructions import memorize
from cgro.memorizers.grouped_cells import largest_group
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.readout import margins


def grouped(samples: int, dim: int, classes: int, seed: int, per_grid: int, norm: Norm = "inf") -> Memorizer:
    """The memorizer at 0.95 of the radius that so many points on a grid always admit."""
    points, labels = cloud(samples, dim, classes, seed)
    r = 0.95 / (2 * per_grid)
    radius = opposite_separation(LabelledPoints(points, labels), "inf").distance * r / (1 + r)
    return memorize(points, labels, norm, radius, construction="grouped_cells", per_grid=per_grid)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
@pytest.mark.parametrize(
    ("samples", "dim", "classes", "per_grid"),
    [(2, 1, 2, 1), (12, 1, 3, 2), (10, 2, 2, 3), (15, 3, 4, 2), (20, 2, 2, 20)],
)
def test_the_output_is_exact_on_all_balls(norm: Norm, samples: int, dim: int, classes: int, per_grid: int) -> None:
    m = grouped(samples, dim, classes, 0, per_grid, norm)
    labels = m.task.data.labels
    for points in (m.task.data.points, *on_spheres(m, 3, 0)):
        assert (margins(m.readout, m.network(points), labels) == 0.5).all()
    assert (structural_margins(m) == 0.5).all()
    assert (m.predict(m.task.data.points) == labels).all()
    assert m.network.size == m.claimed


@pytest.mark.parametrize(("samples", "dim", "classes", "per_grid"), [(12, 1, 3, 2), (10, 2, 3, 2), (16, 2, 2, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_exact_next_to_the_faces_of_every_grid(
    samples: int, dim: int, classes: int, per_grid: int, seed: int
) -> None:
    """There the floor network of that grid is wrong, or the second one, or the second one is just about to tell."""
    m = grouped(samples, dim, classes, seed, per_grid)
    grids = module._fit(m.task, module.encode(m.task, None).stored.tolist(), per_grid)
    reach, rng = Fraction(m.task.radius) * grids.scale, np.random.default_rng(seed)
    met = 0
    for i, u in enumerate(grids.points):
        wanted = Fraction(int(m.task.data.labels[i]), 2 if m.readout == "sign" else 1)
        for shift in grids.shifts:
            for aside in (0, Fraction(1, 2), Fraction(9, 10), 1, Fraction(-3, 2), -2, 2, 3, Fraction(7, 2), 4):
                step = [round(v + s) + aside * grids.c - v - s for v, s in zip(u, shift, strict=True)]
                near = [abs(t) <= reach for t in step]
                if not any(near):
                    continue
                met += 1
                ends = [Fraction(float(v)) * reach for v in rng.choice([-1, 1, 0.3], dim)]
                at = [v + (t if ok else end) for v, t, ok, end in zip(u, step, near, ends, strict=True)]
                x = [(v - move) / grids.scale for v, move in zip(at, grids.move, strict=True)]
                assert m.network.evaluate(x) == [wanted]
    assert met > 50


@settings(max_examples=30)
@given(
    st.integers(2, 25), st.integers(1, 3), st.integers(2, 6), st.integers(1, 9), st.integers(-3, 3), st.integers(0, 99)
)
def test_the_size_is_that_of_the_formula(
    samples: int, dim: int, classes: int, per_grid: int, least: int, seed: int
) -> None:
    points, labels = cloud(samples, dim, 2, seed)
    labels = least + (np.arange(samples) % classes) ** 2
    radius = opposite_separation(LabelledPoints(points, labels), "inf").distance / (2 * per_grid + 2)
    m = memorize(points, labels, "inf", radius, construction="grouped_cells", per_grid=per_grid)
    assert m.network.size == m.claimed


@pytest.mark.parametrize(("dim", "projected"), [(6, 6), (12, 3), (30, 2)])
def test_it_is_exact_after_a_projection(dim: int, projected: int) -> None:
    points, labels = cloud(12, dim, 3, 0)
    rows = module.random_projection(memorization_task(points, labels, "2", 1e-9), projected, 20, 0)
    radius = 0.05 * opposite_separation(LabelledPoints(points @ rows.T, labels), "inf").distance
    m = memorize(points, labels, "2", radius, construction="grouped_cells", dim=projected)
    assert m.network.size == m.claimed
    assert m.network.size.width <= 7 * projected + 1 + 12
    assert (structural_margins(m) == 0.5).all()
    for z in (points, *on_spheres(m, 6, 0)):
        assert (margins(m.readout, m.network(z), labels) == 0.5).all()
    # Along the rows, where projected balls end.
    for row in (rows[0], -rows[-1], rows.sum(axis=0) / np.sqrt(projected)):
        assert (m.predict(points + radius * row) == labels).all()


def test_a_projection_adds_inputs_to_the_first_layer_only() -> None:
    points, labels = cloud(12, 3, 2, 0)
    wide = np.hstack([points, np.zeros((12, 17))])
    few, many = (
        memorize(x, labels, "2", 1e-4, construction="grouped_cells", dim=3, per_grid=4).network for x in (points, wide)
    )
    widths = [[len(layer) for layer in network.layers] for network in (few, many)]  # type: ignore[union-attr]
    assert widths[0][0] == widths[1][0]
    assert max(widths[1]) <= 7 * 3 + 1


def test_a_group_is_as_large_as_its_balls_always_allow() -> None:
    points, labels = np.array([[0.0], [1.0]]), np.array([-1, 1])
    for radius, most in ((0.3, 1), (0.21, 1), (0.19, 2), (0.05, 9), (0.001, 499)):
        m = memorize(points, labels, "inf", radius, construction="grouped_cells")
        assert largest_group(m.task) == most


def test_larger_groups_take_fewer_parameters() -> None:
    points, labels = cloud(60, 1, 2, 0)
    sizes = [
        memorize(points, labels, "inf", 1e-5, construction="grouped_cells", per_grid=k).network.size.total
        for k in (1, 4, 16)
    ]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


def test_what_does_not_fit_is_refused() -> None:
    points, labels = np.array([[0.0], [1.0], [2.3]]), np.array([-1, 1, -1])
    for radius in (0.34, 0.49):
        with pytest.raises(UserError, match=r"radius must be below 0\.333333, a third of the l_inf separation"):
            memorize(points, labels, "inf", radius, construction="grouped_cells")
    with pytest.raises(UserError, match=r"dim must be left out in l_inf"):
        memorize(points, labels, "inf", 0.1, construction="grouped_cells", dim=1)
    with pytest.raises(UserError, match="dim must be 1 to 1, the dimension of the points, got 2"):
        memorize(points, labels, "2", 0.1, construction="grouped_cells", dim=2)
    with pytest.raises(UserError, match="trials must be at least 1, got 0"):
        memorize(points, labels, "2", 0.1, construction="grouped_cells", dim=1, trials=0)
    with pytest.raises(UserError, match="per_grid must be at least 1, got 0"):
        memorize(points, labels, "inf", 0.1, construction="grouped_cells", per_grid=0)
    many = np.arange(20.0)[:, None] * 1.05
    with pytest.raises(UserError, match="per_grid must be at most 2 at this radius for these points, got 10"):
        memorize(many, np.arange(20) % 2, "inf", 0.2, construction="grouped_cells", per_grid=10)
