"""Phase times and the critical ratio: formulas against integration and root finding, detection on known curves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

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

    assert gap(samples=80) / gap() == pytest.approx(2)
    assert gap(adversarial_weight=0.25) / gap() == pytest.approx(2)
    assert gap(learning_rate=0.1) / gap() == pytest.approx(0.5)


def test_crossing_interpolates_in_log_time() -> None:
    step = np.array([0.0, 1, 10, 100, 1000])
    assert phases.crossing(step, np.array([0.0, 0, 1, 2, 3]), 1.5) == pytest.approx(10**1.5)
    assert phases.crossing(step, np.array([2.0, 2, 2, 2, 2]), 1.5) == 0
    assert math.isnan(phases.crossing(step, np.zeros(5), 1.5))


def test_detected_times_of_a_known_trajectory() -> None:
    step = np.arange(0, 1001)
    trajectory = xr.Dataset(
        {
            "largest_signal_component": ("step", step / 200),
            "noise_memorization_median": ("step", step / 500),
        },
        coords={"step": step},
    )
    times = phases.detected_times(trajectory, signal=2.0)
    assert times.signal == pytest.approx(100)
    assert times.onset == pytest.approx(50)
    assert times.memorized == pytest.approx(500)


def test_simulated_phase_times_are_near_the_predictions() -> None:
    setting = replace(BASE, patches=2, dim=400, learning_rate=0.1, steps=6000)
    runs = Runs.product([setting], range(6))
    result = phases.add_times(train(runs, records=60, test_samples=2, detail=False), list(runs.settings))
    predicted = phases.predicted_times(setting)
    assert float(result["T_0"].median()) == pytest.approx(predicted.signal, rel=0.6)
    assert float(result["T_1"].median()) == pytest.approx(predicted.memorized, rel=0.4)
    assert (result["T_0"] < result["T_n"]).all()
    assert (result["T_n"] < result["T_1"]).all()
