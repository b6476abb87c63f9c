"""A training run that records, without another forward pass, how each training image is fitted.

The data and the rest of a run (weights, order, attacks) have seeds of their own here, so that several networks can be
compared on the same images; and some of the training images may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor, nn

from cgro.base.machine import single_thread
from cgro.base.work import Tick
from cgro.training.config import TrainingConfig
from cgro.training.judging import CHECKPOINTS, checkpoint_accuracies
from cgro.training.observers import Observer, Seen
from cgro.training.run import Data, Own, TrainingRun


@dataclass(frozen=True)
class Traced:
    """A training run whose images are followed; a cell for `trace`."""

    training: TrainingConfig
    data_seed: int
    """Takes the place of the run's seed where images and label noise are drawn."""
    early: int
    """Epochs over which the losses of an image are averaged."""
    judged_images: int = 0
    """Test images under the strong ensemble; 0: none."""
    left_out: str = ""
    """Training images that are left out, as `packed` writes them; empty: none."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work

    @property
    def data(self) -> TrainingConfig:
        """The configuration that draws the data."""
        return replace(self.training, seed=self.data_seed)


def packed(mask: Bool[np.ndarray, " n"]) -> str:
    """A mask of images in hexadecimal digits, eight images in two digits."""
    return np.packbits(mask).tobytes().hex()


def unpacked(text: str, count: int) -> Bool[np.ndarray, " n"]:
    """The mask of `count` images that `packed` wrote; for an empty text none."""
    if not text:
        return np.zeros(count, dtype=bool)
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count).astype(bool)


@dataclass(frozen=True)
class Trace(Observer):
    """Cross-entropy of each perturbed training image, summed over the first epochs, and when it is fitted.

    Both are those of the update, before it: each image once in an epoch. `fitted` (N, epochs) is whether the perturbed
    image gets its own label, which may be wrong.
    """

    epochs: int
    early: int

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"early": torch.zeros(len(labels)), "fitted": torch.zeros(len(labels), self.epochs, dtype=torch.bool)}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        batch, logits = seen.batch, seen.attacked
        assert logits is not None, "an objective that perturbs images"
        early, fitted = batch.state["early"], batch.state["fitted"].clone()
        labels = batch.y if batch.y.ndim == 1 else batch.y.argmax(dim=1)
        fitted[:, batch.epoch] = logits.argmax(dim=1) == labels
        if batch.epoch < self.early:
            early = early + nn.functional.cross_entropy(logits.float(), batch.y, reduction="none")
        return {"early": early, "fitted": fitted}


@single_thread()
def trace(cell: Traced, tick: Tick) -> xr.Dataset:
    """The learning curves of a run, its accuracies, and `loss` (image), `fitted` (image, update_epoch), `label` and
    `wrong` (image) of the training images that are not left out.

    accuracy (checkpoint, attack): on test images, of the best checkpoint on held-out images and the last one, under the
    attack of the learning curves (PGD), and under the strong ensemble if images are judged. Some images may be in one
    and not in the other.
    """
    config = cell.training
    data = Data.of(cell.data)
    true = Data.of(replace(cell.data, label_noise=0.0)).train.labels
    kept = torch.from_numpy(np.flatnonzero(~unpacked(cell.left_out, len(true))))
    wrong = (data.train.labels != true).cpu()[kept]
    data = replace(data, train=data.train.take(kept), index=data.index[kept])
    observer = Trace(config.epochs, cell.early)
    run = TrainingRun.of_cell(config, tick, Own(prepared=data, observers=(observer,)))
    curves = run.run(tick)
    seen = run.trainer.kept.of(observer)
    at = curves["robust_test_accuracy"]
    table = {"PGD": np.array([float(at.sel(epoch=curves.attrs["best_epoch"])), float(at[-1])])}
    if cell.judged_images:
        table["ensemble"] = checkpoint_accuracies(run, cell.judged_images)[:, -1]
    percent = {"units": "fraction"}
    return curves.assign(
        accuracy=(
            ("checkpoint", "attack"),
            np.stack(list(table.values()), axis=1),
            {"long_name": "Accuracy on test images"} | percent,
        ),
        loss=(
            "image",
            (seen["early"] / cell.early).cpu().numpy(),
            {"long_name": "Loss of the perturbed image, mean over the first epochs", "units": "nat"},
        ),
        fitted=(
            ("image", "update_epoch"),
            seen["fitted"].cpu().numpy(),
            {"long_name": "Perturbed image gets its label", "units": "1"},
        ),
        label=("image", data.train.labels.cpu().numpy(), {"long_name": "Training label", "units": "1"}),
        wrong=("image", wrong.numpy(), {"long_name": "Training label is wrong", "units": "1"}),
    ).assign_coords(checkpoint=list(CHECKPOINTS), attack=list(table))
