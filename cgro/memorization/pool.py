"""A pool of networks trained on the same images, each judged on them at its best epoch.

The best epoch of a network is the first with its largest robust accuracy on held-out images, measured during the
training; test images play no part. Networks that may share a stack are trained at once, others one by one. Source of
the criterion: Lee & Chung, ICML 2026, arXiv:2605.21999 [N].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool

from cgro.base.errors import UserError
from cgro.base.machine import single_thread
from cgro.base.randomness import Stream, at, spawn_streams
from cgro.base.work import Tick
from cgro.data.tampering import Tampering
from cgro.memorization.plan import CRITERIA
from cgro.memorization.subset_models import Study, answers
from cgro.training.config import TrainingConfig, is_stackable
from cgro.training.run import Own, TrainingRun, make_model
from cgro.training.stacked import StackedTrainer, Subsets


@dataclass(frozen=True)
class PoolNetworks:
    """Some networks of a pool; a cell for `train_pool`.

    A network becomes the same in every cell, up to rounding.
    """

    training: TrainingConfig
    """Draws the images by its seed, and trains every network."""
    tampering: Tampering
    seeds: tuple[int, ...]
    """Of the weights, order and attacks of each network; one, if networks cannot share a stack."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work * len(self.seeds)


@single_thread()
def train_pool(cell: PoolNetworks, tick: Tick) -> xr.Dataset:
    """wrong (criterion, network, image): errors at the best epoch on the training images with their given labels.

    Also best_epoch and held_out_accuracy (network), the robust accuracy that chose it. Perturbed images are those of
    the evaluation attack.

    Raises: UserError for missing data, a missing device, and training that diverges.
    """
    study = Study.of(cell.training, cell.tampering, tested=0)
    found = _stacked(cell, study, tick) if is_stackable(cell.training) else _alone(cell, study, tick)
    wrong, best, accuracy = found
    one = {"units": "1"}
    return xr.Dataset(
        {
            "wrong": (
                ("criterion", "network", "image"), wrong, {"long_name": "Training image is misclassified"} | one,
            ),
            "pool_best_epoch": ("network", best, {"long_name": "Best epoch by held-out images"} | one),
            "held_out_accuracy": (
                "network", accuracy,
                {"long_name": "Accuracy on perturbed held-out images at the best epoch", "units": "fraction"},
            ),
        },
        {"network": list(cell.seeds), "criterion": list(CRITERIA)},
    )  # fmt: skip


Judged = tuple[Bool[np.ndarray, "C K n"], list[int], list[float]]
"""Errors at the best epochs, those epochs, and the accuracies that chose them."""


def _judging_stream(training: TrainingConfig, *counters: int) -> Stream:
    """Random starts of the attacks on a pool, the same for all its networks."""
    return at(spawn_streams(training.seed)["evaluation"], 0, 5, *counters)


def _stacked(cell: PoolNetworks, study: Study, tick: Tick) -> Judged:
    training, held_out, count = cell.training, study.data.held_out, len(cell.seeds)
    runs = [replace(training, seed=seed) for seed in cell.seeds]
    members = torch.arange(len(study.train)).expand(count, -1)
    stack = StackedTrainer(
        [make_model(run, study.data) for run in runs],
        Subsets(study.train, members),
        [run.recipe for run in runs],
        [spawn_streams(run.seed) for run in runs],
    )
    kept = [weights.detach().clone() for weights in stack.model.stacked]
    best, accuracy, labels = np.zeros(count, dtype=int), np.full(count, -1.0), held_out.labels.cpu().numpy()
    for epoch in filter(training.is_due, range(1, training.epochs + 1)):
        stack.advance(epoch * stack.steps_per_epoch, lambda: tick(count / stack.steps_per_epoch))
        given = answers(stack.model, count, held_out, training.stronger, _judging_stream(training, epoch))[-1]
        now = (given == labels).mean(axis=1)
        better = now > accuracy
        best[better], accuracy[better] = epoch, now[better]
        chosen = torch.from_numpy(better).to(stack.device)
        for old, new in zip(kept, stack.model.stacked, strict=True):
            old[chosen] = new.detach()[chosen]
    if not bool(stack.losses.isfinite().all()):
        diverged = int((~stack.losses.isfinite()).sum())
        raise UserError(
            f"learning_rate must be smaller, got {training.learning_rate:g}: {diverged} of {count} networks of the "
            "pool diverged"
        )
    with torch.no_grad():
        for weights, old in zip(stack.model.stacked, kept, strict=True):
            weights.copy_(old)
    given = answers(stack.model, count, study.train, training.stronger, _judging_stream(training))
    return given != study.train.labels.cpu().numpy(), best.tolist(), accuracy.tolist()


def _alone(cell: PoolNetworks, study: Study, tick: Tick) -> Judged:
    (seed,) = cell.seeds
    run = TrainingRun.of_cell(replace(cell.training, seed=seed), tick, Own(prepared=study.data))
    curves = run.run(tick)
    model, epoch = run.trainer.evaluated, int(curves.attrs["best_epoch"])
    model.load_state_dict(run.best)
    given = answers(model, 1, study.train, cell.training.stronger, _judging_stream(cell.training))
    accuracy = float(curves["robust_held_out_accuracy"].sel(epoch=epoch))
    return given != study.train.labels.cpu().numpy(), [epoch], [accuracy]
