"""Distillation on one axis: who is trained on what, and how far a network that teaches itself is from teachers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from tools import ROOT
from toy_configs import CONFIGS

from cgro.dynamics.blind_run import BlindRun, train_blind
from cgro.figures import distillation as figure
from cgro.plots.words import mean_interval
from cgro.runs import store
from cgro.simulations import distillation

CONFIG: distillation.Config = CONFIGS["distillation"]


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return distillation.run(CONFIG)


def test_runs_stand_where_they_belong(result: xr.Dataset) -> None:
    expected = {
        "labels": {},
        "margin 0.0": {"teacher_learnable": 10.0, "teacher_unlearnable": 0.0},
        "margin 2.0": {"teacher_learnable": 10.0, "teacher_unlearnable": 2.0},
        "momentum 0.5 from 0": {"ensembling_momentum": 0.5},
        "momentum 0.9 from 0": {"ensembling_momentum": 0.9},
        "momentum 0.5 from 15": {"ensembling_momentum": 0.5, "ensembling_start": 15},
        "momentum 0.9 from 15": {"ensembling_momentum": 0.9, "ensembling_start": 15},
    }
    assert result["arm"].values.tolist() == list(expected)
    for arm, changes in expected.items():
        setting = replace(CONFIG.setting, **changes)
        own = train_blind(BlindRun(setting, (0, 1), CONFIG.records, CONFIG.test_samples), lambda _done: None)
        for name in ("accuracy", "memorized", "target_entropy"):
            found = result[name].sel(arm=arm)
            np.testing.assert_array_equal(found.transpose(*own[name].dims), own[name])
        about = result[["margin", "momentum", "start"]].sel(arm=arm).reset_coords(drop=True)
        assert [None if np.isnan(each) else float(each) for each in about.data_vars.values()] == [
            changes.get("teacher_unlearnable"),
            changes.get("ensembling_momentum"),
            changes.get("ensembling_start", 0) if "ensembling_momentum" in changes else None,
        ]


def test_arms_share_data_and_weights_and_teachers_stand_where_they_are_put(result: xr.Dataset) -> None:
    start = result["accuracy"].isel(step=0)
    assert (start == start.isel(arm=0)).all()
    at = result["target_entropy"].sel(kind="unlearnable").mean("seed")
    assert (at.sel(arm="labels") == 0).all()
    np.testing.assert_allclose(at.sel(arm="margin 0.0"), np.log(2))
    np.testing.assert_allclose(at.sel(arm="margin 2.0"), 0.3653, atol=1e-4)
    own = result["training"] == "self"
    assert (at.where(own, drop=True).isel(step=0) == 0).all()
    assert (at.where(own, drop=True).isel(step=-1) > 0.1).all()


def ends(entropy: list[float], robust: list[list[float]]) -> xr.Dataset:
    """Labels, a teacher and a network that teaches itself, which end at this entropy and accuracy (arm, seed)."""
    shape = (3, len(robust[0]), 3)
    at = np.full((*shape, 2, 2), 0.9)
    at[:, :, -1, 1, 1] = robust
    targets = np.zeros((*shape, 2))
    targets[:, :, -1, 1] = np.array(entropy)[:, None]
    targets[:, :, -1, 0] = 7.0  # of learnable samples, which must not count
    coords = {
        "arm": ["labels", "margin 0.0", "momentum 0.9 from 0"], "step": [0, 5, 20], "part": ["train", "test"],
        "criterion": ["clean", "robust"], "kind": ["learnable", "unlearnable"], "seed": range(len(robust[0])),
    }  # fmt: skip
    nan = np.nan
    return xr.Dataset(
        {
            "accuracy": (("arm", "seed", "step", "part", "criterion"), at),
            "target_entropy": (("arm", "seed", "step", "kind"), targets),
            "training": ("arm", ["labels", "teacher", "self"]),
            "margin": ("arm", [nan, 0.0, nan]),
            "momentum": ("arm", [nan, nan, 0.9]),
            "start": ("arm", [nan, nan, 0.0]),
        },
        coords,
    )


OWN = "momentum 0.9 from 0"


def test_a_network_is_compared_with_teachers_of_its_entropy_on_its_own_data() -> None:
    found = ends([0.0, 0.6, 0.3], [[0.2, 0.0, 0.4], [1.0, 0.8, 0.8], [0.5, 0.1, 0.7]])
    by_end = figure.off_curve(found, OWN, figure.entropies(found))
    np.testing.assert_allclose(by_end, [-10, -30, 10])
    np.testing.assert_allclose(figure.averaged(found).sel(arm=OWN), 0.3 * 7.5 / 20)
    by_mean = figure.off_curve(found, OWN, figure.averaged(found))
    np.testing.assert_allclose(by_mean, [50 - 35, 10 - 15, 70 - 47.5])


def test_seeds_without_unlearnable_samples_are_left_out() -> None:
    found = ends([0.0, 0.6, 0.3], [[0.2, 0.0], [1.0, 0.8], [0.5, 0.1]])
    found["target_entropy"][:, 1] = np.nan
    np.testing.assert_allclose(figure.off_curve(found, OWN, figure.entropies(found)), [-10])


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([1.0, 2.0], "needs 3 seeds"),
        ([0.0, 1.0, -1.0, 0.5], "on the curve"),
        ([-20.0, -21.0, -22.0], "below"),
        ([20.0, 21.0, 22.0], "above"),
        ([-20.0, 21.0, 4.0], "undecided"),
        ([4.0, 5.0, 6.0], "above"),
        ([0.0, 6.0, 3.0], "undecided"),
    ],
)
def test_where_a_network_ends_is_said_by_the_whole_interval(differences: list[float], words: str) -> None:
    assert figure.place(np.array(differences)) == words


def test_the_table_counts_collapsed_runs_and_names_the_place() -> None:
    found = ends([0.0, 0.6, 0.3], [[0.2, 0.0, 0.1], [1.0, 0.8, 0.9], [0.3, 0.5, 0.4]])
    rows = figure.table(found).rows
    assert rows[0][:6] == ("labels", "0.000", "7.000", "10", "0 to 20", "3 of 3")
    assert rows[1][-1] == "-"
    assert rows[2][0] == "itself, momentum 0.9 from step 0"
    assert rows[2][5] == "2 of 3"
    assert rows[2][-1] == "undecided"
    assert [arms for _, arms, _ in figure.groups(found)] == [["labels"], ["margin 0.0"], [OWN]]
    assert [arm for arm, _ in figure.shown(found)] == ["labels", "margin 0.0", OWN]


@pytest.fixture(scope="module")
def published() -> xr.Dataset:
    return store.load(ROOT / "results" / "published" / "distillation-code-defaults.nc")


def collapsed(result: xr.Dataset, kind: str, start: float = np.nan) -> list[int]:
    """Collapsed runs of each margin or momentum, in order."""
    chosen = (result["training"] == kind) & (np.isnan(start) | (result["start"] == start))
    return [figure.collapsed(result, arm) for arm in result["arm"].values[chosen.values]]


def test_published_the_more_doubt_a_teacher_has_the_fewer_runs_collapse(published: xr.Dataset) -> None:
    """As the gallery and the ledger say."""
    assert published.sizes["seed"] == 24
    assert collapsed(published, "labels") == [21]
    assert collapsed(published, "teacher") == [0, 0, 0, 2, 8, 14, 19, 21, 21]
    assert published["margin"].values[1:10].tolist() == [0, 1, 1.5, 2, 2.5, 3, 4, 6, 10]


def test_published_networks_that_teach_themselves_are_not_on_the_curve_of_teachers(published: xr.Dataset) -> None:
    """At the same entropy at the end they are less robust, at the same mean entropy more, but from step 0."""
    assert collapsed(published, "self", 0) == [1, 24, 24, 24, 16]
    assert collapsed(published, "self", 500) == [0, 0, 0, 6, 14]
    assert collapsed(published, "self", 2000) == [0, 2, 7, 18, 19]
    at_end, on_average = figure.entropies(published), figure.averaged(published)
    own = published["arm"].values[(published["training"] == "self").values]
    places = [figure.place(figure.off_curve(published, arm, at_end)) for arm in own]
    curve, below = "on the curve", "below"
    assert places == [*[below] * 5, curve, curve, *[below] * 3, curve, *[below] * 4]
    for arm in own[5:]:
        low, reach = mean_interval(figure.off_curve(published, arm, on_average))
        assert low - reach > 0, arm
    doubt = figure.entropies(published, "learnable").sel(arm=own)
    assert (doubt[1:5] > 0.002).all()
    assert (doubt[5:] < 0.0005).all()
