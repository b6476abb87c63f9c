"""Runs without atypical images and their controls: who is trained on what, and how accuracy is counted."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from toy_configs import CONFIGS

from cgro.base.randomness import at, spawn_streams
from cgro.data.tampering import KINDS
from cgro.figures import atypical_accuracy as accuracy_figure
from cgro.figures import atypical_harm as harm_figure
from cgro.memorization import treated_runs
from cgro.memorization.subset_models import Study
from cgro.memorization.treated_runs import GROUPS, TreatedRun, Treatment, train_treated, trained_on
from cgro.simulations import atypical_accuracy, atypical_harm
from cgro.training.run import Data, Own, TrainingRun

POOL = ("typical", "atypical")
HARM: atypical_harm.Config = CONFIGS["atypical-harm"]


class Keeping:
    """A context that keeps what it was asked for."""

    def __init__(self) -> None:
        self.cells: list[TreatedRun] = []
        self.found: dict[TreatedRun, xr.Dataset] = {}

    def map(self, function: Any, cells: Any) -> list[xr.Dataset]:
        self.cells += cells
        self.found |= {cell: function(cell, lambda _done: None) for cell in cells}
        return [self.found[cell] for cell in cells]


@given(st.integers(0, 200), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from(["atypical", "mislabelled"]))
def test_treatment_and_control_have_equally_many_images_of_each_label(seed: int, kept: float, group: str) -> None:
    rng = np.random.default_rng(seed)
    kinds, labels = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    stream = spawn_streams(seed)["subset"]
    treatment = Treatment(("typical", group), group, kept)
    treated = trained_on(kinds, labels, treatment, stream)
    control = trained_on(kinds, labels, replace(treatment, rule="control"), stream)
    np.testing.assert_array_equal(np.bincount(labels[treated], minlength=5), np.bincount(labels[control], minlength=5))
    own, pool = np.isin(kinds, GROUPS[group]), np.isin(kinds, [0, *GROUPS[group]])
    assert (kinds[treated | control] != 0).sum() <= own.sum()
    assert not (control & ~pool).any()
    np.testing.assert_array_equal(treated & ~own, kinds == 0)  # all typical images, and no others
    assert (treated & own).sum() == round(kept * own.sum())


def test_larger_fractions_keep_what_smaller_ones_keep() -> None:
    rng, stream = np.random.default_rng(0), spawn_streams(0)["subset"]
    kinds, labels = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    for rule in treated_runs.RULES:
        masks = [trained_on(kinds, labels, Treatment(POOL, "atypical", f, rule), stream) for f in (0.0, 0.4, 0.7, 1.0)]
        for small, large in itertools.pairwise(masks):
            assert not (small & ~large).any()
            assert small.sum() < large.sum()


def test_controls_leave_out_typical_images_too() -> None:
    rng, stream = np.random.default_rng(0), spawn_streams(0)["subset"]
    kinds, labels = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    control = trained_on(kinds, labels, Treatment(POOL, "atypical", 0.0, "control"), stream)
    out = kinds[~control & np.isin(kinds, (0, 1, 2))]
    assert {0, 1, 2} == set(out.tolist())
    other = trained_on(kinds, labels, Treatment(POOL, "atypical", 0.0, "control"), spawn_streams(1)["subset"])
    assert (control != other).any()


def test_other_seeds_leave_out_other_images() -> None:
    kinds, labels = np.tile([0, 1], 50), np.zeros(100, int)
    streams = [spawn_streams(seed)["subset"] for seed in (0, 1)]
    one, other = (trained_on(kinds, labels, Treatment(POOL, "atypical", 0.5), stream) for stream in streams)
    assert one.sum() == other.sum() == 75
    assert (one != other).any()


def test_groups_are_the_injected_ones() -> None:
    assert [KINDS[k] for k in GROUPS["atypical"]] == ["rotated", "blended"]
    assert {name: KINDS[GROUPS[name][0]] for name in ("typical", "mislabelled", "rotated", "blended")} == {
        "typical": "unchanged", "mislabelled": "mislabelled", "rotated": "rotated", "blended": "blended",
    }  # fmt: skip


@pytest.mark.parametrize("objective", ["adversarial", "standard"])
def test_accuracies_are_those_of_a_plain_computation(objective: Any) -> None:
    """Clean by a plain loop over the images; perturbed never above it; on all images, whether trained on or not."""
    training = replace(HARM.training, objective=objective, samples=60, epochs=3, width=4, radius=0.02)
    cell = TreatedRun(training, HARM.tampering, Treatment(POOL, "atypical", 0.5, "control"), 2)
    found = train_treated(cell, lambda _done: None)
    assert found["epoch"].values.tolist() == [2, 3]
    study = Study.of(training, cell.tampering)
    kinds, labels = study.kinds.numpy(), study.train.labels.numpy()
    stream = at(spawn_streams(training.seed)["subset"], 2)
    members = trained_on(kinds, labels, cell.treatment, stream)
    np.testing.assert_array_equal(found["histogram"].values, np.bincount(labels[members], minlength=10))
    data = replace(Data.of(training), train=study.train.take(torch.from_numpy(np.flatnonzero(members))))
    run = TrainingRun(training, own=Own(prepared=data))
    run.run(lambda _done: None)
    model = run.trainer.evaluated.eval()
    most = training.evaluation_images
    for part, images, of in (("train", study.train, study.kinds), ("test", study.test, study.test_kinds)):
        with torch.no_grad():
            right = (model(images.scaled(images.pixels)).argmax(1) == images.labels).numpy()
        for group, those in GROUPS.items():
            chosen = np.concatenate([np.flatnonzero(of.numpy() == k)[:most] for k in those])
            value = found["accuracy"].sel(part=part, group=group, epoch=3)
            if len(chosen):
                assert float(value.sel(criterion="clean")) == pytest.approx(right[chosen].mean())
                assert float(value.sel(criterion="perturbed")) <= float(value.sel(criterion="clean"))
            else:
                assert (part, group) == ("test", "mislabelled")
                assert np.isnan(value).all()
    assert (found["accuracy"].sel(criterion="perturbed") < found["accuracy"].sel(criterion="clean")).any()


@pytest.fixture(scope="module")
def harm() -> tuple[xr.Dataset, Keeping]:
    context = Keeping()
    return atypical_harm.run(HARM, context), context


def test_harm_compares_equal_numbers_and_shares_equal_runs(harm: tuple[xr.Dataset, Keeping]) -> None:
    result, context = harm
    assert len(set(context.cells)) == len(context.cells) == 2 * 2 * (1 + 2 * 2)
    assert result["train_images"].values.tolist() == [[28, 36], [28, 32]]
    at = result["accuracy"]
    xr.testing.assert_identical(
        at.sel(fraction=1, rule="treatment", drop=True), at.sel(fraction=1, rule="control", drop=True)
    )
    none = at.sel(fraction=0, rule="treatment", drop=True)
    xr.testing.assert_equal(none.sel(added="atypical", drop=True), none.sel(added="mislabelled", drop=True))
    for cell in context.cells:
        twin = replace(cell, treatment=replace(cell.treatment, rule="treatment"))
        if cell.treatment.rule == "control":
            twin = replace(cell, treatment=Treatment(("typical",)))
            np.testing.assert_array_equal(context.found[cell]["histogram"], context.found[twin]["histogram"])
    cell = HARM.cell_of("standard", 1, "mislabelled", "control", 0)
    own = context.found[cell]["accuracy"].isel(epoch=-1).sel(part="test", group="typical").values
    stored = at.sel(training="standard", added="mislabelled", rule="control", fraction=0, judged="typical", seed=1)
    np.testing.assert_array_equal(stored.values, own)


def test_both_methods_are_judged_by_the_same_attack() -> None:
    methods = HARM.methods
    assert methods["standard"].objective == "standard"
    assert methods["standard"].stronger == methods["adversarial"].stronger
    many = replace(HARM, training=replace(HARM.training, attack_steps=9, evaluation_steps=2)).methods
    assert many["standard"].stronger == many["adversarial"].stronger


def test_accuracy_runs_have_all_images_or_equally_many() -> None:
    config: atypical_accuracy.Config = CONFIGS["atypical-accuracy"]
    context = Keeping()
    result = atypical_accuracy.run(config, context)
    assert result["train_images"].values.tolist() == [40, 32, 32]
    cell = config.cell_of("standard", 1, "without random")
    found = context.found[cell]["accuracy"]
    stored = result["accuracy"].sel(training="standard", trained="without random", seed=1)
    np.testing.assert_array_equal(stored.values, found.values)


def effects(values: np.ndarray) -> xr.Dataset:
    """A result of harm with these accuracies (rule, fraction) and three seeds that differ by a level above all."""
    levels = np.array([0.5, 0.6, 0.7]) + np.array([[0.001, 0, -0.001]] * 2)[:, None]
    at = values[..., None] + levels
    dims = ("training", "added", "rule", "fraction", "criterion", "judged", "seed")
    coords = {
        "training": ["adversarial"], "added": ["atypical"], "rule": ["treatment", "control"], "fraction": [0.0, 1.0],
        "criterion": ["clean"], "judged": ["typical"], "seed": [0, 1, 2],
    }  # fmt: skip
    accuracy = (dims, at[None, None, :, :, None, None])
    return xr.Dataset({"accuracy": accuracy}, coords, {"objective": "adversarial"})


def test_the_table_says_harm_where_accuracy_falls() -> None:
    result = effects(np.array([[0.05, 0.0], [0.01, 0.0]]))
    row = harm_figure.table(result).rows[0]
    assert row[3] == "65.0 / 60.0"
    assert row[4].startswith("-5.0")
    assert row[5].startswith("-1.0")
    assert row[6].startswith("+4.0")
    assert row[7:] == ("yes", "yes")
    gains = harm_figure.table(effects(np.array([[-0.05, 0.0], [0.01, 0.0]]))).rows[0]
    assert gains[7:] == ("no", "no")


def test_gains_are_paired_by_seed() -> None:
    base = np.array([0.2, 0.5, 0.7])
    at = np.stack([base + 0.1, base, base + 0.02])[None, :, :, None, None, None, None]
    result = xr.Dataset(
        {"accuracy": (("training", "trained", "seed", "criterion", "part", "group", "epoch"), at)},
        {
            "training": ["standard"], "trained": list(atypical_accuracy.TRAINED), "seed": [0, 1, 2],
            "criterion": ["clean"], "part": ["test"], "group": ["atypical"], "epoch": [4],
        },
    )  # fmt: skip
    np.testing.assert_allclose(accuracy_figure.brought(result, "standard", "clean", "all"), 10)
    np.testing.assert_allclose(accuracy_figure.brought(result, "standard", "clean", "without random"), 2)


def test_every_judgement_draws_its_own_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    streams, right = [], treated_runs._right

    def watched(*arguments: Any) -> Any:
        streams.append(arguments[-1].generate_state(4).tolist())
        return right(*arguments)

    monkeypatch.setattr(treated_runs, "_right", watched)
    training = replace(HARM.training, epochs=3)
    cell = TreatedRun(training, HARM.tampering, Treatment(POOL, "atypical", 0.5), every=1)
    train_treated(cell, lambda _done: None)
    assert len(streams) == 3 * len(cell.parts)
    assert len({tuple(each) for each in streams}) == len(streams)
