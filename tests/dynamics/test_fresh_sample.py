"""The law of a fresh sample against d-dimensional test points, and the honesty of its standard error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cgro.dynamics.direct import DirectEngine, attack_samples
from cgro.dynamics.fresh_sample import estimate_error, noise_response
from cgro.dynamics.phases import response_variance
from cgro.dynamics.runs import Runs
from cgro.dynamics.samples import fresh_samples
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import observe, train

TEST_POINTS = 20_000
BASE = PatchSetting(samples=20, patches=3, dim=30, filters=6)
CASES = {
    "odd": (replace(BASE, radius_ratio=0.99, learning_rate=1.0), 300),
    "odd, q=2": (replace(BASE, exponent=2.0, radius_ratio=0.9), 60),
    "relu": (replace(BASE, activation="relu", adversarial_weight=1.0, learning_rate=1.0), 200),
    "rho above 1": (replace(BASE, radius_ratio=1.5, learning_rate=0.4), 500),
    "two features": (replace(BASE, unlearnable=0.3, visibility=0.3, radius_ratio=0.99, learning_rate=1.0), 300),
}


@pytest.mark.parametrize("name", CASES)
def test_law_equals_brute_force_test_points(name: str) -> None:
    setting, steps = CASES[name]
    runs = Runs((setting,), (3,))
    engine = DirectEngine(runs)
    engine.advance(steps)
    fresh = fresh_samples(runs, TEST_POINTS, engine.device)
    attacked = attack_samples(engine.network, fresh, runs, "worst")
    brute = {
        "clean": float((fresh.labels * engine.network(fresh.X) <= 0).double().mean()),
        "robust": float((fresh.labels * engine.network(attacked) <= 0).double().mean()),
    }

    law = observe(runs, engine.state(), test_samples=TEST_POINTS, detail=False)
    assert any(0.01 < value < 0.99 for value in brute.values()), f"errors {brute} say nothing about the law"
    for kind_of_error, p in brute.items():
        value, error = (float(law[f"{kind_of_error}_test_error{end}"][0]) for end in ("", "_se"))
        tolerance = 4 * np.hypot(error, np.sqrt(max(p * (1 - p), 1 / TEST_POINTS) / TEST_POINTS))
        assert abs(value - p) < tolerance, kind_of_error


def test_std_of_the_response_equals_the_variance_law() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(5, 9, dtype=torch.float64, generator=generator)
    K = factor @ factor.T
    Z = noise_response(K, 0.3, torch.ones(5).double(), 3.0, "odd", noise_patches=3, draws=400_000, seed=1)
    squares = (Z**2).numpy()
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - response_variance(0.09 * K.numpy(), 3)) < 4 * error


def test_singular_filter_grams_are_sampled() -> None:
    w = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    Z = noise_response(w @ w.T, 1.0, torch.ones(6).double(), 3.0, "odd", noise_patches=1, draws=100_000, seed=1)
    squares = (Z**2).numpy()
    assert abs(squares.mean() - response_variance((w @ w.T).numpy(), 1)) < 5 * squares.std() / np.sqrt(len(squares))


def test_standard_error_covers() -> None:
    margin = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    truth = (torch.special.ndtr(torch.tensor(-0.3)) + torch.special.ndtr(torch.tensor(-0.8))) / 2
    generator = torch.Generator().manual_seed(0)
    misses = 0
    for _ in range(400):
        estimate = estimate_error(margin, torch.randn(1, 500, dtype=torch.float64, generator=generator))
        misses += abs(float(estimate.value) - float(truth)) > 2 * float(estimate.standard_error)
    assert misses / 400 < 0.06


def test_no_error_seen_is_not_no_error() -> None:
    estimate = estimate_error(torch.tensor([[50.0, 50.0]]).double(), torch.zeros(1, 100).double())
    assert float(estimate.value) == 0
    assert 0.005 < float(estimate.standard_error) < 0.02


def test_reported_error_has_its_standard_error_beside_it() -> None:
    result = train(Runs((PatchSetting(samples=6, dim=20, steps=50),), (0,)), records=4, test_samples=128)
    assert (result["clean_test_error_se"] > 0).all()
    assert (result["robust_test_error_se"] > 0).all()
