"""Phase times and the critical ratio: formulas against integration and root finding, detection on known curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from cgro.base.errors import UserError
from cgro.dynamics import phases
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import train

BASE = PatchSetting()


@given(rate=st.floats(1e-4, 10), q=st.floats(2, 5), start=st.floats(0.01, 0.5), factor=st.floats(1.1, 20))
def test_growth_time_integrates_the_equation(rate: float, q: float, start: float, factor: float) -> None:
    expected = quad(lambda u: 1 / (rate * u ** (q - 1)), start, factor * start)[0]
    assert phases.growth_time(rate, q, start, factor * start) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("q", [2.0, 2.0 + 5e-16, 2.0 + 1e-12, 2.0 + 1e-6])
def test_growth_time_is_continuous_at_exponent_2(q: float) -> None:
    assert phases.growth_time(1.0, q, 0.5, 1.0) == pytest.approx(np.log(2), rel=1e-5)


def test_growth_that_never_comes() -> None:
    assert phases.growth_time(0.0, 3, 0.1, 1) == math.inf
    assert phases.growth_time(-1.0, 3, 0.1, 1) == math.inf
    assert phases.growth_time(1.0, 3, 2.0, 1.0) == 0.0
    assert phases.memorization_time(replace(BASE, adversarial_weight=0.0)) == math.inf


@given(count=st.integers(2, 1000))
def test_largest_normal_is_the_median_of_the_maximum(count: int) -> None:
    assert norm.cdf(phases.largest_normal(count)) ** count == pytest.approx(0.5)


@given(
    noise_norm=st.floats(0.3, 2),
    samples=st.integers(10, 100),
    exponent=st.sampled_from([2.0, 2.5, 3.0]),
    weight=st.floats(0.1, 1.0),
)
def test_critical_ratio_solves_its_equation(noise_norm: float, samples: int, exponent: float, weight: float) -> None:
    setting = replace(
        BASE, noise_norm=noise_norm, samples=samples, exponent=exponent, adversarial_weight=weight, radius_ratio=0.95
    )
    rho, q = phases.critical_ratio(setting), exponent
    time = min(phases.memorization_time(setting), setting.steps) - phases.signal_time(setting)
    s = phases.stalled_signal(setting, time)
    left = setting.signal**2 * (1 - rho) ** q * s ** ((q - 2) / q)
    right = noise_norm**2 / samples * phases.initial_noise(setting) ** (q - 2)
    assert left == pytest.approx(right, rel=1e-9)


def test_reference_predictions() -> None:
    """Values of the measured table [M]: rho* ~ .91; with eta = .01, T_0 in 44..112 and T_1 in 17.2k..18.5k."""
    assert phases.critical_ratio(BASE) == pytest.approx(0.91, abs=0.01)
    slow = phases.predicted_times(replace(BASE, learning_rate=0.01))
    assert 44 < slow.signal < 112
    assert 17_200 < slow.memorized < 18_500


def test_predictions_scale_as_the_theory_says() -> None:
    def gap(**change: float) -> float:
        setting = replace(BASE, radius_ratio=0.98, **change)  # type: ignore[arg-type]
        return phases.memorization_time(setting) - phases.signal_time(setting)

    def alone(**change: float) -> float:
        """Steps that memorization would take if the clean loss drove it as long as the adversarial one does."""
        setting = replace(BASE, radius_ratio=0.98, **change)  # type: ignore[arg-type]
        return phases.signal_time(setting) + setting.adversarial_weight * gap(**change)

    assert gap(samples=80) / gap() == pytest.approx(2, rel=0.01)
    assert gap(adversarial_weight=0.25) / gap() == pytest.approx(2, rel=0.01)
    assert gap(learning_rate=0.1) / gap() == pytest.approx(0.5)
    assert alone(samples=80) / alone() == pytest.approx(2)
    assert alone(adversarial_weight=0.25) / alone() == pytest.approx(1)
    assert alone(learning_rate=0.1) / alone() == pytest.approx(0.5)


def test_memorization_does_not_wait_for_a_signal_that_hardly_grows() -> None:
    """At lambda = 1 both losses are one: the noise grows at the full rate from the first step on."""
    one = replace(BASE, adversarial_weight=1.0)
    full = phases.growth_time(phases.noise_rate(one), one.exponent, phases.initial_noise(one), 1.0)
    assert phases.signal_time(one) > 100 * full
    assert phases.memorization_time(one) == pytest.approx(full)
    times = phases.predicted_times(one)
    assert (times.signal, times.memorized) == (math.inf, pytest.approx(full))


@given(weight=st.floats(0.9, 1.0), ratio=st.floats(0.0, 1.0))
def test_memorization_time_falls_with_the_adversarial_weight_up_to_lambda_1(weight: float, ratio: float) -> None:
    setting = replace(BASE, radius_ratio=ratio, adversarial_weight=weight)
    time = phases.memorization_time(setting)
    assert phases.memorization_time(replace(setting, adversarial_weight=1.0)) <= time * (1 + 1e-12)
    assert time <= 1.2 * phases.memorization_time(replace(setting, adversarial_weight=1.0))


def test_predicted_times_of_the_reference_setting_near_lambda_1() -> None:
    """d < n: patches overlap, which speeds memorization up by a factor of about 1.4."""
    settings = [replace(BASE, adversarial_weight=w, steps=2000) for w in (0.99, 1.0)]
    result = train(Runs.product(settings, range(5)), records=2, test_samples=2, detail=False)
    for setting, measured in zip(settings, np.median(result["T_1"].values.reshape(2, 5), axis=1), strict=True):
        assert 1.0 < phases.predicted_times(setting).memorized / measured < 1.5


WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0)
RATIOS = (0.4, 0.75, 0.97, 1.0, 1.2)


def test_predicted_times_agree_with_simulation_for_every_weight_and_on_both_sides_of_the_critical_ratio() -> None:
    """T_1 within a factor 1.15 and T_0 within a factor 2 (or two steps) of the median over seeds; never where never."""
    base = PatchSetting(samples=20, filters=10, patches=2, dim=400, learning_rate=0.1, steps=8000)
    settings = [replace(base, adversarial_weight=w, radius_ratio=r) for w in WEIGHTS for r in RATIOS]
    settings += [replace(base, adversarial_weight=w, radius_ratio=2.0) for w in (0.05, 0.1)]
    runs = Runs.product(settings, range(7))
    result = train(runs, records=2, test_samples=2, detail=False)
    wrong = []
    for k, setting in enumerate(settings):
        predicted = phases.predicted_times(setting)
        for time, name, factor in ((predicted.signal, "T_0", 2.0), (predicted.memorized, "T_1", 1.15)):
            seen = result[name].values[7 * k : 7 * k + 7]
            measured = float(np.median(np.where(np.isnan(seen), np.inf, seen)))
            near = time / factor <= measured <= time * factor or abs(time - measured) <= 2
            if not near and not (time > base.steps and math.isinf(measured)):
                wrong.append((setting.adversarial_weight, setting.ratio, name, time, measured))
    assert wrong == []


@pytest.mark.parametrize("exponent", [2.0, 3.0])
@pytest.mark.parametrize(("signal", "noise_norm"), [(0.3, 4.0), (0.05, 4.0), (1e-3, 1.0), (2.0, 1e4)])
def test_noise_that_wins_for_every_radius_has_a_critical_ratio_of_0(
    exponent: float, signal: float, noise_norm: float
) -> None:
    setting = replace(BASE, signal=signal, noise_norm=noise_norm, exponent=exponent)
    assert phases.critical_ratio(setting) == 0.0
    assert phases.predicted_times(replace(setting, radius_ratio=0.0)).memorized < math.inf


@example(signal=1.0, noise_norm=1.0, samples=2, weight=2e-309, ratio=2.0, exponent=2.0)
@given(
    signal=st.floats(0.01, 20),
    noise_norm=st.floats(0.01, 20),
    samples=st.integers(1, 500),
    weight=st.floats(0, 1),
    ratio=st.floats(0, 3),
    exponent=st.sampled_from([2.0, 2.5, 3.0, 4.0]),
)
def test_the_critical_ratio_is_a_ratio(
    signal: float, noise_norm: float, samples: int, weight: float, ratio: float, exponent: float
) -> None:
    setting = PatchSetting(
        signal=signal,
        noise_norm=noise_norm,
        samples=samples,
        adversarial_weight=weight,
        radius_ratio=ratio,
        exponent=exponent,
    )
    assert 0 <= phases.critical_ratio(setting) <= 1
    times = phases.predicted_times(setting)
    assert times.signal >= 0
    assert times.memorized >= 0


def test_noise_is_memorized_whatever_the_radius_where_the_critical_ratio_is_0() -> None:
    setting = PatchSetting(signal=0.3, noise_norm=4.0, samples=20, patches=2, dim=400, radius_ratio=0.0, steps=2000)
    result = train(Runs.product([setting], range(3)), records=50, test_samples=64, detail=False).isel(step=-1)
    assert (result["noise_memorization_median"] > 1).all()
    assert (result["robust_test_error"] > 0.3).all()


def test_crossing_interpolates_in_log_time() -> None:
    step = np.array([0.0, 1, 10, 100, 1000])
    assert phases.crossing(step, np.array([0.0, 0, 1, 2, 3]), 1.5) == pytest.approx(10**1.5)
    assert phases.crossing(step, np.array([2.0, 2, 2, 2, 2]), 1.5) == 0
    assert math.isnan(phases.crossing(step, np.zeros(5), 1.5))


def test_simulated_phase_times_are_near_the_predictions() -> None:
    setting = replace(BASE, patches=2, dim=400, learning_rate=0.1, steps=6000)
    runs = Runs.product([setting], range(6))
    result = train(runs, records=2, test_samples=2, detail=False)
    predicted = phases.predicted_times(setting)
    assert float(result["T_0"].median()) == pytest.approx(predicted.signal, rel=0.6)
    assert float(result["T_1"].median()) == pytest.approx(predicted.memorized, rel=0.4)
    assert (result["T_0"] < result["T_n"]).all()
    assert (result["T_n"] < result["T_1"]).all()


@pytest.mark.parametrize("predict", [phases.critical_ratio, phases.predicted_times])
def test_predictions_are_of_training_on_labels(predict: Callable[[PatchSetting], object]) -> None:
    with pytest.raises(UserError, match="teacher_learnable must be None for predictions, got 2"):
        predict(PatchSetting(teacher_learnable=2.0))
    predict(PatchSetting(teacher_unlearnable=0.0))
