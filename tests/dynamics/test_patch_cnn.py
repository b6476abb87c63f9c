"""Activations, their slopes, and the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from cgro.dynamics.activations import activation, slope
from cgro.dynamics.patch_cnn import PatchCNN, initial_filters, output_signs

KINDS = ["odd", "relu"]


@given(z=st.floats(-3, 3), q=st.floats(2, 4), kind=st.sampled_from(KINDS))
def test_activation_is_its_definition(z: float, q: float, kind: str) -> None:
    expected = np.sign(z) * abs(z) ** q if kind == "odd" else max(z, 0.0) ** q
    np.testing.assert_allclose(activation(np.float64(z), q, kind), expected, atol=1e-14)  # type: ignore[arg-type]


@given(z=st.floats(-3, 3), q=st.sampled_from([2.0, 2.5, 3.0, 4.0]), kind=st.sampled_from(KINDS))
def test_slope_is_the_derivative_over_q(z: float, q: float, kind: str) -> None:
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(activation(x, q, kind), x)  # type: ignore[arg-type]
    np.testing.assert_allclose(q * slope(np.float64(z), q, kind), float(derivative), atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("q", [2.0, 3.0])
def test_both_versions_are_the_same_function_at_initialization(q: float) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator)
    X = torch.randn(2, 4, 3, 7, dtype=torch.float64, generator=generator)
    odd, relu = (PatchCNN(initial_filters(drawn, kind), q, kind) for kind in KINDS)  # type: ignore[arg-type]
    torch.testing.assert_close(odd(X), relu(X))


def test_network_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(1, 4, 6, dtype=torch.float64, generator=generator)
    X = torch.randn(1, 3, 2, 6, dtype=torch.float64, generator=generator)
    network = PatchCNN(W, 3.0, "relu")
    signs = output_signs(2, "relu")
    expected = [
        sum(float(signs[r]) * max(float(W[0, r] @ X[0, i, j]), 0) ** 3 for r in range(4) for j in range(2))
        for i in range(3)
    ]
    np.testing.assert_allclose(network(X)[0].detach(), expected)
    assert signs.tolist() == [1, 1, -1, -1]


def test_shapes_in_signatures_are_checked_here() -> None:
    """While tests run, not in use: see `typed`."""
    with pytest.raises(TypeCheckError, match="weights"):
        PatchCNN(torch.zeros(2, 3, dtype=torch.float64), 3.0, "odd")  # a dimension is missing
