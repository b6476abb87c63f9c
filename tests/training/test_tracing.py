"""Traced runs: what is recorded of each image, whose data it is, and that recording changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from toy_configs import TINY

from cgro.base.work import Progress
from cgro.training.config import TrainingConfig
from cgro.training.observers import Observer, Seen
from cgro.training.run import Data, Own, TrainingRun, train_cell
from cgro.training.tracing import Trace, Traced, packed, trace, unpacked

TOY = replace(TINY, label_noise=0.5, epochs=4, width=4, batch_size=16, learning_rate=0.2, seed=5)
CELL = Traced(TOY, 5, 2)


@pytest.fixture(scope="module")
def traced() -> xr.Dataset:
    return trace(CELL, lambda _done: None)


@dataclass(frozen=True)
class Spy(Observer):
    """Keeps everything."""

    seen: list[Seen] = field(default_factory=list)

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        self.seen.append(seen)
        return {}


def test_losses_and_fitted_images_are_those_of_the_updates(traced: xr.Dataset) -> None:
    spy = Spy()
    TrainingRun(TOY, own=Own(observers=(spy,))).run(lambda _done: None)
    losses, fitted, visits = np.zeros(40), np.zeros((40, 4), bool), np.zeros((40, 4), int)
    for seen in spy.seen:
        assert seen.attacked is not None
        each = -seen.attacked.log_softmax(1).gather(1, seen.batch.y[:, None])[:, 0]
        for k, image in enumerate(seen.batch.indices.tolist()):
            epoch = seen.batch.epoch
            visits[image, epoch] += 1
            losses[image] += float(each[k]) * (epoch < 2) / 2
            fitted[image, epoch] = int(seen.attacked[k].argmax()) == int(seen.batch.y[k])
    assert (visits == 1).all()
    np.testing.assert_allclose(traced["loss"], losses, rtol=1e-5)
    assert (traced["fitted"].values == fitted).all()
    assert 0 < fitted.mean() < 1


def test_recording_changes_nothing(traced: xr.Dataset) -> None:
    curves = train_cell(TOY, lambda _done: None)
    xr.testing.assert_identical(traced[list(curves.data_vars)], curves)
    best = float(curves["robust_test_accuracy"].sel(epoch=curves.attrs["best_epoch"]))
    assert traced["accuracy"].sel(attack="PGD").values.tolist() == [best, float(curves["robust_test_accuracy"][-1])]
    assert best != float(curves["robust_test_accuracy"][-1])
    assert traced["attack"].values.tolist() == ["PGD"]


def test_targets_may_be_probabilities() -> None:
    """Under label smoothing an image is fitted if it gets the label with the largest target."""
    y = torch.tensor([0, 1])
    logits = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]])
    observer = Trace(1, 1)
    state = observer.initial(y, 3)
    batch = type("B", (), {"y": 0.9 * nn.functional.one_hot(y, 3) + 0.1 / 3, "epoch": 0, "state": state})()
    found = observer.observe(type("S", (), {"batch": batch, "attacked": logits})())
    assert found["fitted"][:, 0].tolist() == [True, False]


def test_the_data_have_their_own_seed(traced: xr.Dataset) -> None:
    """Another run on the same data has other weights and another order, but the same images and labels."""
    other = trace(replace(CELL, training=replace(TOY, seed=7, epochs=2)), lambda _done: None)
    for name in ("label", "wrong"):
        assert (other[name].values == traced[name].values).all()
    assert (abs(other["loss"].values - traced["loss"].values) > 1e-3).mean() > 0.9
    true = Data.of(replace(TOY, label_noise=0.0)).train.labels.numpy()
    assert (traced["wrong"].values == (traced["label"].values != true)).all()
    assert 0 < traced["wrong"].values.mean() < 1
    alone = Data.of(replace(TOY, seed=7)).train.labels.numpy()
    assert (alone != traced["label"].values).any()


def test_images_are_left_out(traced: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros(40, bool)
    mask[[1, 2, 17, 39]] = True
    seen: list[Data] = []
    of_cell = TrainingRun.of_cell

    def keeping(config: TrainingConfig, tick: object, own: Own) -> TrainingRun:
        run = of_cell(config, tick, own)  # type: ignore[arg-type]
        seen.append(run.data)
        return run

    monkeypatch.setattr(TrainingRun, "of_cell", keeping)
    found = trace(replace(CELL, left_out=packed(mask), training=replace(TOY, epochs=2)), lambda _done: None)
    whole = Data.of(TOY)
    assert torch.equal(seen[0].train.pixels, whole.train.pixels[torch.from_numpy(~mask)])
    assert torch.equal(seen[0].test.pixels, whole.test.pixels)
    for name in ("label", "wrong"):
        assert (found[name].values == traced[name].values[~mask]).all()
    assert found.attrs["train_images"] == 36


@pytest.mark.parametrize("count", [1, 8, 13])
def test_masks_are_written_and_read(count: int) -> None:
    mask = np.random.default_rng(count).random(count) < 0.5
    mask[0] = True
    assert (unpacked(packed(mask), count) == mask).all()
    assert not unpacked("", count).any()


def test_an_interrupted_cell_is_resumed(traced: xr.Dataset, tmp_path: Path) -> None:
    done: list[float] = []

    def stop(_done: float) -> None:
        done.append(_done)
        if len(done) == 8:  # in the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace(CELL, Progress(stop, tmp_path))
    assert (tmp_path / "last.safetensors").exists()
    rest: list[float] = []
    xr.testing.assert_identical(trace(CELL, Progress(rest.append, tmp_path)), traced)
    assert len(rest) < 12


def test_the_ensemble_judges_both_checkpoints(traced: xr.Dataset) -> None:
    found = trace(replace(CELL, judged_images=20), lambda _done: None)
    assert found["attack"].values.tolist() == ["PGD", "ensemble"]
    pgd, ensemble = found["accuracy"].values.T
    assert pgd.tolist() == traced["accuracy"].values[:, 0].tolist()
    assert (ensemble <= pgd).all()  # its first attack is that of the curve, on the same images
    assert (ensemble >= 0).all()
