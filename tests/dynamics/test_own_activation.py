"""The patch model in one call, and with an activation of the user in the direct engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cgro
from cgro.base.errors import UserError
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import Attack, PatchSetting
from cgro.dynamics.signal_attack import GRID, margins, worst_margins
from cgro.dynamics.trajectory import train

SMALL = PatchSetting(samples=6, patches=3, dim=20, filters=4, steps=60, radius_ratio=0.9, learning_rate=0.25)


def cubic(z: torch.Tensor) -> torch.Tensor:
    return z**3


def test_settings_and_seeds_are_dimensions() -> None:
    settings = [replace(SMALL, radius_ratio=rho) for rho in (0.5, 0.9)]
    found = cgro.train_patches(settings, seeds=(3, 5), records=4)
    assert found.robust_test_error.dims == ("setting", "seed", "step")
    assert found.seed.values.tolist() == [3, 5]
    alone = train(Runs.product(settings, (3, 5)), records=4)
    assert np.array_equal(found.clean_loss.values.reshape(4, -1), alone.clean_loss.values)


def test_a_single_setting_has_no_dimension() -> None:
    found = cgro.train_patches(SMALL, seeds=range(2), records=4)
    assert found.robust_test_error.dims == ("seed", "step")
    assert found.identical(cgro.train_patches([SMALL], seeds=range(2), records=4).isel(setting=0))


@pytest.mark.parametrize("attack", ["worst", "transfer", "pgd-l2"])
def test_the_cubic_function_is_the_odd_activation_at_3(attack: Attack) -> None:
    """Everything that is recorded agrees to rounding: the ends of the segment are in the grid, and the minimum is at
    one of them."""
    setting = replace(SMALL, attack=attack)
    known = cgro.train_patches(setting, range(2), engine="direct", records=6, detail=True)
    own = cgro.train_patches(replace(setting, activation=cubic), range(2), engine="direct", records=6, detail=True)
    for name in known.data_vars:
        assert np.allclose(own[name], known[name], rtol=1e-9, atol=1e-12, equal_nan=True), name
    assert float(known.robust_train_error[:, -1].max()) < 1


def test_another_activation_gives_another_network() -> None:
    own = cgro.train_patches(replace(SMALL, activation=torch.sin), range(2), engine="direct", records=4)
    known = cgro.train_patches(SMALL, range(2), engine="direct", records=4)
    assert not np.allclose(own.clean_loss, known.clean_loss)
    assert (own.adversarial_loss >= own.clean_loss - 1e-12).all()


def test_margins_are_those_of_the_network_on_its_signal_patch() -> None:
    """h_y(t) = y f(X) of a sample that is its signal patch alone, and its minimum is at the best of the grid."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 4, 5, dtype=torch.float64, generator=generator)
    network = PatchCNN(weights, 3.0, torch.sin)
    u, alpha, delta = weights[:, :, 0], torch.tensor([2.0], dtype=torch.float64), torch.tensor([1.5]).double()

    def by_network(t: float, y: float) -> float:
        X = torch.zeros(1, 1, 1, 5, dtype=torch.float64)
        X[..., 0] = t * y
        return float(y * network(X).detach())

    for column, y in enumerate((-1.0, 1.0)):
        assert np.isclose(float(margins(alpha, u, network.signs, 3.0, torch.sin)[0, column]), by_network(2.0, y))
        worst = min(by_network(t, y) for t in np.linspace(0.5, 3.5, GRID))
        assert np.isclose(float(worst_margins(alpha, delta, u, network.signs, 3.0, torch.sin)[0, column]), worst)


def test_the_gram_engine_refuses_it() -> None:
    with pytest.raises(UserError, match="activation must be odd or relu with engine gram, got a function"):
        cgro.train_patches(replace(SMALL, activation=cubic), range(1))


def test_what_is_no_activation_is_refused() -> None:
    with pytest.raises(UserError, match="activation must be one of odd, relu, got 'tanh'"):
        PatchSetting(activation="tanh")  # type: ignore[arg-type]
