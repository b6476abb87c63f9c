"""Training runs of small networks in one stack, from configurations to learning curves."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import xarray as xr

from cgro.attacks.images import accuracy, correct
from cgro.base.errors import AccuracyWarning
from cgro.base.machine import single_thread
from cgro.base.randomness import spawn_streams
from cgro.base.work import Tick
from cgro.training.config import Stack, TrainingConfig
from cgro.training.distributed import Team
from cgro.training.run import CURVE_BATCH, VARIABLES, Data, evaluation_stream, make_model
from cgro.training.stacked import StackedTrainer

CURVES = ("train_loss", "clean_train_accuracy", "robust_train_accuracy")


@single_thread()
def train_stack(stack: Stack, tick: Tick) -> xr.Dataset:
    """Loss and training accuracies over (run, epoch), at the epochs that the first run evaluates: what `train_cell`
    finds for each run, up to rounding.

    The loss of a run that diverged is not finite; its accuracies count answers that are not finite as errors.
    `most_frequent` (run) is the share of the most frequent training label, which a constant predictor reaches.

    Raises: UserError for runs that cannot share a stack.
    """
    runs = stack.runs
    data = [Data.of(run) for run in runs]
    trainer = StackedTrainer(
        [make_model(run, each) for run, each in zip(runs, data, strict=True)],
        [each.train for each in data],
        [run.recipe for run in runs],
        [spawn_streams(run.seed) for run in runs],
    )
    epochs = [e for e in range(1, runs[0].epochs + 1) if runs[0].is_due(e)]
    found = np.empty((len(CURVES), len(runs), len(epochs)))
    for column, epoch in enumerate(epochs):
        trainer.advance(epoch * trainer.steps_per_epoch, lambda: tick(len(runs) / trainer.steps_per_epoch))
        found[0, :, column] = trainer.losses.cpu()
        for k, network in enumerate(trainer.model.networks()):
            found[1:, k, column] = _accuracies(network, runs[k], data[k], epoch)
    most = [float(each.train.labels.bincount().max()) / len(each.train) for each in data]
    variables = {
        name: (("run", "epoch"), values, dict(zip(("long_name", "units"), VARIABLES[name], strict=True)))
        for name, values in zip(CURVES, found, strict=True)
    }
    return xr.Dataset(
        variables
        | {"most_frequent": ("run", most, {"long_name": "Most frequent training label", "units": "fraction"})},
        coords={"epoch": ("epoch", epochs, {"long_name": "Epoch", "units": "epoch"})},
        attrs={"train_images": len(data[0].train)},
    )


def _accuracies(network: torch.nn.Module, run: TrainingConfig, data: Data, epoch: int) -> tuple[float, float]:
    """Clean and robust accuracy on training images, measured as `TrainingRun` does."""
    images = data.train.take(torch.arange(min(len(data.train), run.evaluation_images)))
    stream = evaluation_stream(run.seed, epoch, "train", Team())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        clean, robust = (
            accuracy(correct(network, images, attack, stream, batch_size=CURVE_BATCH))
            for attack in (None, run.stronger)
        )
    return clean, robust
