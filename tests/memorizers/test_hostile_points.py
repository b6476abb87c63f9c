"""Whatever the points, a construction builds what it promises or refuses in one line: nothing else comes out."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.memorizers.constructions import EXACT, NORMS, memorize
from cgro.memorizers.task import memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

EVERY = [(norm, name) for norm, names in NORMS.items() for name in (*names, *EXACT, "shared gate", "own gate")]
SCALES = (1e-308, 1e-300, 1e-160, 1e-12, 1.0, 1e8, 1e154, 1e300, 1.7e308)
RATIOS = (1e-300, 1e-9, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9, 1 - 2**-52)


def ends_of_a_cube(dim: int) -> tuple[np.ndarray, list[int]]:
    return np.vstack([np.zeros(dim), np.ones(dim)]), [-1, 1]


def checkerboard(side: int, spacing: float) -> tuple[np.ndarray, list[int]]:
    cells = np.stack(np.meshgrid(range(side), range(side)), axis=-1).reshape(-1, 2)
    return spacing * cells, (1 - 2 * (cells.sum(axis=1) % 2)).tolist()


@pytest.mark.parametrize("dim", [8, 50, 1000])
def test_a_power_beyond_float64_is_refused_by_name(dim: int) -> None:
    """D rho^p < (2 - rho)^p takes p in the thousands, and 2^p no float holds."""
    points, labels = ends_of_a_cube(dim)
    with pytest.raises(UserError, match=r"power is [\d,]+: .*float64") as caught:
        memorize(points, labels, "inf", 0.4995, construction="even_power")
    assert "\n" not in str(caught.value)


def test_a_checkerboard_near_its_largest_radius_is_refused() -> None:
    points, labels = checkerboard(4, 0.1)
    with pytest.raises(UserError, match="power is"):
        memorize(points, labels, "inf", 0.999 * 0.05, construction="even_power")


def test_a_grid_beyond_memory_is_refused_before_it_is_built() -> None:
    points, labels = ends_of_a_cube(20_000)
    radius = (1 - 2e-8) * np.sqrt(20_000) / 2
    with pytest.raises(UserError, match=r"a grid of [\d,]+ pieces in 20,000 dimensions, .* would need .* of memory"):
        memorize(points, labels, "2", radius, construction="shallow_ball_sum")


def outcome(norm: Norm, construction: str, points: np.ndarray, labels: Any, ratio: float) -> str:
    """'built' or 'refused'; any warning or other exception is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            apart = memorization_task(points, labels, norm, 5e-324).separation
            radius = ratio * apart.distance / 2
            options: dict[str, Any] = {}
            if construction.endswith("gate"):
                clean = ReluNetwork.of([(np.ones((1, points.shape[1])) / 2, np.array([0.25]))])
                options = {"clean": clean, "parts": construction.removesuffix(" gate")}
            name = "cgro_classifier" if options else construction
            m = memorize(points, labels, norm, radius, construction=name, **options)
        except UserError as error:
            message = str(error)
        else:
            message = ""
    if message:
        assert "\n" not in message
        assert "nan" not in message
        return "refused"
    assert 0 < m.margin < np.inf
    if isinstance(m.network, ReluNetwork):
        assert all(np.isfinite(np.asarray(getattr(w, "data", w))).all() for w in m.network.weights)
        assert all(np.isfinite(b).all() for b in m.network.biases)
        if m.network.size.nonzero < 2000:
            # The promise is about the real function of the weights.
            exact = ExactNetwork.of(m.network)
            values = [exact.evaluate([Fraction(float(v)) for v in x])[0] for x in points]
            assert all(y * value >= Fraction(m.margin) for y, value in zip(labels.tolist(), values, strict=True))
    return "built"


@pytest.mark.parametrize(("norm", "construction"), EVERY)
def test_scales_and_ratios_at_the_edge_of_float64(norm: Norm, construction: str) -> None:
    sets: list[tuple[list[list[float]], list[int]]] = [
        ([[0.0], [1.0]], [-1, 1]),
        ([[0.0, 1.0], [1.0, 1.0], [0.5, -1.0]], [-1, 1, 1]),
        ([[1.0, 1.0], [1.0, 1 - 2**-52]], [1, -1]),
    ]
    found = [
        outcome(norm, construction, scale * np.array(points), np.array(labels), ratio)
        for scale, ratio, (points, labels) in product(SCALES, RATIOS, sets)
    ]
    assert set(found) == {"built", "refused"}


@settings(max_examples=25)
@example(points=[[0.0] * 8, [1.0] * 8], flips=[1], ratio=0.999, scale=1.0)
@given(
    points=st.integers(1, 3).flatmap(
        lambda dim: st.lists(
            st.lists(
                st.one_of(
                    st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 5e-324, 1e16, 1 + 2**-52]),
                    st.floats(-1e308, 1e308),
                ),
                min_size=dim,
                max_size=dim,
            ),
            min_size=2,
            max_size=5,
        )
    ),
    flips=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    ratio=st.floats(1e-300, 1, exclude_max=True),
    scale=st.sampled_from([1e-300, 1e-12, 1.0]),
)
@pytest.mark.parametrize(("norm", "construction"), EVERY)
def test_hostile_points_are_built_or_refused(
    norm: Norm, construction: str, points: list[list[float]], flips: list[int], ratio: float, scale: float
) -> None:
    labels = np.ones(len(points), dtype=int)
    labels[[k % len(points) for k in flips]] = -1
    outcome(norm, construction, scale * np.array(points), labels, ratio)
