"""Every experiment of the patch model at toy size: named dimensions, units, and the effect it is about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from cgro.base.errors import UserError
from cgro.dynamics.axes import Axis, vary
from cgro.dynamics.setting import PatchSetting
from cgro.runs.registry import find, find_all
from cgro.simulations import activation, attack, dimension, phase_diagram, phase_transition, training_objective

SMALL = PatchSetting(samples=10, patches=2, dim=60, filters=8, steps=1500, learning_rate=0.2)
ERRORS = ("clean_train_error", "clean_test_error", "robust_train_error", "robust_test_error")


@pytest.mark.parametrize("name", sorted(find_all("experiment")))
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_presets_are_valid_and_fields_are_documented(name: str, preset: str) -> None:
    config = getattr(find("experiment", name).Config, preset)()
    assert len({config, getattr(type(config), preset)()}) == 1, "a configuration is no value"
    assert config.__doc__
    assert find("experiment", name).title


def test_phase_transition_goes_through_the_phases_in_order() -> None:
    config = phase_transition.Config(setting=SMALL, seeds=3, records=40, test_samples=512)
    result = phase_transition.run(config)
    assert result["noise_memorization"].dims == ("seed", "step", "sample")
    assert result["signal_component"].dims == ("seed", "step", "filter")
    assert (result["T_0"] < result["T_n"]).all()
    assert (result["T_n"] < result["T_1"]).all()
    last = result.isel(step=-1)
    assert (last["robust_train_error"] == 0).all()
    assert (last["clean_test_error"] < 0.02).all()
    assert (last["robust_test_error"] > 0.4).all()
    assert all(v.attrs["units"] for name, v in result.data_vars.items() if name not in ("status",))


def test_phase_diagram_puts_values_where_the_axes_say() -> None:
    axes = {"x": Axis("radius_ratio", 0.3, 1.0, 3), "y": Axis("samples", 6, 10, 2)}
    config = phase_diagram.Config(setting=SMALL, seeds=2, test_samples=256, **axes)
    result = phase_diagram.run(config)
    assert result["robust_test_error"].dims == ("y", "x", "seed")
    assert list(result["y"].values) == [6.0, 10.0]
    setting = vary(vary(SMALL, "radius_ratio", 1.0), "samples", 6)
    alone = phase_transition.run(phase_transition.Config(setting=setting, seeds=2, records=2, test_samples=256))
    cell = result.sel(x=1.0, y=6.0)
    for name in (*ERRORS, "signal_margin", "noise_memorization_mean"):
        np.testing.assert_array_equal(cell[name].values, alone[name].isel(step=-1).values)


def test_phase_diagram_separates_robust_from_cgro() -> None:
    config = phase_diagram.Config(
        setting=SMALL, x=Axis("radius_ratio", 0.3, 1.0, 2), y=Axis("noise_norm", 1.0, 1.2, 2), seeds=2, test_samples=256
    )
    error = phase_diagram.run(config)["robust_test_error"].mean(["y", "seed"])
    assert float(error.sel(x=0.3)) < 0.02
    assert float(error.sel(x=1.0)) > 0.4


def test_standard_training_does_not_memorize() -> None:
    config = training_objective.Config(setting=SMALL, weights=(0.0, 0.5), seeds=3, records=5, test_samples=256)
    last = training_objective.run(config).isel(step=-1)
    assert last["noise_memorization_mean"].dims == ("weight", "seed")
    assert float(abs(last["noise_memorization_mean"].sel(weight=0.0)).max()) < 0.3
    assert float(last["noise_memorization_mean"].sel(weight=0.5).min()) > 1.0


def test_every_activation_memorizes() -> None:
    config = activation.Config(
        setting=replace(SMALL, steps=8000), odd=(2.0, 3.0), relu=(3.0,), seeds=2, records=3, test_samples=256
    )
    result = activation.run(config)
    assert list(result["activation"].values) == ["odd-2", "odd-3", "relu-3"]
    assert (result["robust_train_error"].isel(step=-1) == 0).all()


def test_dimension_leaves_signal_and_memory_alone() -> None:
    config = dimension.Config(setting=replace(SMALL, dim=100), dims=(60, 10**6), seeds=3, records=3, test_samples=256)
    last = dimension.run(config).isel(step=-1).mean("seed")
    assert float(abs(last["noise_memorization_mean"].diff("dim") / last["noise_memorization_mean"].max()).max()) < 0.3
    assert float(last["noise_response_std"].sel(dim=10**6)) < float(last["noise_response_std"].sel(dim=60))


def test_attack_judges_each_training_by_each_attack() -> None:
    config = attack.Config(
        setting=replace(SMALL, sampling="vectors", steps=300, learning_rate=1.0),
        trainings=(attack.Training("worst"), attack.Training("pgd-l2", 0.25)),
        seeds=2,
        records=2,
        test_samples=50,
    )
    last = attack.run(config).isel(step=-1).mean("seed")
    inside = {"evaluation": "inside A"}
    full = {"evaluation": "l2 PGD, 0.25 alpha"}
    assert float(last["train_error"].sel(training="worst", **inside)) == 0
    assert float(last["test_error"].sel(training="worst", **inside)) > 0.3
    assert float(last["test_error"].sel(training="worst", **full)) > 0.3
    assert float(last["test_error"].sel(training="pgd-l2, 0.25 alpha", **full)) < 0.1


def test_attack_refuses_draws_without_patches() -> None:
    with pytest.raises(UserError, match="sampling must be vectors, got 'gram': PGD needs the patches"):
        attack.Config(setting=PatchSetting(dim=400, sampling="gram"))


def test_axes_of_a_diagram_must_differ() -> None:
    axis = Axis("radius_ratio", 0.5, 1.0, 3)
    with pytest.raises(UserError, match="axes x and y must differ, got radius_ratio for both"):
        phase_diagram.Config(x=axis, y=axis)


def test_more_seeds_do_not_change_the_first() -> None:
    def run(seeds: int) -> xr.Dataset:
        config = phase_transition.Config(setting=replace(SMALL, steps=50), seeds=seeds, records=5, test_samples=64)
        return phase_transition.run(config)

    xr.testing.assert_identical(run(1), run(3).isel(seed=[0]))
