"""The parts of the check of gradient bounds: derivatives, worst points, and constants that no Hessian exceeds."""

from __future__ import annotations

import numpy as np
import pytest

from cgro.proofs_check.adversarial_training.gradient_bound import Network, gradient, patches, two_layers, worst

A = np.array([0.7, -1.2, 0.4])
NETWORKS = {"two layers": (two_layers(A), (3, 4), (4,)), "patches": (patches(), (3, 4), (2, 4))}


def drawn(name: str, seed: int) -> tuple[Network, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    net, weights, inputs = NETWORKS[name]
    return net, 0.4 * generator.standard_normal(weights), generator.standard_normal(inputs)


def differences(function, point: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Central differences along each coordinate, shape (*point.shape, *value.shape)."""
    found = []
    for k in range(point.size):
        step = np.zeros(point.size)
        step[k] = 1e-5
        step = step.reshape(point.shape)
        found.append((np.asarray(function(point + step)) - np.asarray(function(point - step))) / 2e-5)
    return np.reshape(found, (*point.shape, *np.shape(found[0])))


@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_agree_with_differences(name: str) -> None:
    net, w, z = drawn(name, 0)
    np.testing.assert_allclose(net.in_weights(w, z), differences(lambda w: net.value(w, z), w), atol=1e-8)
    np.testing.assert_allclose(net.in_input(w, z), differences(lambda z: net.value(w, z), z), atol=1e-8)
    for y in (-1.0, 1.0):
        loss = differences(lambda w, y=y: np.log1p(np.exp(-y * net.value(w, z))), w)
        np.testing.assert_allclose(gradient(net, w, z, y), loss, atol=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_of_second_derivatives_agree_with_differences(name: str) -> None:
    net, w, z = drawn(name, 0)
    in_weights = differences(lambda w: net.in_weights(w, z), w).reshape(w.size, w.size)
    in_input = differences(lambda z: net.in_weights(w, z), z).reshape(z.size, w.size)
    assert net.second(w, z) == pytest.approx([np.linalg.norm(each, 2) for each in (in_weights, in_input)], abs=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_constants_bound_the_second_derivatives(name: str) -> None:
    """Norms of both Hessians at the points of the ball, by differences; not a hundred times too large."""
    closest = [np.inf, np.inf]
    for seed in range(12):
        net, w, x = drawn(name, seed)
        eps = 0.3
        K, mixed = net.constants(float(np.linalg.norm(w)), x, eps)
        direction = np.random.default_rng(seed).standard_normal(x.shape)
        z = x + eps * direction / np.linalg.norm(direction)
        in_weights = differences(lambda w, net=net, z=z: gradient(net, w, z, 1.0), w).reshape(w.size, w.size)
        in_input = differences(lambda z, net=net, w=w: gradient(net, w, z, 1.0), z).reshape(z.size, w.size)
        sizes = [float(np.linalg.norm(each, 2)) for each in (in_weights, in_input)]
        assert sizes[0] <= K
        assert sizes[1] <= mixed
        closest = [min(c, bound / size) for c, bound, size in zip(closest, (K, mixed), sizes, strict=True)]
    assert max(closest) < 100


@pytest.mark.parametrize("name", NETWORKS)
def test_worst_points_lie_in_the_ball_and_raise_the_loss(name: str) -> None:
    for seed in range(5):
        net, w, x = drawn(name, seed)
        z = worst(net, w, x, 1.0, 0.3, x)
        assert np.linalg.norm(z - x) <= 0.3 * (1 + 1e-12)
        assert net.value(w, z) < net.value(w, x) - 0.01


@pytest.mark.parametrize(
    ("net", "w", "x"),
    [
        (two_layers(10 * A), np.zeros((3, 4)), 0.5 * np.eye(4)[0]),
        (patches(), 0.1 * np.eye(4)[:1], 0.5 * np.eye(4)[:1]),
    ],
)
def test_constants_are_nearly_attained(net: Network, w: np.ndarray, x: np.ndarray) -> None:
    """Heavy output weights at 0, and one small filter along its only patch, at the end of the ball: within a tenth."""
    eps = 0.3
    K, mixed = net.constants(float(np.linalg.norm(w)), x, eps)
    z = x * (1 + eps / np.linalg.norm(x))
    in_weights = differences(lambda w: gradient(net, w, z, -1.0), w).reshape(w.size, w.size)
    in_input = differences(lambda z: gradient(net, w, z, -1.0), z).reshape(z.size, w.size)
    assert 0.9 * K <= np.linalg.norm(in_weights, 2) <= K * (1 + 1e-6)
    assert 0.9 * mixed <= np.linalg.norm(in_input, 2) <= mixed * (1 + 1e-6)
