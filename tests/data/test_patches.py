"""The patch distribution, and the joint law of Gram matrix, projections and filter Gram matrix without vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.data.patches import GramDraw, draw_gram, draw_patches

SIZES = {"samples": 3, "patches": 2, "filters": 2}
N_DRAWS = 4000


def _summaries(draw: GramDraw) -> np.ndarray:
    """Entries and cross moments that detect any wrong joint law of (G, v, u, K)."""
    G, v, K = draw.gram, draw.noise_projection, draw.filter_gram
    u, *rest = draw.signal_projection
    w = rest[0] if rest else u
    return np.array(
        [
            G[0, 0],
            G[1, 1] ** 2,
            G[0, 1],
            G[0, 1] ** 2,
            G[0, 0] * G[1, 1],
            G[0, 1] * G[1, 2] * G[0, 2],
            v[0, 0],
            v[0, 0] ** 2,
            v[0, 0] * v[0, 1] * G[0, 1],
            v[1, 2] ** 2 * G[2, 2],
            v[0, 0] * v[1, 0] * K[0, 1],
            v[0, 2] ** 2 * K[0, 0],
            u[0] ** 2,
            u[0] * v[0, 0],
            w[0] ** 2,
            w[0] * v[0, 0],
            u[0] * w[0] * u[1] * w[1],
            K[0, 0],
            K[1, 1] ** 2,
            K[0, 1],
            K[0, 1] ** 2,
            K[0, 0] * K[1, 1],
        ]
    )


@pytest.mark.parametrize(("dim", "features"), [(3, 1), (4, 1), (5, 1), (12, 1), (3, 2), (5, 2)])
def test_gram_only_draws_have_the_law_of_vector_draws(dim: int, features: int) -> None:
    sizes = SIZES | {"dim": dim, "features": features}
    direct = np.array([_summaries(draw_gram(seed, **sizes)) for seed in range(N_DRAWS)])
    vectors = np.array([_summaries(GramDraw.of(draw_patches(seed + N_DRAWS, **sizes))) for seed in range(N_DRAWS)])
    error = np.sqrt((direct.var(0) + vectors.var(0)) / N_DRAWS)
    np.testing.assert_array_less(abs(direct.mean(0) - vectors.mean(0)), 4.5 * error)


@given(seed=st.integers(0, 10**6), samples=st.integers(1, 6), patches=st.integers(2, 4), filters=st.integers(1, 6))
def test_blocks_fit_together_in_one_positive_semidefinite_matrix(
    seed: int, samples: int, patches: int, filters: int
) -> None:
    dim = samples * (patches - 1) + 2
    draw = draw_gram(seed, samples=samples, patches=patches, dim=dim, filters=filters)
    joint = np.block([[draw.gram, draw.noise_projection.T], [draw.noise_projection, draw.filter_gram]])
    np.testing.assert_allclose(joint, joint.T)
    eigenvalues = np.linalg.eigvalsh(joint)
    assert eigenvalues[0] > -1e-9 * eigenvalues[-1]
    assert np.linalg.matrix_rank(joint, tol=1e-9 * eigenvalues[-1]) <= dim - 1


def test_a_billion_dimensions_need_no_vectors() -> None:
    d = 10**9
    draw = draw_gram(0, samples=40, patches=4, dim=d, filters=20)
    np.testing.assert_allclose(np.diag(draw.gram) / d, 1, atol=5 * np.sqrt(2 / d))
    off = draw.gram[np.triu_indices(120, 1)] / np.sqrt(d)
    assert abs(off.std() - 1) < 0.05
    np.testing.assert_allclose(np.diag(draw.filter_gram) / d, 1, atol=5 * np.sqrt(2 / d))


def test_patches_are_signal_and_noise_orthogonal_to_it() -> None:
    draw = draw_patches(1, samples=2000, patches=3, dim=20, filters=2)
    X = draw.patches(signal=2.0, noise=0.3)
    signal = X[np.arange(2000), draw.signal_position]
    np.testing.assert_array_equal(signal[:, 0], 2.0 * draw.labels)
    assert not signal[:, 1:].any()
    noise = X[np.arange(3) != draw.signal_position[:, None]]
    assert not noise[:, 0].any()
    assert abs(noise[:, 1:].std() - 0.3) < 0.005
    assert set(draw.labels) == {-1, 1}
    assert abs(draw.labels.mean()) < 5 / np.sqrt(2000)
    assert np.bincount(draw.signal_position, minlength=3).min() > 550


def test_unlearnable_samples_carry_the_second_feature() -> None:
    draw = draw_patches(2, samples=2000, patches=3, dim=20, filters=2, features=2)
    few, many = (draw.patches(signal=2.0, noise=0.3, unlearnable=p) for p in (0.1, 0.4))
    signal = few[np.arange(2000), draw.signal_position]
    carries = signal[:, 1] != 0
    assert abs(carries.mean() - 0.1) < 5 * np.sqrt(0.09 / 2000)
    np.testing.assert_array_equal(signal[:, :2].sum(1), 2.0 * draw.labels)
    assert not (signal[:, 0] * signal[:, 1]).any()
    noise = few[np.arange(3) != draw.signal_position[:, None]]
    assert not noise[:, :2].any()
    # The same seed at another probability: more samples are unlearnable, and nothing else changes.
    again = many[np.arange(2000), draw.signal_position]
    assert (again[carries, 1] != 0).all()
    assert 0.3 < (again[:, 1] != 0).mean() < 0.5
    np.testing.assert_array_equal(many[..., 2:], few[..., 2:])


def test_seeds_are_reproducible_and_different() -> None:
    first, again, other = (draw_gram(seed, dim=50, **SIZES) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.gram, again.gram)
    assert not np.allclose(first.gram, other.gram)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
        ({"patches": 1}, "patches must be at least 2, got 1"),
        ({"dim": 1}, "dim must be at least 2, got 1: noise is orthogonal"),
        ({"dim": 2, "features": 2}, "dim must be at least 3, got 2: noise is orthogonal to both features"),
        ({"filters": -2}, "filters must be an integer of at least 1, got -2"),
        ({"filters": True}, "filters must be an integer of at least 1, got True"),
        ({"seed": -1}, "seed must be a non-negative integer, got -1"),
        ({"seed": 0.5}, "seed must be a non-negative integer, got 0.5"),
        ({"samples": 30}, "dim must be at least 30, the number of noise patches, .*got 20"),
    ],
)
def test_bad_sizes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_gram(**(SIZES | {"dim": 20, "seed": 0} | change))
