"""The image experiment at toy size: training, evaluation, its result, its errors and its figure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from cgro.base.errors import UserError
from cgro.figures import image_cgro as picture
from cgro.models.convolutional import SmallCNN
from cgro.plots import style
from cgro.simulations.image_cgro import EXPERIMENT, Config, run
from cgro.training.config import TrainingConfig
from cgro.training.run import VARIABLES, train_cell

TOY = Config(
    TrainingConfig(
        samples=40, held_out=0, evaluation_images=50, width=4, epochs=5, evaluate_every=2, attack_steps=2, device="cpu"
    ),
    seeds=2,
)


def changed(config: Config, **fields: Any) -> Config:
    """The configuration with other fields of its training."""
    return replace(config, training=replace(config.training, **fields))


@pytest.fixture(scope="module")
def toy() -> xr.Dataset:
    return run(TOY)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_network_normalizes_inside_and_keeps_samples_apart(size) -> None:
    state = torch.get_rng_state()
    model = SmallCNN(3, size, 10, 4, generator=torch.Generator().manual_seed(0))
    same = SmallCNN(3, size, 10, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())
    x = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(1))
    assert model(x).shape == (5, 10)
    assert torch.equal(model(x), same(x))
    torch.testing.assert_close(model(x)[:1], model(x[:1]))
    # Grey is where normalized pixels are 0, so only biases act, which are 0 at first.
    assert model(torch.full_like(x, 0.5)).abs().max() == 0
    assert 0.1 < model(x).std() < 10


def test_network_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UserError, match=r"size must be at least 5 .*got 4"):
        SmallCNN(1, 4, 10, 4)


def test_diverging_training_is_an_error_with_advice() -> None:
    with pytest.raises(UserError, match=r"diverged at step \d+, in epoch \d+: the loss is (nan|inf); lower the lear"):
        run(changed(TOY, learning_rate=1e6))


def test_result_is_labelled(toy) -> None:
    assert dict(toy.sizes) == {"seed": 2, "epoch": 4}
    assert toy["epoch"].values.tolist() == [1, 2, 4, 5]
    expected = {name for name in VARIABLES if "held_out" not in name} - {"effective_sample_size"}  # none has weights
    assert set(toy.data_vars) == expected | {"best_epoch"}
    for variable in (*toy.data_vars.values(), *toy.coords.values()):
        assert variable.attrs["long_name"]
        assert variable.attrs["units"]
    for name in picture.CURVES:
        assert toy[name].dims == ("seed", "epoch")
        assert ((toy[name] >= 0) & (toy[name] <= 1)).all()
    assert (toy["robust_test_accuracy"] <= toy["clean_test_accuracy"]).all()
    assert toy.attrs["test_images"] == 50
    assert "\n" not in EXPERIMENT.title


def test_runs_repeat_bit_by_bit_and_seeds_differ(toy) -> None:
    xr.testing.assert_identical(toy, run(TOY))
    assert (toy["train_loss"].isel(seed=0) != toy["train_loss"].isel(seed=1)).all()
    # Another run beside it changes nothing.
    xr.testing.assert_identical(toy.isel(seed=[0]), run(replace(TOY, seeds=1)))


def test_bits_do_not_depend_on_the_number_of_threads(toy) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        xr.testing.assert_identical(toy, run(TOY))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_cells_report_all_of_their_work() -> None:
    cell, done = TOY.runs[1], []
    train_cell(cell, done.append)
    assert sum(done) == pytest.approx(cell.work)
    assert cell.work == TOY.training.epochs


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("data", "svhn", ["'svhn'", "digits, mnist, cifar10"]),
        ("samples", 5, ["samples must be 10 to 1201", "got 5"]),
        ("samples", 1202, ["samples must be 10 to 1201", "got 1202"]),
        ("evaluation_images", 1, ["evaluation_images must be an integer from 10 to", "got 1"]),
        ("width", -1, ["width must be", "above 0", "got -1"]),
        ("epochs", 0, ["epochs must be an integer from 1 to", "got 0"]),
        ("seeds", 0, ["seeds must be an integer of at least 1, got 0"]),
        ("batch_size", -1, ["batch_size must be an integer from 1 to", "got -1"]),
        ("evaluation_steps", 2, ["evaluation_steps must be greater than attack_steps", "got 2"]),
        ("radius", 8.0, ["radius must be", "got 8", "8/255"]),
        ("radius", 0.0, ["radius must be above 0"]),
        ("radius", math.nan, ["radius must be finite, got nan"]),
        ("learning_rate", math.inf, ["learning_rate must be finite, got inf"]),
    ],
)
def test_impossible_configurations_are_named(field, value, parts) -> None:
    with pytest.raises(UserError) as error:
        replace(TOY, seeds=value) if field == "seeds" else changed(TOY, **{field: value})
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts)


def test_missing_devices_are_named() -> None:
    with pytest.raises(UserError, match="'tpu'"):
        run(changed(TOY, device="tpu"))


def test_presets_are_valid() -> None:
    assert Config.quick().training.data == "digits"
    assert Config.paper() != Config.quick()


def test_robust_overfitting_shows_on_digits() -> None:
    """A short run: clean test accuracy is high while the robust gap is open."""
    training = TrainingConfig(
        epochs=14, samples=200, held_out=0, width=16, evaluate_every=14, learning_rate=0.1, radius=0.1, device="cpu"
    )
    last = run(Config(training, seeds=1)).isel(epoch=-1, seed=0)
    assert last["clean_test_accuracy"] > 0.88
    assert last["robust_train_accuracy"] - last["robust_test_accuracy"] > 0.1


def test_figure_draws_the_result_and_its_numbers(toy, tmp_path) -> None:
    fig = picture.draw(toy)
    fig.savefig(tmp_path / "figure.png")
    (ax,) = fig.axes
    assert len(ax.lines) == 4
    np.testing.assert_allclose(ax.lines[0].get_ydata(), toy["clean_train_accuracy"].mean("seed"))
    header, rows = picture.numbers(toy)
    assert len(header) == len(rows[0]) == 13
    assert [row[0] for row in rows] == [1, 2, 4, 5]
    column = header.index("robust_test_accuracy_max")
    assert rows[-1][column] == toy["robust_test_accuracy"].isel(epoch=-1).max()
    gap = float((toy["robust_train_accuracy"] - toy["robust_test_accuracy"]).isel(epoch=-1).mean())
    assert picture.gaps(toy)["robust"] == pytest.approx(gap)
    assert f"{100 * gap:.1f} points" in picture.caption(toy)
    assert "2 seeds" in picture.caption(toy)


def test_labels_at_the_ends_of_curves_do_not_overlap() -> None:
    placed = style.spread({"a": 1.0, "b": 0.99, "c": 0.5, "d": 1.0})
    heights = sorted(placed.values())
    assert min(np.diff(heights)) >= style.SPACING - 1e-12
    assert placed["c"] == 0.5
