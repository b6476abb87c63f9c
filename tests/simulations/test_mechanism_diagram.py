"""Two causes of robust overfitting: cells of the experiment, and what the published result says of its predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from tools import ROOT
from toy_configs import CONFIGS

from cgro.dynamics import two_mechanisms as law
from cgro.figures import two_mechanisms as figure
from cgro.runs import store
from cgro.simulations.two_mechanisms import Config, run

TOY: Config = CONFIGS["two-mechanisms"]


def test_a_cell_does_not_depend_on_the_others() -> None:
    whole = run(TOY)
    assert whole["error"].dims == ("fraction", "ratio", "seed", "step", "evaluation")
    one = run(replace(TOY, ratios=TOY.ratios[1:2], fractions=TOY.fractions[1:]))
    xr.testing.assert_equal(one, whole.sel(ratio=list(TOY.ratios[1:2]), fraction=list(TOY.fractions[1:])))
    assert whole["T_u"].sel(fraction=0.0).isnull().all()
    assert (whole["unlearnable_samples"].sel(fraction=0.0) == 0).all()
    # The ball of l_2 contains what an attack inside A may do, and that of l_inf the ball of l_2.
    last = whole["error"].isel(step=-1)
    assert (last.sel(evaluation="l2 PGD") >= last.sel(evaluation="clean") - 0.15).all()


def test_a_run_that_diverges_has_no_time() -> None:
    wild = run(replace(TOY, setting=replace(TOY.setting, learning_rate=1e120), ratios=(0.3,), fractions=(0.2,)))
    assert (wild["status"] == 2).all()
    assert wild["T_u"].isnull().all()
    assert wild["error"].isel(step=-1).isnull().all()


@pytest.fixture(scope="module")
def published() -> xr.Dataset:
    return store.load(ROOT / "results" / "published" / "two-mechanisms-paper.nc")


def test_published_without_unlearnable_samples_only_large_radii_fail(published: xr.Dataset) -> None:
    edges = figure.boundaries(published)
    none = figure.collapsed(published).sel(fraction=0.0)
    small = none["ratio"] < 0.9 * edges["shift"]
    assert not none.sel(evaluation="l_inf PGD").where(small, 0).any()
    assert none.sel(evaluation="l_inf PGD").where(none["ratio"] > edges["shift"], 1).all()
    assert not none.sel(evaluation="inside A").where(none["ratio"] < 0.9 * edges["rho*"], 0).any()


def test_published_memorized_samples_fail_within_a_factor_of_the_predicted_ratio(published: xr.Dataset) -> None:
    share = figure.collapsed(published).sel(evaluation="l_inf PGD").mean("seed")
    ratios, predicted = published["ratio"].values, figure.boundaries(published)["linf"]
    for p in (0.05, 0.1, 0.2):
        row = share.sel(fraction=p).values
        k = int(np.flatnonzero(row >= 0.5)[0])
        assert 1 / 2 < np.sqrt(ratios[k] * ratios[k - 1]) / predicted < 2, p
    # They withstand an attack inside A at every radius below rho*.
    inside = figure.collapsed(published).sel(evaluation="inside A")
    assert not inside.where(inside["ratio"] < 0.9, 0).any()


def test_published_runs_collapse_when_and_as_often_as_predicted(published: xr.Dataset) -> None:
    ratio = figure.between(published)
    assert ratio == 0.17
    for p, count, runs, probability in figure.shares(published, ratio):
        assert abs(count - runs * probability) <= 2, p
    times = published["T_u"].sel(ratio=ratio).fillna(np.inf).median("seed")
    for p in (0.02, 0.05, 0.1, 0.2, 0.4):
        predicted = law.collapse_time(figure.setting(published, p, ratio))
        assert 1 / 1.5 < float(times.sel(fraction=p)) / predicted < 1.5
    onsets = figure.onsets(published, ratio)
    assert len(onsets) >= 50
    assert 0.9 < np.median(onsets) < 1.3
