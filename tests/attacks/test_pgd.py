"""PGD: the ball is exact, linear problems are solved exactly, batch dims and clamps mean what they say."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cgro.attacks.ball import Budget, perturbation_size, project
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.base.norms import Norm

NORMS = get_args(Norm)


def linear(weights: Tensor, dims: tuple[int, ...] = (-1,)):
    """Losses <weights, z> over the given dims."""
    return lambda z: (weights * z).sum(dims)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=150, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    radius=st.floats(1e-6, 1e3),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e5]),
    steps=st.integers(0, 4),
    decay=st.booleans(),
    batch_dims=st.integers(1, 2),
    start=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_point_is_in_the_ball(norm, dtype, radius, scale, steps, decay, batch_dims, start, seed) -> None:
    g = generator(seed)
    shape = (3, 2, 2, 3)
    x = scale * torch.randn(shape, generator=g, dtype=dtype)
    w = torch.randn(shape, generator=g, dtype=dtype)
    z = pgd(
        linear(w, tuple(range(batch_dims, 4))),
        x,
        Budget(norm, radius),
        steps=steps,
        step_size=0.7 * radius,
        decay=decay,
        start=g if start else None,
        batch_dims=batch_dims,
    )
    assert z.dtype == dtype
    assert z.shape == shape
    assert perturbation_size(z, x, norm, batch_dims).shape == shape[:batch_dims]
    assert perturbation_size(z, x, norm, batch_dims).max() <= radius


@settings(max_examples=80, deadline=None)
@given(norm=st.sampled_from(NORMS), radius=st.floats(1e-3, 2), seed=st.integers(0, 2**32))
def test_clamped_points_are_in_the_box_and_in_the_ball(norm, radius, seed) -> None:
    g = generator(seed)
    x = torch.rand(4, 1, 3, 3, generator=g).round(decimals=1)
    z = pgd(
        linear(torch.randn(x.shape, generator=g), (1, 2, 3)),
        x,
        Budget(norm, radius),
        steps=3,
        step_size=radius,
        clamp=(0.0, 1.0),
        start=g,
    )
    assert z.min() >= 0
    assert z.max() <= 1
    assert perturbation_size(z, x, norm).max() <= radius


@settings(max_examples=60, deadline=None)
@given(radius=st.floats(1e-2, 10), seed=st.integers(0, 2**32), start=st.booleans())
@pytest.mark.parametrize("norm", NORMS)
def test_linear_objective_is_maximized_in_closed_form(norm, radius, seed, start) -> None:
    """Hoelder: the maximum of <w, d> over |d| <= r is r |w|_dual, reached at every sample of its own."""
    g = generator(seed)
    x, w = torch.randn(2, 5, 7, generator=g, dtype=torch.float64)
    w[0] *= 1e-200  # Scale of a loss must not matter.
    start_at = g if start else None
    z = pgd(linear(w), x, Budget(norm, radius), steps=60, step_size=radius, start=start_at)
    best = radius * {"1": w.abs().amax(1), "2": hypot(w), "inf": w.abs().sum(1)}[norm]
    gain = (w * (z - x)).sum(1)
    torch.testing.assert_close(gain / best, torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=0)


def hypot(w: Tensor) -> Tensor:
    """l_2 norm of each row, safe against underflow."""
    return torch.tensor([math.hypot(*row) for row in w.tolist()], dtype=w.dtype)


@pytest.mark.parametrize("norm", NORMS)
def test_batch_dims_decide_what_one_point_is(norm) -> None:
    x, w = torch.zeros(2, 3, 4, dtype=torch.float64), torch.ones(2, 3, 4, dtype=torch.float64)
    each = pgd(linear(w), x, Budget(norm, 1.0), steps=5, step_size=1.0, batch_dims=2)
    both = pgd(linear(w, (1, 2)), x, Budget(norm, 1.0), steps=5, step_size=1.0, batch_dims=1)
    if norm == "1":  # One coordinate of a point moves.
        torch.testing.assert_close(each.abs().sum(2), torch.ones(2, 3, dtype=torch.float64))
        torch.testing.assert_close(both.abs().sum((1, 2)), torch.ones(2, dtype=torch.float64))
        return
    torch.testing.assert_close(each, w / (2 if norm == "2" else 1))
    torch.testing.assert_close(both, w / (math.sqrt(12) if norm == "2" else 1))


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_is_uniform_in_the_ball(norm) -> None:
    """P(|d| <= t r) = t^D for a uniform point of a ball in D dimensions; 4000 draws, five sigma."""
    x = torch.zeros(4000, 3, dtype=torch.float64)
    z = pgd(linear(x), x, Budget(norm, 2.0), steps=0, step_size=1.0, start=generator())
    inside = (perturbation_size(z, x, norm) <= 1.0).double().mean()
    assert abs(inside - 1 / 8) < 5 * math.sqrt(1 / 8 * 7 / 8 / 4000)
    assert z.mean(0).abs().max() < 5 * 2 / math.sqrt(3 * 4000)


def test_equal_generators_give_equal_points_and_leave_the_global_one_alone() -> None:
    x = torch.randn(5, 4, generator=generator())
    state = torch.get_rng_state()
    points = [pgd(linear(x), x, Budget("2", 1.0), steps=2, step_size=0.1, start=generator(s)) for s in (1, 1, 2)]
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])
    assert torch.equal(state, torch.get_rng_state())


def test_decaying_steps_get_closer_to_a_smooth_maximum() -> None:
    peak = torch.full((1, 3), 0.123, dtype=torch.float64)
    errors = [
        pgd(
            lambda z: -(z - peak).square().sum(1),
            0 * peak,
            Budget("inf", 1.0),
            steps=20,
            step_size=0.5,
            decay=d,
        )
        for d in (False, True)
    ]
    constant, decaying = (float((z - peak).abs().max()) for z in errors)
    assert decaying < 0.05 < constant


def test_zero_gradient_stays_where_it_is_and_no_graph_is_left() -> None:
    x = torch.randn(2, 3, generator=generator()).requires_grad_(True)
    z = pgd(lambda z: 0 * z.sum(1), x, Budget("2", 1.0), steps=3, step_size=1.0)
    assert torch.equal(z, x)
    assert not z.requires_grad


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_has_its_length_however_small_the_gradient(norm) -> None:
    """Losses of confident networks have gradients whose squares are 0 in float32."""
    x = torch.zeros(2, 5)
    z = pgd(linear(torch.full_like(x, 1e-30)), x, Budget(norm, 1.0), steps=1, step_size=0.25)
    torch.testing.assert_close(perturbation_size(z, x, norm), torch.full((2,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_budget_refuses_impossible_radii(radius) -> None:
    with pytest.raises(UserError, match=r"radius must be finite and greater than 0"):
        Budget("inf", radius)


def test_budget_refuses_unknown_norms() -> None:
    with pytest.raises(UserError, match=r"norm must be .*got 'linf'"):
        Budget("linf", 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"step_size": 0.0}, "step_size greater than 0, got 1 and 0"),
        ({"batch_dims": 2}, "batch_dims"),
        ({"clamp": (0.0, 1.0)}, "x must lie in"),
        ({"objective": lambda z: z.sum()}, "reduction='none'"),
    ],
)
def test_wrong_arguments_are_named(change, message) -> None:
    x = 2 * torch.ones(2, 3)
    arguments = {"objective": linear(x), "x": x, "budget": Budget("inf", 1.0), "steps": 1, "step_size": 1.0}
    with pytest.raises(ValueError, match=message):
        pgd(**(arguments | change))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32),
    radius=st.floats(0.01, 3),
    boxed=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_l1_projection_is_nearest_in_the_ball_and_the_box(seed, radius, boxed, scale) -> None:
    """Second encoding: the threshold t by bisection, where |min(max(|v| - t, 0), room)|_1 = radius."""
    g = generator(seed)
    x = torch.rand(4, 9, generator=g, dtype=torch.float64).round(decimals=1)
    v = scale * torch.randn(4, 9, generator=g, dtype=torch.float64)
    found = project(v, x, Budget("1", radius), (0.0, 1.0) if boxed else None)
    room = torch.where(v > 0, 1 - x, x) if boxed else torch.full_like(x, math.inf)
    low, high = torch.zeros(4, 1, dtype=torch.float64), v.abs().amax(1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        too_large = torch.minimum((v.abs() - middle).clamp_min(0), room).sum(1, keepdim=True) > radius
        low, high = torch.where(too_large, middle, low), torch.where(too_large, high, middle)
    free = torch.minimum(v.abs(), room)
    expected = torch.where(free.sum(1, keepdim=True) > radius, torch.minimum((v.abs() - high).clamp_min(0), room), free)
    torch.testing.assert_close(found, v.sign() * expected, rtol=1e-9, atol=1e-9)
