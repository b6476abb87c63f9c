"""A training run whose best and last checkpoints are judged by attacks stronger than its own.

PGD alone flatters cures that flatten the loss, so the ensemble has the last word. Experiments that need the same
run share it through the store.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool

from cgro.base.machine import single_thread
from cgro.base.randomness import at, spawn_streams
from cgro.base.work import Tick
from cgro.training.config import JudgedRun
from cgro.training.evaluation import evaluate_network
from cgro.training.run import TrainingRun

CHECKPOINTS = ("best", "last")
ATTACKS = ("clean", "PGD-20", "ensemble")


@single_thread()
def judge(cell: JudgedRun, tick: Tick) -> xr.Dataset:
    """The learning curves of a run, and accuracy (checkpoint, attack) on at most that many test images.

    Each attack runs on the images that the previous ones leave, so accuracies decrease from left to right. The best
    checkpoint has the largest robust accuracy on held-out images; its row is NaN without any.
    """
    training = TrainingRun.of_cell(cell.training, tick)
    curves = training.run(tick)
    table = checkpoint_accuracies(training, cell.images)
    accuracy = (("checkpoint", "attack"), table, {"long_name": "Accuracy on test images", "units": "fraction"})
    judged = curves.assign(accuracy=accuracy).assign_coords(checkpoint=list(CHECKPOINTS), attack=list(ATTACKS))
    return judged.assign_attrs(judged_images=min(cell.images, len(training.data.test)))


def checkpoint_accuracies(training: TrainingRun, count: int) -> np.ndarray:
    """Accuracy (checkpoint, attack) of a finished run on at most `count` test images, as in `judge`."""
    table = np.full((len(CHECKPOINTS), len(ATTACKS)), np.nan)
    for row, correct in checkpoint_correctness(training, count).items():
        table[CHECKPOINTS.index(row)] = correct.mean(axis=1)
    return table


def checkpoint_correctness(
    training: TrainingRun, count: int, ensemble_steps: int = 100
) -> dict[str, Bool[np.ndarray, "attack image"]]:
    """Which of the first `count` test images are correct, by checkpoint. Without held-out images there is no best one.

    The network of the run is the last one again afterwards.
    """
    config, images, curves = training.config, training.data.test, training.curves()
    images = images.take(torch.arange(min(count, len(images))))
    model = training.trainer.evaluated
    last = {name: value.clone() for name, value in model.state_dict().items()}
    found: dict[str, np.ndarray] = {}
    checkpoints = ((training.best, int(curves.attrs["best_epoch"])), (last, config.epochs))
    for row, (weights, epoch) in enumerate(checkpoints):
        if not weights:
            continue
        model.load_state_dict(weights)
        stream = at(spawn_streams(config.seed)["evaluation"], 0, row)
        evaluation = evaluate_network(
            model, config, images, config.budget, part="test", epoch=epoch, steps=20, stream=stream,
            ensemble_steps=ensemble_steps,
        )  # fmt: skip
        masks = list(evaluation.masks.values())
        found[CHECKPOINTS[row]] = torch.stack([masks[0], masks[1], masks[-1]]).cpu().numpy()
    return found
