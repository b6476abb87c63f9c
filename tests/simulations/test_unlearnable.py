"""Unlearnable samples: who is trained on what, and how collapsed runs are counted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from toy_configs import CONFIGS

from cgro.dynamics.blind_run import BlindRun, train_blind
from cgro.figures import unlearnable as figure
from cgro.simulations import unlearnable

CONFIG: unlearnable.Config = CONFIGS["unlearnable"]


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return unlearnable.run(CONFIG)


def test_runs_stand_where_they_belong(result: xr.Dataset) -> None:
    margins = {"none": (None, None), "confident": (10.0, 10.0), "ignorant": (10.0, 0.0)}
    for teacher, expected in margins.items():
        for fraction in CONFIG.fractions:
            setting = CONFIG.setting_of(teacher, fraction)
            assert (setting.teacher_learnable, setting.teacher_unlearnable, setting.unlearnable) == (
                *expected,
                fraction,
            )
            own = train_blind(BlindRun(setting, (0, 1), CONFIG.records, CONFIG.test_samples), lambda _done: None)
            for name in ("accuracy", "memorized"):
                found = result[name].sel(teacher=teacher, fraction=fraction)
                np.testing.assert_array_equal(found.transpose(*own[name].dims), own[name])


def test_teachers_share_data_and_weights(result: xr.Dataset) -> None:
    start = result["accuracy"].isel(step=0)
    assert (start == start.isel(teacher=0)).all()
    entropies = dict(zip(result["teacher"].values.tolist(), result["entropy"].values.tolist(), strict=True))
    assert entropies["none"] == 0 < entropies["confident"] < 0.001 < entropies["ignorant"] == pytest.approx(np.log(2))


def ends(robust: list[float]) -> xr.Dataset:
    """A result in which these seeds of adversarial training end at this robust test accuracy."""
    at = np.ones((1, 3, len(robust), 2, 2, 2))
    at[0, 1, :, -1, 1, 1] = robust
    at[0, 1, :, 0, 1, 1] = 0.0
    at[..., 1, 0] = 0.9
    dims = ("teacher", "fraction", "seed", "step", "part", "criterion")
    coords = {
        "teacher": ["none"], "fraction": [0.0, 0.1, 1.0], "step": [0, 5], "part": ["train", "test"],
        "criterion": ["clean", "robust"],
    }  # fmt: skip
    return xr.Dataset({"accuracy": (dims, at)}, coords)


def test_runs_that_end_below_one_half_have_collapsed() -> None:
    found = ends([0.0, 0.49, 0.5, 0.9, 0.95])
    assert figure.collapsed(found, "none", 0.1) == 2
    assert [row[-1] for row in figure.table(found).rows] == ["none", "some", "none"]
    assert figure.table(found).rows[1][:7] == ("adversarial training", "0.1", "90", "50", "0 to 95", "100", "2 of 5")
    assert figure.table(ends([0.1, 0.2])).rows[1][-1] == "all"


def test_curves_are_of_the_largest_mixture() -> None:
    assert figure.shown(ends([1.0])) == 0.1
    assert figure.shown(ends([1.0]).assign_coords(fraction=[0.05, 0.2, 1.0])) == 0.2
    assert figure.shown(ends([1.0]).sel(fraction=[0.0])) == 0.0
