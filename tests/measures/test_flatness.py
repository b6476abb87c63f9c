"""Flatness around images: closed form for linear classifiers, monotone in the radius, and refused input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cgro.base.errors import UserError
from cgro.measures.flatness import flatness


def linear(weight: torch.Tensor) -> nn.Module:
    """Logits (0, <w, x>)."""
    layer = nn.Linear(len(weight), 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros_like(weight), weight]))
    return nn.Sequential(nn.Flatten(), layer)


def test_closed_form_of_a_linear_classifier() -> None:
    """Margins fall by delta |w|_1, away from the border of the box; the gradient is psi(margin) |w|_1."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(9, dtype=torch.float64, generator=generator)
    x = 0.5 + 0.2 * (torch.rand(5, 1, 3, 3, dtype=torch.float64, generator=generator) - 0.5)
    y = torch.tensor([0, 1, 1, 0, 1])
    radii = [0.0, 0.05, 0.2]
    found = flatness(linear(w), x, y, radii)
    margin = ((2 * y - 1) * (x.flatten(1) @ w)).numpy()[None, :] - np.array(radii)[:, None] * float(w.abs().sum())
    loss = np.logaddexp(0, -margin)
    np.testing.assert_allclose(found["rise"], loss - loss[0], atol=1e-9)
    np.testing.assert_allclose(found["steepness"], float(w.abs().sum()) / (1 + np.exp(margin)), rtol=1e-6)


def test_both_grow_with_the_radius_and_start_at_the_image() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x, y = torch.rand(4, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    found = flatness(model, x, y, [0.0, 0.1, 0.2, 0.4], generator=torch.Generator().manual_seed(0))
    for name in ("rise", "steepness"):
        assert (np.diff(found[name].values, axis=0) >= 0).all()
        assert (found[name].values[-1] > found[name].values[0]).all()
    assert (found["rise"].values[0] == 0).all()


def test_weights_get_no_gradient() -> None:
    model = linear(torch.ones(4, dtype=torch.float64))
    flatness(model, torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), torch.tensor([0]), [0.1])
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("radii", "pixel", "words"),
    [
        ([], 0.5, "radii must be one or more"),
        ([0.2, 0.1], 0.5, "increasing"),
        ([-0.1], 0.5, "at least 0 and increasing"),
        ([0.1], 255.0, "images must lie in [0, 1]"),
    ],
)
def test_bad_input_is_reported_in_one_line(radii: list[float], pixel: float, words: str) -> None:
    x = torch.full((1, 1, 2, 2), pixel, dtype=torch.float64)
    with pytest.raises(UserError) as caught:
        flatness(linear(torch.ones(4, dtype=torch.float64)), x, torch.tensor([0]), radii)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
