"""The patch model in one call, and with an activation of the user in both engines and in the phase diagram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import cgro
from cgro.base.errors import UserError
from cgro.dynamics import phases, two_mechanisms
from cgro.dynamics.activations import derivative
from cgro.dynamics.axes import Axis
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.runs import EngineName, Runs
from cgro.dynamics.setting import Attack, PatchSetting
from cgro.dynamics.signal_attack import GRID, margins, worst_margins
from cgro.dynamics.trajectory import train
from cgro.simulations import phase_diagram

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


def smooth(z: torch.Tensor) -> torch.Tensor:
    """Cubic near 0, linear far away."""
    return torch.where(z.abs() < 1, z**3, 3 * z - 2 * z.sign())


@pytest.mark.parametrize(
    ("engine", "attack"),
    [("direct", "worst"), ("direct", "transfer"), ("direct", "pgd-l2"), ("gram", "worst"), ("gram", "transfer")],
)
def test_the_cubic_function_is_the_odd_activation_at_3(engine: EngineName, attack: Attack) -> None:
    """Everything that is recorded agrees to rounding: the ends of the segment are in the grid, and the minimum is at
    one of them."""
    setting = replace(SMALL, attack=attack)
    known = cgro.train_patches(setting, range(2), engine=engine, records=6, detail=True)
    own = cgro.train_patches(replace(setting, activation=cubic), range(2), engine=engine, records=6, detail=True)
    for name in known.data_vars:
        assert np.allclose(own[name], known[name], rtol=1e-9, atol=1e-12, equal_nan=True), name
    assert float(known.robust_train_error[:, -1].max()) < 1


@pytest.mark.parametrize("change", [{}, {"attack": "transfer"}, {"radius_ratio": 1.4}, {"unlearnable": 0.5}], ids=str)
@pytest.mark.parametrize("phi", [torch.sin, torch.nn.functional.silu, smooth])
def test_both_engines_train_the_same_network(phi: Callable[[Any], Any], change: dict[str, Any]) -> None:
    """Neither odd nor even functions, a kink of the second derivative, and attacks beyond the signal."""
    setting = replace(SMALL, activation=phi, sampling="vectors", **change)
    gram, direct = (
        cgro.train_patches(setting, range(2), engine=engine, records=6, detail=True) for engine in ("gram", "direct")
    )
    assert float(abs(gram.clean_loss[:, -1] - gram.clean_loss[:, 0]).min()) > 1e-3
    for name in direct.data_vars:
        assert np.allclose(gram[name], direct[name], rtol=1e-8, atol=1e-10, equal_nan=True), name


def test_the_gram_engine_draws_no_vectors_for_it() -> None:
    """A million dimensions cost as much as a hundred."""
    found = cgro.train_patches(replace(SMALL, dim=1_000_000, steps=5, activation=smooth), range(2), records=3)
    assert np.isfinite(found.clean_loss).all()


def test_the_derivative_is_that_of_autograd() -> None:
    z = torch.linspace(-3, 3, 25, dtype=torch.float64)
    assert torch.allclose(derivative(z, torch.sin), torch.cos(z))


def test_the_phase_diagram_takes_it() -> None:
    """Every cell is the run of its setting."""
    setting = replace(SMALL, activation=smooth, steps=20)
    config = phase_diagram.Config(
        setting=setting,
        x=Axis("radius_ratio", 0.5, 0.9, 2),
        y=Axis("noise_norm", 0.5, 1.0, 2),
        seeds=2,
        test_samples=64,
    )
    found = phase_diagram.run(config)
    cell = replace(setting, radius_ratio=0.9, noise_norm=0.5)
    alone = cgro.train_patches(cell, range(2), records=2, test_samples=64).isel(step=-1)
    for name in ("robust_test_error", "adversarial_loss"):
        np.testing.assert_allclose(found[name].isel(x=1, y=0), alone[name], rtol=1e-12)


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


PREDICTIONS: list[Callable[[PatchSetting], Any]] = [
    cgro.critical_ratio,
    cgro.predicted_times,
    phases.signal_time,
    phases.memorization_time,
    phases.balanced_signal,
    phases.stalled_push,
    lambda setting: phases.stalled_signal(setting, 10.0),
    two_mechanisms.has_law,
    two_mechanisms.linf_ratio,
    two_mechanisms.shift_ratio,
]


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_predictions_refuse_it(predict: Callable[[PatchSetting], Any]) -> None:
    with pytest.raises(UserError, match="activation must be odd or relu for predictions, which need an exponent"):
        predict(replace(SMALL, activation=cubic, radius_ratio=1.2))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "fails": (lambda z: z.no_such, "value by value; on .* it fails: AttributeError"),
    "number": (lambda z: 1.0, "type and shape of its argument, got float"),
    "shape": (lambda z: z.sum(), r"type and shape of its argument, got torch.float64 \(\)"),
    "type": (lambda z: z.float(), "type and shape of its argument, got torch.float32"),
    "mixes": (lambda z: z - z.mean(), "must act value by value"),
    "constant": (torch.ones_like, "must be differentiable by torch"),
}


@pytest.mark.parametrize("engine", ["gram", "direct"])
@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_are_no_activation_are_refused(name: str, engine: EngineName) -> None:
    phi, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        cgro.train_patches(replace(SMALL, activation=phi), range(1), engine=engine)


def test_what_is_no_activation_is_refused() -> None:
    with pytest.raises(UserError, match="activation must be one of odd, relu, got 'tanh'"):
        PatchSetting(activation="tanh")  # type: ignore[arg-type]
