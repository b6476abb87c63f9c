"""A traced diagram is the full diagram where it was trained, and encloses the same transitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.work import count_diverged
from cgro.dynamics.axes import Axis
from cgro.dynamics.critical_curve import sides, trace
from cgro.dynamics.phases import critical_ratio, grown_component, predicted_transition
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import train_pairs, train_patches
from cgro.simulations import finite_size, phase_diagram

SMALL = PatchSetting(samples=10, patches=2, dim=60, filters=8, steps=1500, learning_rate=0.2)
RATIO = Axis("radius_ratio", 0.6, 1.1, 21)
DIAGRAM = phase_diagram.Config(
    setting=SMALL, x=RATIO, y=Axis("noise_norm", 0.7, 1.4, 5), seeds=3, test_samples=64, records=4
)
AXES: dict[str, dict[str, Any]] = {
    "radius": {},
    "few samples last": {"y": Axis("samples", 6, 14, 4)},
    # Stronger signals end robust: the transition is the other way round.
    "signal": {"x": Axis("signal", 1.0, 4.0, 13), "setting": replace(SMALL, radius_ratio=0.85)},
    "no transition": {"x": Axis("radius_ratio", 0.1, 0.3, 5)},
}


@pytest.mark.parametrize("axes", AXES)
def test_a_trace_is_the_full_diagram_where_it_was_trained(axes: str) -> None:
    config = replace(DIAGRAM, **AXES[axes])
    full, traced = phase_diagram.run(config), phase_diagram.run(replace(config, trace=True))
    trained, trained_dims = np.isfinite(traced["robust_test_error"].values), ("y", "x", "seed")
    whole, some = trained.all(axis=2), trained.any(axis=2)
    for name in phase_diagram.PATHS:
        path = traced[f"{name}_path"].values
        np.testing.assert_allclose(path[whole], full[f"{name}_path"].values[whole], rtol=1e-6, atol=1e-12)
        assert (np.isfinite(path).all(axis=2) == some).all()
        np.testing.assert_allclose(full[f"{name}_path"].isel(step=-1), full[name].mean("seed"), rtol=1e-6, atol=1e-12)
    assert trained.mean() < 0.75
    for name in (each for each in full if full[each].dims == trained_dims):
        np.testing.assert_array_equal(traced[name].values[trained], full[name].values[trained])
    for mine, theirs in zip(sides(traced), sides(full), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert np.isfinite(sides(full)).any() == (axes != "no transition")
    assert count_diverged(traced) == (0, int(trained.sum()))
    assert int((traced["status"] == traced["status"].attrs["flag_meanings"].split().index("not_trained")).sum()) == int(
        (~trained).sum()
    )


def test_a_trace_goes_either_way() -> None:
    falling = replace(DIAGRAM, **AXES["signal"])
    robust, cgro = sides(phase_diagram.run(falling))
    assert (robust > cgro)[np.isfinite(robust)].all()


def test_a_transition_that_turns_back_is_refused() -> None:
    """Along the weight of the adversarial loss, 0 is robust for want of memory; here one line is reversed by hand."""
    lines = [SMALL, replace(SMALL, signal=0.5)]
    with pytest.raises(UserError, match="must turn from robust to CGRO along radius_ratio in all lines or in none"):
        _traced_with(lines, {0: [0.0, 0.5], 1: [0.5, 0.0]})


def test_a_run_that_diverges_is_named() -> None:
    with pytest.raises(UserError, match=r"the run at radius_ratio = 0.5 with seed 0 diverged, .*lower learning_rate"):
        _traced_with([SMALL], {0: [np.nan, 0.5]})


def _traced_with(lines: list[PatchSetting], errors: dict[int, list[float]]) -> None:
    """Trace two candidates whose errors are made up."""
    import cgro.dynamics.critical_curve as module

    def made_up(_context: object, pairs: Any, **_options: object) -> xr.Dataset:
        found = [errors[lines.index(replace(s, radius_ratio=None))][int(s.ratio > 0.7)] for s, _ in pairs]
        return xr.Dataset({"robust_test_error": (("run", "step"), np.array(found)[:, None])})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_pairs", made_up)
        trace(None, lines, "radius_ratio", [0.5, 0.9], range(1), test_samples=8)


def test_pairs_are_trained_as_in_a_sweep() -> None:
    settings = [replace(SMALL, radius_ratio=ratio, samples=n) for ratio, n in ((0.5, 6), (0.9, 8), (0.7, 6))]
    together = train_pairs(None, [(settings[0], 3), (settings[1], 1), (settings[2], 3)], test_samples=32)
    for run, (setting, seed) in enumerate([(settings[0], 3), (settings[1], 1), (settings[2], 3)]):
        alone = train_patches(setting, [seed], records=2, test_samples=32).isel(seed=0)
        for name in alone:
            np.testing.assert_array_equal(together[name].isel(run=run).values, alone[name].values)
    with pytest.raises(ValueError, match="the same number of steps"):
        train_pairs(None, [(SMALL, 0), (replace(SMALL, steps=7), 0)])


def test_the_first_turn_of_a_row_counts() -> None:
    error = [[[0.0], [0.1], [np.nan], [0.4], [0.0], [0.5]], [[0.5], [0.0], [0.0], [0.0], [0.0], [0.0]]]
    result = xr.Dataset({"robust_test_error": (("y", "x", "seed"), np.array(error))}, {"x": np.arange(6.0)})
    robust, cgro = sides(result)
    np.testing.assert_array_equal(robust[:, 0], [1, 1])
    np.testing.assert_array_equal(cgro[:, 0], [3, 0])


def test_the_predicted_transition_is_a_fixed_point() -> None:
    for setting in (SMALL, PatchSetting(dim=10_000), PatchSetting(noise_norm=2.0, samples=5)):
        ratio = predicted_transition(setting)
        assert critical_ratio(replace(setting, radius_ratio=ratio)) == pytest.approx(ratio, abs=1e-10)
        assert predicted_transition(replace(setting, radius_ratio=0.3)) == pytest.approx(ratio, abs=1e-10)


@pytest.mark.parametrize("exponent", [2.0, 2.5, 3.0, 4.0])
def test_a_component_grows_beside_the_largest(exponent: float) -> None:
    """Against Euler steps of du/dt = u^(q-1) until the largest is 1 / alpha."""
    setting = replace(SMALL, exponent=exponent)
    u = np.array([0.2, 0.13])
    while u[0] < 1 / setting.signal:
        u = u + 1e-5 * u ** (exponent - 1)
    assert grown_component(setting, 0.13, 0.2) == pytest.approx(u[1], rel=1e-3)
    assert grown_component(setting, 0.0, 0.2) == 0
    assert grown_component(setting, 0.3, 0.6) == 0.3


def test_each_seed_turns_where_it_does_in_a_diagram() -> None:
    config = finite_size.Config(
        setting=replace(SMALL, dim=100), sample_counts=(6, 10), dims=(30, 100), seeds=4, resolution=0.01, low=0.5,
        test_samples=64,
    )  # fmt: skip
    result = finite_size.run(config)
    assert list(zip(result["axis"].values, result["value"].values, strict=True)) == [
        ("samples", 6), ("samples", 10), ("dim", 30), ("dim", 100),
    ]  # fmt: skip
    np.testing.assert_allclose(result["cgro_side"] - result["robust_side"], 0.01, atol=1e-9)
    # N = 10 and d = 100 are the same line, reached in two ways.
    np.testing.assert_array_equal(result["cgro_side"].values[1], result["cgro_side"].values[3])
    line = config.lines[0].setting
    assert line.steps == 900
    ratios = np.array(config.ratios)
    whole = train_patches([replace(line, radius_ratio=r) for r in ratios[30:]], range(4), records=2, test_samples=64)
    first = np.argmax(whole["robust_test_error"].isel(step=-1).values >= 0.25, axis=0)
    np.testing.assert_array_equal(result["cgro_side"].values[0], ratios[30:][first])
    assert (result["runs"] < len(ratios) * 4 / 3).all()


def test_seeds_without_a_transition_are_nan() -> None:
    config = finite_size.Config(
        setting=SMALL, sample_counts=(10,), dims=(60,), seeds=3, low=0.1, high=0.3, resolution=0.1, test_samples=16
    )
    assert np.isnan(finite_size.run(config)["cgro_side"]).all()
