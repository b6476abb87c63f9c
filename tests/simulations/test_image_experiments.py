"""Experiments on images at toy size: the effect each is about, labels, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from cgro.base.errors import UserError
from cgro.figures import flatness as flatness_figure
from cgro.figures import image_phases as phases_figure
from cgro.figures import robust_overfitting as overfitting_figure
from cgro.figures import width_sweep as sweep_figure
from cgro.simulations import flatness, image_phases, robust_overfitting, width_sweep
from cgro.training.config import TrainingConfig


def labelled(result: xr.Dataset) -> bool:
    return all(v.attrs["long_name"] and v.attrs["units"] for v in result.data_vars.values())


def test_robust_overfitting_shows_on_noisy_digits() -> None:
    quick = robust_overfitting.Config.quick()
    sizes = {"samples": 100, "held_out": 50, "epochs": 40, "evaluation_images": 100}
    training = replace(quick.training, **sizes, device="cpu", evaluate_every=8)
    config = robust_overfitting.Config(training, seeds=1)
    result = robust_overfitting.run(config)
    assert labelled(result)
    assert result["robust_test_accuracy"].dims == ("seed", "epoch")
    last = result.isel(epoch=-1, seed=0)
    assert last["robust_train_accuracy"] - last["robust_test_accuracy"] > 0.15
    best, end = overfitting_figure.best_and_last(result)
    held_out = result["robust_held_out_accuracy"].isel(seed=0)
    assert held_out.sel(epoch=int(result["best_epoch"][0])) == held_out.max()
    assert best[0] == result["robust_test_accuracy"].isel(seed=0).sel(epoch=int(result["best_epoch"][0]))
    assert end[0] == last["robust_test_accuracy"]
    assert f"{100 * best[0]:.1f} %" in overfitting_figure.caption(result)


def test_narrow_networks_answer_the_same_and_wide_ones_memorize() -> None:
    training = replace(width_sweep.Config.quick().training, samples=150, epochs=24, evaluate_every=24)
    result = width_sweep.run(width_sweep.Config(replace(training, evaluation_images=100), seeds=1, widths=(1, 16)))
    assert labelled(result)
    narrow, wide = result.isel(width=0, seed=0), result.isel(width=1, seed=0)
    assert narrow["clean_test_accuracy"] < 0.15
    assert wide["robust_train_accuracy"] > 0.75
    assert wide["robust_train_accuracy"] - wide["robust_test_accuracy"] > 0.15
    assert wide["parameters"] > 100 * narrow["parameters"]
    assert sweep_figure.numbers(result)[1][1][0] == 16


def test_the_loss_is_flat_inside_the_training_radius_around_training_images() -> None:
    training = replace(flatness.Config.quick().training, samples=150, epochs=20, evaluation_images=60)
    config = flatness.Config(training, seeds=1, at_epochs=(1, 20), ratios=(0.5, 1.0, 2.0))
    result = flatness.run(config)
    assert labelled(result)
    rise = result["rise"].isel(seed=0)
    last = rise.sel(epoch=20)
    assert last.sel(part="train", ratio=1.0) < 0.5 * last.sel(part="test", ratio=1.0)
    assert last.sel(part="train", ratio=2.0) > 5 * last.sel(part="train", ratio=1.0)
    # A ball of twice the radius holds the smaller one, and the search keeps the best point found.
    assert (rise.diff("ratio") >= 0).all()
    assert last.sel(part="train", ratio=0.5) < rise.sel(epoch=1, part="train", ratio=0.5)
    assert len(flatness_figure.numbers(result)[1]) == 12


def test_the_phases_come_in_order() -> None:
    training = replace(image_phases.Config.quick().training, epochs=30, evaluation_images=100, samples=200)
    config = image_phases.Config(training, seeds=1, points=12)
    result = image_phases.run(config)
    assert labelled(result)
    assert float(result["T_0"][0]) < 0.5 * float(result["T_1"][0])
    first, last = result.isel(seed=0, step=0), result.isel(seed=0, step=-1)
    assert abs(float(first["memorized"])) < 0.2
    assert last["memorized"] > 1
    assert last["attacked_loss_train"] < 0.6 * last["attacked_loss_unseen"]
    np.testing.assert_allclose(result["memorized"], result["attacked_margin_train"] - result["attacked_margin_unseen"])
    assert "Phase I ends at step T_0 =" in phases_figure.caption(result)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: width_sweep.Config(widths=(2,)), "widths must be two or more, positive and increasing, got .2."),
        (lambda: width_sweep.Config(widths=(4, 2)), "widths must be two or more, positive and increasing"),
        (lambda: width_sweep.Config(seeds=0), "seeds must be an integer of at least 1, got 0"),
        (lambda: width_sweep.Config(widths=(0, 1)), "widths must be two or more, positive and increasing"),
        (
            lambda: flatness.Config(TrainingConfig(norm="2", radius=0.5)),
            "norm must be inf, .*got '2'",
        ),
        (lambda: flatness.Config(ratios=(0.0, 1.0)), "ratios must be one or more, positive and increasing"),
        (lambda: flatness.Config(at_epochs=(5, 50)), "increasing within 1 to 40"),
        (lambda: flatness.Config(search_steps=0), "search_steps must be at least 1, got 0"),
        (lambda: image_phases.Config(points=2), "points must be .*got 2"),
        (lambda: image_phases.Config(TrainingConfig(samples=None)), "samples must be given, got None"),
        (lambda: image_phases.Config(TrainingConfig(label_noise=0.1)), "label_noise must be .*got 0.1"),
        (lambda: robust_overfitting.Config(TrainingConfig(held_out=0)), "to choose the best checkpoint by"),
        (lambda: robust_overfitting.Config(seeds=0), "seeds must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_configurations_are_named(make, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_narrow_networks_train_if_the_radius_rises() -> None:
    """The constant answer is a matter of optimization, not of capacity."""
    sizes = {"samples": 200, "epochs": 18, "attack_steps": 4, "evaluation_images": 100}
    training = replace(width_sweep.Config.quick().training, **sizes, evaluate_every=18)
    found = {
        share: width_sweep.run(width_sweep.Config(replace(training, radius_warmup=share), seeds=1, widths=(4, 6))).isel(
            seed=0
        )
        for share in (0.0, 0.8)
    }
    assert (found[0.0]["robust_train_accuracy"] < 0.15).all()
    assert (found[0.8]["robust_train_accuracy"] > 0.35).all()
    assert (found[0.8]["clean_test_accuracy"] > 0.8).all()


def test_the_phases_need_images_that_are_left() -> None:
    config = image_phases.Config(replace(image_phases.Config.quick().training, samples=1190), seeds=1)
    with pytest.raises(UserError, match=r"samples must leave at least 50 images, .*got 1190, which leaves 11"):
        image_phases.run(config)
