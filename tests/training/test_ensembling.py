"""Temporal ensembling: the running mean, its correction, and the schedule of its weight."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.training.ensembling import target, updated, weight


@given(st.floats(0, 0.99), st.integers(1, 20), st.integers(2, 6))
def test_targets_are_weighted_means_of_predictions(momentum: float, visits: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(visits)
    predictions = torch.softmax(torch.randn(visits, 3, classes, dtype=torch.float64, generator=generator), dim=-1)
    running = torch.zeros(3, classes, dtype=torch.float64)
    for prediction in predictions:
        running = updated(running, prediction, momentum)
    weights = torch.tensor([(1 - momentum) * momentum ** (visits - 1 - s) for s in range(visits)], dtype=torch.float64)
    mean = (weights[:, None, None] * predictions).sum(0) / weights.sum()
    torch.testing.assert_close(target(running), mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(running.sum(-1), torch.full((3,), 1 - momentum**visits, dtype=torch.float64))


def test_one_prediction_is_its_own_target() -> None:
    prediction = torch.tensor([[0.2, 0.8]])
    torch.testing.assert_close(target(updated(torch.zeros(1, 2), prediction)), prediction)
    assert torch.isnan(target(torch.zeros(1, 2))).all()


def test_weights_of_the_recipe() -> None:
    assert weight(89.9) == 0
    assert weight(90) == pytest.approx(300 * math.exp(-5))
    assert weight(120) == pytest.approx(300 * math.exp(-1.25))
    published = {90: 2.0, 100: 9.3, 110: 32.5, 120: 86, 130: 172, 150: 300}  # [S]
    for epoch, value in published.items():
        assert weight(epoch) == pytest.approx(value, rel=0.012), epoch
    assert weight(150) == weight(200) == 300
    assert weight(5, largest=30, start=5, end=10) == pytest.approx(30 * math.exp(-5))


@given(st.floats(90, 150), st.floats(90, 150))
def test_weights_rise(a: float, b: float) -> None:
    assert weight(min(a, b)) <= weight(max(a, b))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: updated(torch.zeros(1, 2), torch.zeros(1, 2), 1.0), "momentum must be in [0, 1), got 1.0"),
        (lambda: weight(1, start=5, end=5), "must end after it starts"),
    ],
)
def test_bad_input_is_reported_in_one_line(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
