"""Complexity measures: dense operators, closed forms of linear classifiers, and a maximum found by brute force."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from tools import network, own_labels
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.images import evaluation_attack
from cgro.base.errors import UserError
from cgro.data.batches import Images
from cgro.measures.complexity import (
    boundary_proximity,
    complexity,
    expected_sign,
    input_gradient,
    linearity_error,
    sharpness,
    spectral_norm,
    spectral_product,
    squared_weights,
)

BUDGET = Budget("inf", 0.1)


def linear(weight: Tensor) -> nn.Module:
    """Logits (-<w, x - 1/2>, <w, x - 1/2>) / 2: the margin of label 1 is <w, x - 1/2>."""
    layer = nn.Linear(len(weight), 2, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([-weight, weight]) / 2)
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    return nn.Sequential(nn.Flatten(), layer)


def points(count: int, side: int, seed: int = 0) -> Tensor:
    """Images away from the border of the box."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.2 * (torch.rand(count, 1, side, side, dtype=torch.float64, generator=generator) - 0.5)


def dense(layer: nn.Module, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a layer without its bias, column by column."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    layer = copy.deepcopy(layer).double()
    with torch.no_grad():
        return (layer(units) - layer(0 * units)).flatten(1).T.numpy()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"kernel_size": 3, "padding": 1}, (2, 6, 6)),
        ({"kernel_size": 3, "padding": 1, "stride": 2}, (2, 7, 6)),
        ({"kernel_size": 2, "stride": 3}, (2, 8, 5)),
        ({"kernel_size": (3, 1), "padding": (2, 0), "dilation": (2, 1), "groups": 2}, (2, 5, 6)),
        ({"kernel_size": 1}, (2, 1, 1)),
    ],
)
def test_the_norm_of_a_convolution_is_that_of_its_matrix(options, shape) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(shape[0], 4, **options)
    expected = np.linalg.norm(dense(layer, shape), 2)
    assert spectral_norm(layer, shape) == pytest.approx(expected, rel=1e-5)
    assert spectral_norm(layer, shape) <= expected * (1 + 1e-12)


def test_the_product_is_over_all_layers_at_the_sizes_that_they_see() -> None:
    model = network()
    shapes = [(1, 8, 8), (4, 8, 8), (128,), (16,)]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    expected = math.prod(np.linalg.norm(dense(m, s), 2) for m, s in zip(layers, shapes, strict=True))
    x = torch.rand(3, 1, 8, 8)
    assert spectral_product(model, x) == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        layers[1].weight.mul_(-3)
    assert spectral_product(model, x) == pytest.approx(3 * expected, rel=1e-5)
    assert not model._forward_hooks
    assert all(not m._forward_pre_hooks for m in model.modules())


def test_a_layer_of_zeros_has_norm_zero() -> None:
    layer = nn.Conv2d(1, 2, 3)
    nn.init.zeros_(layer.weight)
    assert spectral_norm(layer, (1, 5, 5)) == 0


def test_other_layers_are_refused() -> None:
    circular = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    with pytest.raises(UserError, match="padding of a Conv2d must be zeros, by numbers, got circular"):
        spectral_norm(circular, (1, 5, 5))
    with pytest.raises(UserError, match="layers must be Linear or Conv2d for spectral norms, got BatchNorm2d"):
        spectral_product(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), torch.rand(1, 1, 8, 8))


def test_squared_weights_leave_biases_out() -> None:
    model = linear(torch.tensor([3.0, 4.0]))
    assert squared_weights(model) == pytest.approx(2 * 25 / 4)


def test_proximity_is_the_margin_over_what_a_step_takes() -> None:
    """A step of r/5 lowers the margin by r |w|_1 / 5; an error counts 0, and what is beyond 4 r counts 21."""
    w = torch.tensor([1.0, -2.0, 0.5, 0.5], dtype=torch.float64)
    direction = w.sign().reshape(1, 2, 2) / 10
    shares = torch.tensor([0.1, 0.5, 1.1, 3.9, 4.1, -0.1], dtype=torch.float64)
    x = 0.5 + shares[:, None, None, None] * direction
    found = [boundary_proximity(linear(w), each[None], torch.tensor([1]), BUDGET) for each in x]
    assert found == [1, 3, 6, 20, 21, 0]
    assert boundary_proximity(linear(w), x, torch.ones(6, dtype=torch.int64), BUDGET) == pytest.approx(51 / 6)


