"""Methods on images of known truth: who is judged on what, the numbers of a plain computation, equal bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from toy_configs import CONFIGS

from cgro.attacks import evaluation
from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.base.randomness import at, spawn_streams
from cgro.data.atypical import tampered
from cgro.memorization.judged_methods import JUDGED, JudgedMethod, group_means, judge_method
from cgro.memorization.subset_models import Study
from cgro.memorization.treated_runs import GROUPS
from cgro.simulations import bat
from cgro.training.run import Own, TrainingRun
from cgro.training.sample_weights import effective_sample_size

TOY: bat.Config = CONFIGS["bat"]
CELLS: dict[str, JudgedMethod] = {name: TOY.cells[k * TOY.seeds] for k, name in enumerate(TOY.methods)}


def judged(name: str) -> xr.Dataset:
    return judge_method(CELLS[name], lambda _done: None)


def test_means_of_groups_are_those_of_their_kinds() -> None:
    kinds = np.array([0, 1, 2, 3, 0, 1])
    values = np.array([[1.0, 2, 4, 8, 3, 0], [0, 0, 0, 1, 0, 6]])
    means = group_means(values, kinds, JUDGED | {"mislabelled": GROUPS["mislabelled"]})
    np.testing.assert_allclose(means, [[2, 2, 2, 8], [1.2, 0, 2, 1]])
    np.testing.assert_array_equal(np.isnan(group_means(values, kinds[:1].repeat(6), JUDGED)[0]), [False, False, True])


def plain_run(cell: JudgedMethod) -> tuple[TrainingRun, xr.Dataset, Study]:
    """The same run, put together by hand: with its learning curves and images."""
    study = Study.of(cell.training, cell.tampering, tested=cell.images)
    stream = at(spawn_streams(cell.training.seed)["subset"], 3)
    held_out, kinds = tampered(study.data.held_out, replace(cell.tampering, mislabelled=0.0), 10, stream)
    assert np.bincount(kinds.numpy(), minlength=4)[1:].tolist() == [2, 2, 0]
    run = TrainingRun(cell.training, own=Own(prepared=replace(study.data, held_out=held_out, test=study.test)))
    return run, run.run(lambda _done: None), study


def test_a_run_is_judged_on_images_of_their_kinds_and_its_numbers_are_those_of_a_plain_loop() -> None:
    cell = CELLS["gairat"]
    cell = replace(cell, training=replace(cell.training, samples=60, epochs=4, cure_start=1, radius=0.03))
    found = judge_method(cell, lambda _done: None)
    run, _, study = plain_run(cell)
    np.testing.assert_array_equal(found["kind"].values, study.test_kinds.numpy())
    assert np.bincount(found["kind"].values, minlength=4).tolist() == [16, 2, 2, 0]
    model = run.trainer.evaluated.eval()
    with torch.no_grad():
        right = (model(study.test.scaled(study.test.pixels)).argmax(1) == study.test.labels).numpy()
        given = (model(study.train.scaled(study.train.pixels)).argmax(1) == study.train.labels).numpy()
    np.testing.assert_array_equal(found["correct"].sel(checkpoint="last", attack="clean").values, right)
    weights = run.weights
    assert weights is not None
    for trained in found["trained"].values:
        own = np.isin(study.kinds.numpy(), GROUPS[str(trained)])
        accuracy = found["train_accuracy"].sel(trained=trained)
        assert float(accuracy.sel(criterion="clean")) == pytest.approx(given[own].mean())
        assert float(accuracy.sel(criterion="perturbed")) <= given[own].mean()
        share = float(weights[torch.from_numpy(own)].mean() / weights.mean())
        assert float(found["weight"].sel(trained=trained)) == pytest.approx(share, rel=1e-5)
    size = effective_sample_size(weights)
    assert float(found["effective_share"][-1]) == pytest.approx(size / 60)
    assert 1 / 60 < size / 60 < 1
    for checkpoint in found["checkpoint"].values:  # what one attack breaks stays broken
        masks = found["correct"].sel(checkpoint=checkpoint).values
        assert not (masks[1:] & ~masks[:-1]).any()


def test_checkpoints_are_those_of_the_learning_curves() -> None:
    """The best epoch by held-out images, which are changed like test images; at one of the seeds it is not the last."""
    training, seen = replace(CELLS["adversarial"].training, epochs=8, samples=60, radius=0.03), []
    for seed in range(4):
        cell = replace(CELLS["adversarial"], training=replace(training, seed=seed))
        found, (_, curves, _) = judge_method(cell, lambda _done: None), plain_run(cell)
        assert int(found["best_epoch"]) == curves.attrs["best_epoch"]
        for checkpoint, epoch in (("best", curves.attrs["best_epoch"]), ("last", 8)):
            clean = found["correct"].sel(checkpoint=checkpoint, attack="clean").values.mean()
            assert clean == pytest.approx(float(curves["clean_test_accuracy"].sel(epoch=epoch)))
            seen.append(clean)
    assert any(best != last for best, last in zip(seen[::2], seen[1::2], strict=True))


def test_methods_share_images_and_the_same_seed_gives_the_same_bits() -> None:
    one = judged("bat")
    xr.testing.assert_identical(one, judged("bat"))
    for name in ("adversarial", "random-weights"):
        np.testing.assert_array_equal(judged(name)["kind"].values, one["kind"].values)
    other = replace(CELLS["bat"], training=replace(CELLS["bat"].training, seed=5))
    assert (judge_method(other, lambda _done: None)["kind"].values != one["kind"].values).any()


def test_methods_without_weights_have_no_effective_sample_size() -> None:
    for name in ("adversarial", "mart"):
        found = judged(name)
        assert np.isnan(found["effective_share"]).all()
        assert np.isnan(found["weight"]).all()
    assert np.isfinite(judged("random-weights")["effective_share"]).all()


def test_the_ensemble_gets_the_steps_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def tracing(budget: Budget, steps: int) -> AttackEnsemble:
        asked.append(steps)
        return AttackEnsemble(budget, steps)

    monkeypatch.setattr(evaluation, "AttackEnsemble", tracing)
    judge_method(replace(CELLS["adversarial"], ensemble_steps=3), lambda _done: None)
    assert asked == [3, 3]
