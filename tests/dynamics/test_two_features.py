"""Data with two features and stochastic gradient descent on it, against plain computations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import softplus

from cgro.base.errors import UserError
from cgro.dynamics.blind_run import BlindRun, train_blind
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.sgd import descend
from cgro.dynamics.two_features import Samples, TwoFeatureSetting, draw_filters, draw_samples

SMALL = TwoFeatureSetting(
    samples=12, patches=3, dim=7, filters=5, signal=1.5, noise_norm=1.0, init_scale=0.4, learning_rate=0.05, steps=60,
    unlearnable=0.4,
)  # fmt: skip


def drawn(setting: TwoFeatureSetting, seed: int = 0) -> tuple[Samples, np.ndarray, np.ndarray]:
    """Samples, initial filters, and an order of samples."""
    rng = np.random.default_rng(seed)
    return draw_samples(setting, rng), draw_filters(setting, rng), rng.integers(setting.samples, size=setting.steps)


def plain(W: np.ndarray, samples: Samples, order: np.ndarray, setting: TwoFeatureSetting) -> np.ndarray:
    """The same steps by autograd: cross-entropy with the target, gradients along v multiplied by kappa."""
    weights = torch.from_numpy(W.copy())
    gain = torch.ones(setting.dim, dtype=torch.float64)
    gain[1] = setting.visibility
    for i in order:
        network = PatchCNN(weights[None], 3.0, "relu")
        x, y = torch.from_numpy(samples.X[i].copy()), float(samples.labels[i])
        x[:, :2] -= y * setting.radius
        output = y * network(x[None, None])[0, 0]
        tau = setting.targets[int(samples.unlearnable[i])]
        loss = tau * softplus(-output) + (1 - tau) * softplus(output)
        (gradient,) = torch.autograd.grad(loss, network.weights)
        weights = weights - setting.learning_rate * gain * gradient[0]
    return weights.numpy()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"visibility": 0.3},
        {"visibility": 1.0, "teacher_learnable": 2.0, "teacher_unlearnable": -1.0},
        {"teacher_unlearnable": 0.0, "radius_ratio": 0.0},
        {"patches": 6, "visibility": 0.5},
    ],
)
def test_steps_are_those_of_autograd(changes: dict[str, Any]) -> None:
    setting = replace(SMALL, **changes)
    samples, W, order = drawn(setting)
    assert 0 < samples.unlearnable.sum() < setting.samples
    expected = plain(W, samples, order, setting)
    assert np.abs(expected - W).max() > 0.1
    descend(W, samples, order, setting)
    np.testing.assert_allclose(W, expected, rtol=0, atol=1e-10)


def test_a_blind_network_stays_blind_and_a_seeing_one_does_not() -> None:
    samples, W, order = drawn(SMALL)
    descend(W, samples, order, SMALL)
    assert (W[:, 1] == 0).all()
    seeing = replace(SMALL, visibility=0.5)
    samples, W, order = drawn(seeing)
    descend(W, samples, order, seeing)
    assert np.abs(W[:, 1]).max() > 0.1


def test_steps_can_be_interrupted() -> None:
    samples, W, order = drawn(SMALL)
    parts = W.copy()
    descend(W, samples, order, SMALL)
    for part in np.array_split(order, 7):
        descend(parts, samples, part, SMALL)
    np.testing.assert_array_equal(parts, W)


def test_samples_follow_their_law() -> None:
    setting = replace(SMALL, samples=4000, patches=2, dim=30, noise_norm=3.0, unlearnable=0.2)
    samples = draw_samples(setting, np.random.default_rng(0))
    features, noise = samples.X[:, :, :2], samples.X[:, :, 2:]
    assert abs(samples.unlearnable.mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 4000)
    assert abs(samples.labels.mean()) < 5 / math.sqrt(4000)
    assert abs(noise.std() - 3 / math.sqrt(30)) < 0.01
    assert (np.count_nonzero(features, axis=(1, 2)) == 1).all(), "one patch of each sample has a feature"
    carried = features.sum(1)
    own = samples.unlearnable.astype(int)
    np.testing.assert_array_equal(carried[np.arange(4000), own], 1.5 * samples.labels)
    np.testing.assert_array_equal(carried[np.arange(4000), 1 - own], 0)
    assert abs((features[:, 0] != 0).any(-1).mean() - 0.5) < 5 * 0.5 / math.sqrt(4000)


def test_teachers_are_placed_by_the_entropy_of_their_targets() -> None:
    assert SMALL.target_entropy == 0
    assert SMALL.targets == (1, 1)
    assert replace(SMALL, teacher_unlearnable=0.0).target_entropy == pytest.approx(math.log(2))
    margins = (30.0, 5.0, 1.0, 0.0)
    entropies = [replace(SMALL, teacher_unlearnable=margin).target_entropy for margin in margins]
    assert entropies == sorted(entropies)
    assert replace(SMALL, teacher_unlearnable=-1.0).target_entropy == pytest.approx(entropies[2])
    assert replace(SMALL, teacher_learnable=0.7).targets == (pytest.approx(1 / (1 + math.exp(-0.7))), 1)


def test_a_run_learns_the_feature_and_memorizes_what_lacks_it() -> None:
    """At the defaults of the public code: adversarial training collapses, an ignorant teacher prevents it."""
    setting = TwoFeatureSetting(unlearnable=0.1)
    ticks: list[float] = []
    run = train_blind(BlindRun(setting, (0, 1, 2), 2, 100), ticks.append)
    assert sum(ticks) == 3 * setting.steps
    end = run.isel(step=-1)
    assert (end["accuracy"].sel(part="train") >= 0.98).all()
    assert (end["accuracy"].sel(part="test", criterion="clean") > 0.85).all()
    assert float(end["accuracy"].sel(part="test", criterion="robust").mean()) < 0.6
    assert (end["memorized"].sel(kind="unlearnable") > 0.1).all()
    assert (np.abs(end["memorized"].sel(kind="learnable")) < 0.05).all()
    ignorant = replace(setting, teacher_learnable=10.0, teacher_unlearnable=0.0)
    cured = train_blind(BlindRun(ignorant, (0, 1, 2), 2, 100), lambda _done: None).isel(step=-1)
    assert (cured["accuracy"].sel(part="test", criterion="robust") > 0.8).all()
    assert (cured["memorized"].sel(kind="unlearnable") < 0.05).all()
    train = cured["accuracy"].sel(part="train")
    assert (train.sel(criterion="robust") < train.sel(criterion="clean")).all()


def test_the_end_does_not_depend_on_the_records() -> None:
    few, many = (train_blind(BlindRun(SMALL, (0,), count, 50), lambda _done: None) for count in (2, 6))
    assert (many.sizes["step"], few.sizes["step"]) == (6, 2)
    xr.testing.assert_equal(few.isel(step=-1), many.isel(step=-1))


def test_without_a_radius_robust_is_clean() -> None:
    run = train_blind(BlindRun(replace(SMALL, radius_ratio=0.0), (3,), 3, 50), lambda _done: None)
    np.testing.assert_array_equal(run["accuracy"].sel(criterion="robust"), run["accuracy"].sel(criterion="clean"))
    assert run["step"].values.tolist() == [0, 30, 60]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unlearnable": 1.5}, "unlearnable must be in [0, 1], got 1.5"),
        ({"visibility": -0.1}, "visibility must be in [0, 1], got -0.1"),
        ({"dim": 2}, "dim must be an integer of at least 3, got 2"),
        ({"filters": 0}, "filters must be an integer of at least 1, got 0"),
        ({"teacher_unlearnable": math.nan}, "teacher_unlearnable must be finite, got nan"),
        ({"radius_ratio": -1.0}, "radius_ratio must be at least 0, got -1"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(SMALL, **changes)  # type: ignore[arg-type]
    assert words in str(caught.value)
