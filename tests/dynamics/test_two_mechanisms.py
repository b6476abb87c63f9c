"""Predictions about two causes of robust overfitting, against simulation, quadrature and plain formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgro.attacks.ball import Budget, random_start
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.base.randomness import torch_generator
from cgro.dynamics import phases
from cgro.dynamics import two_mechanisms as law
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.runs import Runs
from cgro.dynamics.samples import fresh_samples
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.whole_input import pgd_error

BASE = PatchSetting(samples=50, patches=3, dim=60, filters=8, init_scale=0.02, learning_rate=1.0, unlearnable=0.1)


@pytest.mark.parametrize("changes", [{}, {"exponent": 2.2}, {"exponent": 4.0, "init_scale": 0.2}])
def test_the_law_of_one_sample_is_that_of_integrated_growth(changes: dict[str, float]) -> None:
    """Draw the largest of m (P - 1) normals, and follow dz/dt = kappa z^(q-1) by small steps."""
    setting = replace(BASE, **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    z = setting.init_scale * setting.noise_norm * rng.standard_normal((20_000, 16)).max(axis=1)
    kappa = setting.learning_rate * setting.exponent * setting.noise_norm**2 / (2 * setting.samples)
    time = law.memorized_time(setting, 0.5)
    dt = time / 20_000
    for _ in range(20_000):
        z = np.minimum(z + dt * kappa * np.maximum(z, 0) ** (setting.exponent - 1), 1.0)
    share = (z >= 1).mean()
    assert law.memorized_share(setting, time) == pytest.approx(0.5, abs=1e-9)
    assert abs(share - 0.5) < 0.015


@given(probability=st.floats(0.01, 0.9), fraction=st.floats(0.05, 0.95), exponent=st.sampled_from([2.2, 2.5, 3.0, 4.0]))
def test_time_and_fraction_invert_the_probability(probability: float, fraction: float, exponent: float) -> None:
    setting = replace(BASE, unlearnable=fraction, exponent=exponent)
    time = law.collapse_time(setting, probability)
    if not math.isfinite(time):
        assert law.collapse_probability(setting, 1e9) < probability
        return
    assert law.collapse_probability(setting, time) == pytest.approx(probability, rel=1e-6)
    half = law.collapse_fraction(setting, time)
    if math.isfinite(half) and round(half * setting.samples) not in (0, setting.samples):
        assert law.collapse_probability(replace(setting, unlearnable=half), time) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("changes", [{"visibility": 0.1}, {"exponent": 2.0}])
def test_the_law_is_refused_where_it_does_not_apply(changes: dict[str, float]) -> None:
    setting = replace(BASE, **changes)  # type: ignore[arg-type]
    assert not law.has_law(setting)
    for predict in (
        law.collapse_time,
        lambda s: law.collapse_probability(s, 10),
        lambda s: law.collapse_fraction(s, 9),
    ):
        with pytest.raises(UserError, match="needs visibility = 0 and exponent > 2"):
            predict(setting)


def test_lambda_does_not_matter_to_unlearnable_samples() -> None:
    times = [law.collapse_time(replace(BASE, adversarial_weight=weight)) for weight in (0.0, 0.3, 1.0)]
    assert times[0] == pytest.approx(times[1]) == pytest.approx(times[2])


def test_the_critical_visibility_is_where_the_race_is_a_draw() -> None:
    """The time to learn v by steps of dw/dt = rate w^2 equals T_u."""
    setting = replace(BASE, signal=3.0, unlearnable=0.3)
    kappa, end = law.critical_visibility(setting), law.collapse_time(setting)
    assert 0 < kappa < 1
    rate = kappa * 0.3 * phases.signal_rate(setting)
    w, dt = kappa * phases.initial_signal(setting), end / 100_000
    for _ in range(100_000):
        w += dt * rate * w**2
    assert w == pytest.approx(1 / setting.signal, rel=0.01)
    assert law.critical_visibility(replace(setting, signal=0.1)) == math.inf
    assert law.critical_visibility(replace(setting, teacher_unlearnable=0.0)) == 0


def test_limits() -> None:
    assert law.collapse_time(replace(BASE, unlearnable=0.0)) == math.inf
    assert law.collapse_probability(replace(BASE, unlearnable=0.0), 1e9) == 0
    for margin in (0.0, 1.0, -3.0):
        ignorant = replace(BASE, teacher_unlearnable=margin)
        assert law.collapse_time(ignorant) == law.collapse_fraction(ignorant, 1e9) == math.inf
        assert law.collapse_probability(ignorant, 1e9) == 0
    confident = replace(BASE, teacher_unlearnable=30.0)
    assert law.collapse_time(confident) == pytest.approx(law.collapse_time(BASE))
    # In the long run only the number of unlearnable samples is left to chance.
    assert law.collapse_probability(BASE, 1e12) == pytest.approx(1 - 0.9**50, rel=1e-3)
    assert law.collapse_probability(replace(BASE, unlearnable=1.0), 1e300) == pytest.approx(1.0)


def test_an_attack_that_moves_every_patch_reverses_the_signal_at_the_shift_ratio() -> None:
    """A network of the signal alone, at ratios on either side; l_inf PGD finds the attack."""
    for kind in ("odd", "relu"):
        setting = replace(BASE, activation=kind, sampling="vectors")  # type: ignore[arg-type]
        edge = law.shift_ratio(setting)
        errors = []
        for ratio in (0.97 * edge, 1.03 * edge):
            engine = GramEngine(Runs.product([replace(setting, radius_ratio=ratio, noise_norm=1e-3)], [0]))
            engine.u[:] = 0.7 * engine.signs
            engine.u[:, 1:] = 0
            engine.v0 *= 0
            engine.A *= 0
            W = engine.filters(0)
            W[:, 2:] = 0
            engine.filters = lambda _run, W=W: W  # type: ignore[method-assign]
            errors.append(float(pgd_error(engine, "inf", samples=50)[0]))
        assert errors == [0.0, 1.0]


def test_a_memorized_filter_responds_to_an_l_inf_attack_as_stated() -> None:
    """delta ||w||_1 = rho c z in every patch, to leading order in d."""
    setting = replace(BASE, dim=20_000, radius_ratio=0.3)
    xi = setting.noise * np.random.default_rng(1).standard_normal(setting.dim)
    z = 1.7
    w = xi * z / (xi @ xi)
    c = setting.patches ** (-1 / setting.exponent) / law.linf_ratio(setting)
    assert setting.radius * np.abs(w).sum() == pytest.approx(0.3 * c * z, rel=0.02)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_errors_on_the_whole_input_are_those_of_the_direct_engine(norm: str) -> None:
    setting = replace(BASE, radius_ratio=0.88 if norm == "2" else 0.235, activation="relu", sampling="vectors")
    runs = Runs.product([setting], [0, 1])
    gram, direct = GramEngine(runs), DirectEngine(runs)
    for engine in (gram, direct):
        engine.advance(20)
    fresh = fresh_samples(runs, 400, torch.device("cpu"), learnable=True)
    assert not fresh.unlearnable.any()
    network = PatchCNN(direct.network.weights.detach(), 3.0, "relu")
    starts = torch.stack(
        [random_start(X, Budget(norm, setting.radius), torch_generator(np.random.SeedSequence([k, 20, 3])))  # type: ignore[arg-type]
         for k, X in enumerate(fresh.X)]
    )  # fmt: skip
    moved = pgd(
        lambda Z: -fresh.labels * network(Z), fresh.X, Budget(norm, setting.radius), steps=20,  # type: ignore[arg-type]
        step_size=setting.radius / 8, batch_dims=2, start=starts,
    )  # fmt: skip
    with torch.no_grad():
        wrong = (fresh.labels * network(moved) <= 0).double().mean(1).numpy()
    np.testing.assert_allclose(pgd_error(gram, norm, samples=400), wrong, atol=1e-9)  # type: ignore[arg-type]
    assert (wrong > 0.02).all()
    assert (wrong < 0.98).any()
    alone = GramEngine(Runs.product([setting], [1]))
    alone.advance(20)
    np.testing.assert_array_equal(pgd_error(alone, norm, samples=400), pgd_error(gram, norm, samples=400)[1:])  # type: ignore[arg-type]


def test_several_radii_are_refused() -> None:
    runs = Runs.product([replace(BASE, radius_ratio=r, sampling="vectors") for r in (0.1, 0.2)], [0])
    with pytest.raises(ValueError, match="several radii"):
        pgd_error(GramEngine(runs), "2", samples=5)
