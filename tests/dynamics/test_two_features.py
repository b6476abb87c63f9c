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
from cgro.dynamics.blind_run import BlindRun, accuracies, train_blind
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.sgd import descend
from cgro.dynamics.teachers import entropy
from cgro.dynamics.two_features import (
    Samples,
    TwoFeatureSetting,
    draw_filters,
    draw_samples,
    entropies,
    first_targets,
)

SMALL = TwoFeatureSetting(
    samples=12, patches=3, dim=7, filters=5, signal=1.5, noise_norm=1.0, init_scale=0.4, learning_rate=0.05, steps=60,
    unlearnable=0.4,
)  # fmt: skip


def drawn(setting: TwoFeatureSetting, seed: int = 0) -> tuple[Samples, np.ndarray, np.ndarray]:
    """Samples, initial filters, and an order of samples."""
    rng = np.random.default_rng(seed)
    return draw_samples(setting, rng), draw_filters(setting, rng), rng.integers(setting.samples, size=setting.steps)


def plain(
    W: np.ndarray, samples: Samples, order: np.ndarray, setting: TwoFeatureSetting
) -> tuple[np.ndarray, np.ndarray]:
    """Filters and targets after the same steps by autograd: cross-entropy with the target, which has moved before, and
    gradients along v multiplied by kappa.
    """
    weights = torch.from_numpy(W.copy())
    targets = [setting.targets[int(unlearnable)] for unlearnable in samples.unlearnable]
    gain = torch.ones(setting.dim, dtype=torch.float64)
    gain[1] = setting.visibility
    for step, i in enumerate(order):
        network = PatchCNN(weights[None], 3.0, "relu")
        x, y = torch.from_numpy(samples.X[i].copy()), float(samples.labels[i])
        if setting.ensembling_momentum is not None and step >= setting.ensembling_start:
            prediction = float(torch.sigmoid(y * network(x[None, None]).detach()[0, 0]))
            targets[i] += (1 - setting.ensembling_momentum) * (prediction - targets[i])
        x[:, :2] -= y * setting.radius
        output = y * network(x[None, None])[0, 0]
        tau = targets[i]
        loss = tau * softplus(-output) + (1 - tau) * softplus(output)
        (gradient,) = torch.autograd.grad(loss, network.weights)
        weights = weights - setting.learning_rate * gain * gradient[0]
    return weights.numpy(), np.array(targets)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"visibility": 0.3},
        {"visibility": 1.0, "teacher_learnable": 2.0, "teacher_unlearnable": -1.0},
        {"teacher_unlearnable": 0.0, "radius_ratio": 0.0},
        {"patches": 6, "visibility": 0.5},
        {"ensembling_momentum": 0.9},
        {"ensembling_momentum": 0.0, "ensembling_start": 20},
        {"ensembling_momentum": 0.7, "ensembling_start": 59, "patches": 6},
        {"ensembling_momentum": 0.6, "teacher_learnable": 2.0, "teacher_unlearnable": 0.5, "visibility": 0.4},
    ],
)
def test_steps_are_those_of_autograd(changes: dict[str, Any]) -> None:
    setting = replace(SMALL, **changes)
    samples, W, order = drawn(setting)
    assert 0 < samples.unlearnable.sum() < setting.samples
    expected, expected_targets = plain(W, samples, order, setting)
    assert np.abs(expected - W).max() > 0.1
    targets = first_targets(samples, setting)
    moved = targets != expected_targets
    assert moved.any() == (setting.ensembling_momentum is not None)
    descend(W, samples, targets, order, setting)
    np.testing.assert_allclose(W, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(targets, expected_targets, rtol=0, atol=1e-10)


def test_a_blind_network_stays_blind_and_a_seeing_one_does_not() -> None:
    samples, W, order = drawn(SMALL)
    descend(W, samples, first_targets(samples, SMALL), order, SMALL)
    assert (W[:, 1] == 0).all()
    seeing = replace(SMALL, visibility=0.5)
    samples, W, order = drawn(seeing)
    descend(W, samples, first_targets(samples, seeing), order, seeing)
    assert np.abs(W[:, 1]).max() > 0.1


ENSEMBLING = replace(SMALL, ensembling_momentum=0.8, ensembling_start=25)


@pytest.mark.parametrize("setting", [SMALL, ENSEMBLING])
def test_steps_can_be_interrupted(setting: TwoFeatureSetting) -> None:
    samples, W, order = drawn(setting)
    parts, targets = W.copy(), first_targets(samples, setting)
    whole = targets.copy()
    descend(W, samples, whole, order, setting)
    before = 0
    for part in np.array_split(order, 7):
        descend(parts, samples, targets, part, setting, before=before)
        before += len(part)
    np.testing.assert_array_equal(parts, W)
    np.testing.assert_array_equal(targets, whole)


def test_targets_wait_for_the_start_of_ensembling() -> None:
    samples, W, order = drawn(ENSEMBLING)
    alone, targets = W.copy(), first_targets(samples, SMALL)
    descend(alone, samples, targets, order[:25], SMALL)
    descend(W, samples, targets, order[:25], ENSEMBLING)
    np.testing.assert_array_equal(W, alone)
    assert (targets == 1).all()
    descend(W, samples, targets, order[25:26], ENSEMBLING, before=25)
    assert np.flatnonzero(targets < 1).tolist() == [order[25]]


def test_a_network_that_only_follows_itself_from_the_start_learns_nothing() -> None:
    """mu = 0 asks for what it predicts: only the attack pulls, and by little before anything is learned."""
    setting = replace(SMALL, init_scale=0.01, ensembling_momentum=0.0)
    samples, W, order = drawn(setting)
    start, targets = W.copy(), first_targets(samples, setting)
    descend(W, samples, targets, order, setting)
    assert np.abs(W - start).max() < 1e-6
    np.testing.assert_allclose(targets[np.unique(order)], 0.5, atol=1e-4)


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
    placed = [replace(SMALL, teacher_unlearnable=margin).target_entropy for margin in margins]
    assert placed == sorted(placed)
    assert replace(SMALL, teacher_unlearnable=-1.0).target_entropy == pytest.approx(placed[2])
    np.testing.assert_allclose(entropies(np.array([1.0, 0.5, 0.0, 0.9])), [0, math.log(2), 0, 0.3250829733914482])
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


@pytest.mark.parametrize("setting", [SMALL, ENSEMBLING])
def test_the_end_does_not_depend_on_the_records(setting: TwoFeatureSetting) -> None:
    few, many = (train_blind(BlindRun(setting, (0,), count, 50), lambda _done: None) for count in (2, 6))
    assert (many.sizes["step"], few.sizes["step"]) == (6, 2)
    xr.testing.assert_equal(few.isel(step=-1), many.isel(step=-1))


@pytest.mark.parametrize("seed", range(3))
def test_doubt_about_learnable_samples_is_harmless_unless_it_differs_between_them(seed: int) -> None:
    """Of the same mean target, and ignorant of unlearnable samples: what differs can only be fitted by noise [D]."""
    setting, rng = TwoFeatureSetting(), np.random.default_rng(seed)
    samples, fresh = draw_samples(setting, rng), draw_samples(setting, rng, 100)
    start, order = draw_filters(setting, rng), rng.integers(setting.samples, size=setting.steps)
    doubt = np.clip(0.985 + 0.02 * rng.normal(size=setting.samples), 0.9, 1.0)
    robust = []
    for learnable in (doubt, doubt.mean()):
        targets, W = np.where(samples.unlearnable, 0.5, learnable), start.copy()
        descend(W, samples, targets, order, setting)
        (_, (clean, found)) = accuracies(W, samples, fresh, setting, torch.Generator().manual_seed(seed))
        assert clean > 0.85
        robust.append(found)
    uneven, even = robust
    assert uneven < 0.3
    assert even > 0.75


def test_the_entropy_of_targets_is_recorded_for_each_kind() -> None:
    taught = replace(SMALL, teacher_learnable=1.5, teacher_unlearnable=0.5)
    fixed = train_blind(BlindRun(taught, (0, 1), 3, 10), lambda _done: None)["target_entropy"]
    np.testing.assert_allclose(fixed.sel(kind="unlearnable"), taught.target_entropy)
    np.testing.assert_allclose(fixed.sel(kind="learnable"), entropy(taught.targets[0]))
    own = train_blind(BlindRun(ENSEMBLING, (0,), 4, 10), lambda _done: None)["target_entropy"]
    assert own["step"].values.tolist() == [0, 20, 40, 60]
    assert (own.isel(step=slice(2)) == 0).all()
    assert (own.isel(step=slice(2, None)) > 0).all()
    alone = train_blind(BlindRun(replace(SMALL, unlearnable=0.0), (0,), 2, 10), lambda _done: None)
    assert np.isnan(alone[["target_entropy", "memorized"]].sel(kind="unlearnable").to_array()).all()


def test_a_network_that_teaches_itself_forgets_the_labels_that_it_cannot_learn() -> None:
    """At the defaults of the public code, from step 500 on, when the feature is learned and the noise is not."""
    setting = TwoFeatureSetting(ensembling_momentum=0.9, ensembling_start=500)
    end = train_blind(BlindRun(setting, (0, 1), 2, 100), lambda _done: None).isel(step=-1)
    assert (end["target_entropy"].sel(kind="unlearnable") > 0.6).all()
    assert (end["target_entropy"].sel(kind="learnable") < 0.01).all()
    assert (end["accuracy"].sel(part="test", criterion="robust") > 0.75).all()
    assert (end["memorized"].sel(kind="unlearnable") < 0.08).all()


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
        ({"ensembling_momentum": 1.0}, "ensembling_momentum must be in [0, 1), got 1"),
        (
            {"ensembling_momentum": 0.9, "ensembling_start": -1},
            "ensembling_start must be a non-negative integer, got -1",
        ),
        ({"ensembling_start": 7}, "ensembling_start must be 0 without ensembling_momentum, got 7"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(SMALL, **changes)  # type: ignore[arg-type]
    assert words in str(caught.value)