def test_gradient_and_linearity_of_a_linear_classifier() -> None:
    """L = log(1 + exp(-m)) with m moved by up to r |w|_1 either way; the search ends at one of the two."""
    w = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=torch.float64)
    x, y = points(6, 2), torch.tensor([1, 0, 1, 1, 0, 0])
    size = float(w.abs().sum())
    m = ((2 * y - 1) * ((x - 0.5).flatten(1) @ w)).numpy()
    slope = 1 / (1 + np.exp(m))
    assert input_gradient(linear(w), x, y) == pytest.approx(float(slope.mean() * size))
    ends = [
        np.logaddexp(0, -m - t) - np.logaddexp(0, -m) + slope * t for t in (BUDGET.radius * size, -BUDGET.radius * size)
    ]
    for k in range(len(x)):
        generator = torch.Generator().manual_seed(k)
        found = linearity_error(linear(w), x[k : k + 1], y[k : k + 1], BUDGET, steps=20, generator=generator)
        assert min(abs(found - ends[0][k]), abs(found - ends[1][k])) < 1e-6
        assert found > 0


def test_sharpness_of_a_linear_classifier() -> None:
    """With |V|_F <= g |W|_F the attacked margin <w, x> - r |w|_1 falls by sqrt(2) g |W|_F |x - r sign w|_2."""
    w = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=torch.float64)
    model, x = linear(w), points(1, 2)
    with torch.no_grad():
        model[1].bias.zero_()
    attacked = x.flatten() - BUDGET.radius * w.sign()
    m, fall = float(w @ attacked), math.sqrt(2) * float(attacked.norm()) * float(w.norm()) / math.sqrt(2)
    before = copy.deepcopy(model.state_dict())
    gammas = (0.01, 0.05)
    found = sharpness(model, x, torch.tensor([1]), evaluation_attack(BUDGET), gammas, ascents=10)
    expected = [np.logaddexp(0, -m + g * fall) - np.logaddexp(0, -m) for g in gammas]
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_adversarial_examples_are_crafted_anew_at_perturbed_weights() -> None:
    """Two pixels, the weight of one nearly 0: its sign turns inside the ball, and the worst perturbation with it."""
    w, g = torch.tensor([2.0, 0.1], dtype=torch.float64), 0.3
    model, x = linear(w), torch.tensor([0.6, 0.45], dtype=torch.float64).reshape(1, 1, 1, 2)
    with torch.no_grad():
        model[1].bias.zero_()
    angle = np.linspace(0, 2 * np.pi, 20001)
    radius = math.sqrt(2) * g * float(w.norm()) / math.sqrt(2)
    moved = w.numpy() + radius * np.stack([np.cos(angle), np.sin(angle)], 1)

    def losses(r: float, z: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, -(moved @ z - r * np.abs(moved).sum(1)))

    r, flat = BUDGET.radius, x.flatten().numpy()
    before = np.logaddexp(0, -float(w @ x.flatten()) + r * float(w.abs().sum()))
    best, fixed = losses(r, flat).max() - before, losses(0.0, flat - r * w.sign().numpy()).max() - before
    assert best > 1.01 * fixed
    (found,) = sharpness(model, x, torch.tensor([1]), evaluation_attack(BUDGET), (g,), ascents=30)
    assert found == pytest.approx(best, rel=2e-3)
    assert found <= best * (1 + 1e-6)


def test_a_larger_ball_counts_what_a_smaller_one_found() -> None:
    data = own_labels(20)
    x, y = data.scaled(data.pixels), (data.labels + 1) % 10
    attack = evaluation_attack(BUDGET, 3)
    found = sharpness(network(), x, y, attack, (1e-3, 5e-3, 1e-2), ascents=2)
    assert 0 < found[0] < found[1] < found[2]
    assert found[:1] == sharpness(network(), x, y, attack, (1e-3,), ascents=2)
    assert found[2] == sharpness(network(), x, y, attack, (1e-2,), ascents=2)[0]


def test_all_measures_of_a_network() -> None:
    data, model = own_labels(30), network()
    found = complexity(model, data, BUDGET, gammas=(0.01,), steps=4, ascents=2, generator=torch.Generator())
    x = data.scaled(data.pixels)
    with torch.no_grad():
        top = model(x).topk(2, dim=1).values.double()
    assert found["clean margin"] == pytest.approx(float((top[:, 0] - top[:, 1]).mean()), rel=1e-5)
    assert found["attacked margin"] < found["clean margin"]
    assert found["squared weights"] == squared_weights(model)
    assert found["boundary proximity"] == boundary_proximity(model, x, data.labels, BUDGET)
    assert found["linearity error"] > 0
    assert list(found)[-1] == "sharpness 0.01"
    negative = {name for name in found if expected_sign(name) < 0}
    assert negative == {"clean margin", "attacked margin", "boundary proximity"}


def test_bad_input_is_refused() -> None:
    data: Images = own_labels(3)
    with pytest.raises(UserError, match=r"gammas must be one or more and increasing, got \[0.01, 0.005\]"):
        complexity(network(), data, BUDGET, gammas=(1e-2, 5e-3))
    with pytest.raises(UserError, match=r"gammas must be in \(0, 1\], got 0"):
        complexity(network(), data, BUDGET, gammas=(0.0, 5e-3))
    with pytest.raises(UserError, match="ascents must be an integer of at least 1, got 0"):
        complexity(network(), data, BUDGET, ascents=0)
