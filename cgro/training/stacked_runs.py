"""Training runs of small networks in one stack, from configurations to learning curves or trained networks."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
import xarray as xr

from cgro.attacks.images import accuracy, correct
from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.machine import single_thread
from cgro.base.randomness import spawn_streams
from cgro.base.work import Tick
from cgro.data.batches import Images
from cgro.training.config import Stack, TrainingConfig
from cgro.training.distributed import Team
from cgro.training.run import CURVE_BATCH, VARIABLES, Data, evaluation_stream, make_model
from cgro.training.stacked import StackedTrainer

CURVES = ("train_loss", "clean_train_accuracy", "robust_train_accuracy")


def make_stack(stack: Stack) -> tuple[StackedTrainer, list[Data]]:
    """The trainer of a stack at step 0, and the data of each run.

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
    return trainer, data


def train_networks(stack: Stack, tick: Tick) -> list[tuple[torch.nn.Module, Data]]:
    """The networks of a stack after the last epoch, each with its data.

    Raises: UserError for runs that cannot share a stack, and for one that diverges.
    """
    trainer, data = make_stack(stack)
    trainer.advance(trainer.steps, lambda: tick(len(stack.runs) / trainer.steps_per_epoch))
    networks = list(zip(trainer.model.networks(), data, strict=True))
    for run, loss, (network, _) in zip(stack.runs, trainer.losses.tolist(), networks, strict=True):
        if not math.isfinite(loss) or not all(bool(p.isfinite().all()) for p in network.parameters()):
            raise UserError(
                f"learning_rate must be smaller, got {run.learning_rate:g}: training diverged ({run.objective}, width "
                f"{run.own_width:g}, label noise {run.label_noise:g}, seed {run.seed})"
            )
    return networks


@single_thread()
def train_stack(stack: Stack, tick: Tick) -> xr.Dataset:
    """Loss and training accuracies over (run, epoch), at the epochs that the first run evaluates: what `train_cell`
    finds for each run, up to rounding.

    The loss of a run that diverged is not finite; its accuracies count answers that are not finite as errors.
    `most_frequent` (run) is the share of the most frequent training label, which a constant predictor reaches.

    Raises: UserError for runs that cannot share a stack.
    """
    runs = stack.runs
    trainer, data = make_stack(stack)
    epochs = [e for e in range(1, runs[0].epochs + 1) if runs[0].is_due(e)]
    found = np.empty((len(CURVES), len(runs), len(epochs)))
    for column, epoch in enumerate(epochs):
        trainer.advance(epoch * trainer.steps_per_epoch, lambda: tick(len(runs) / trainer.steps_per_epoch))
        found[0, :, column] = trainer.losses.cpu()
        for k, network in enumerate(trainer.model.networks()):
            found[1:, k, column] = accuracies(network, runs[k], data[k], epoch)
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


def accuracies(
    network: torch.nn.Module, run: TrainingConfig, data: Data, epoch: int, part: str = "train"
) -> tuple[float, float]:
    """Clean and robust accuracy on images of a part (train, held_out or test), measured as `TrainingRun` does."""
    images: Images = getattr(data, part)
    images = images.take(torch.arange(min(len(images), run.evaluation_images)))
    stream = evaluation_stream(run.seed, epoch, part, Team())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        clean, robust = (
            accuracy(correct(network, images, attack, stream, batch_size=CURVE_BATCH))
            for attack in (None, run.stronger)
        )
    return clean, robust
