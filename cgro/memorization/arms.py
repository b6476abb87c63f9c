"""Fresh networks on the same images, with and without some of them, or with uniform targets for some of them.

The arms of one seed share weights, the order of batches and random starts: images that are left out stay in the
batches with weight 0, so that every arm takes equally many updates. Each arm that treats the chosen images has a
control that treats as many random images with the same histogram of labels, drawn from all images, the chosen ones
included [D].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import xarray as xr
from jaxtyping import Bool

from cgro.base.machine import single_thread
from cgro.base.work import Tick
from cgro.memorization.plan import CRITERIA
from cgro.training.config import TrainingConfig

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from cgro.data.tampering import Tampering
    from cgro.memorization.subset_models import Study
    from cgro.training.objectives import Objective
    from cgro.training.run import TrainingRun

ArmName = Literal["all", "without", "without random", "smoothed", "smoothed random"]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
CONTROLS: dict[ArmName, ArmName] = {"without": "without random", "smoothed": "smoothed random"}
"""The control of each treatment."""
PARTS = ("chosen", "others")
"""Groups of training images: those chosen for treatment, whatever the arm does with them, and the others."""


@dataclass(frozen=True)
class ArmRun:
    """A training run of one arm; a cell for `train_arm`."""

    training: TrainingConfig
    """Its seed draws weights, order and attacks."""
    tampering: Tampering
    data_seed: int
    """Takes the place of that seed where the images are drawn."""
    arm: ArmName
    chosen: str
    """The training images that are treated, as `cgro.training.tracing.packed` writes them."""
    smoothing: float
    """Weight s of the uniform target, 0 to 1: (1 - s) one-hot + s / K."""
    images: int
    """Test images that judge it."""
    ensemble_steps: int = 100
    """Steps of APGD in the strong ensemble."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def treated(cell: ArmRun, chosen: Bool[np.ndarray, " n"], labels: np.ndarray) -> Bool[np.ndarray, " n"]:
    """The images that the arm treats: none, the chosen ones, or random ones with the same histogram of labels.

    Both controls of a seed treat the same images.
    """
    from cgro.base.randomness import at, spawn_streams
    from cgro.measures.hardness import random_like

    if cell.arm == "all":
        return np.zeros(len(chosen), dtype=bool)
    if cell.arm in CONTROLS:
        return chosen
    everything = np.ones(len(chosen), dtype=bool)
    return random_like(chosen, labels, everything, at(spawn_streams(cell.training.seed)["subset"], 4))


def objective_of(arm: ArmName, images: Bool[np.ndarray, " n"], smoothing: float) -> Objective:
    """PGD-AT that leaves out these images or smooths their targets, as the arm says."""
    import torch

    from cgro.training.objectives import Adversarial
    from cgro.training.scored import Dropping, Smoothing

    mask = torch.from_numpy(images)
    if arm == "all":
        return Adversarial()
    return Dropping(mask) if arm.startswith("without") else Smoothing(mask.float(), smoothing)


@single_thread()
def train_arm(cell: ArmRun, tick: Tick) -> xr.Dataset:
    """Which test images are correct at the best and last checkpoint, learning curves, and which images are fitted.

    correct (checkpoint, attack, test); robust_test_accuracy (epoch); best_epoch; fitted (checkpoint, criterion, part),
    the accuracy on training images with their given labels, treated or not, NaN for a part without images; for the arm
    that treats none also csl (image), the cumulative loss of each perturbed training image.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.memorization.subset_models import Study
    from cgro.memorization.tracker import Tracker
    from cgro.training.judging import ATTACKS, CHECKPOINTS, checkpoint_correctness
    from cgro.training.run import Own, TrainingRun
    from cgro.training.tracing import unpacked

    config = cell.training
    study = Study.of(replace(config, seed=cell.data_seed), cell.tampering)
    chosen = unpacked(cell.chosen, len(study.train))
    images = treated(cell, chosen, study.train.labels.cpu().numpy())
    tracker = Tracker()
    own = Own(
        objective=objective_of(cell.arm, images, cell.smoothing),
        observers=(tracker,) if cell.arm == "all" else (),
        prepared=study.data,
    )
    run = TrainingRun.of_cell(config, tick, own)
    curves = run.run(tick)
    correct = checkpoint_correctness(run, cell.images, cell.ensemble_steps)
    one, fraction = {"units": "1"}, {"units": "fraction"}
    found = xr.Dataset(
        {
            "correct": (
                ("checkpoint", "attack", "test"), np.array([correct[name] for name in CHECKPOINTS]),
                {"long_name": "Test image is correct"} | one,
            ),
            "robust_test_accuracy": ("epoch", curves["robust_test_accuracy"].values,
                                     {"long_name": "Accuracy on perturbed test images"} | fraction),
            "fitted": (
                ("checkpoint", "criterion", "part"), _fitted(run, study, chosen),
                {"long_name": "Accuracy on training images with their given labels"} | fraction,
            ),
            "best_epoch": ((), curves.attrs["best_epoch"], {"long_name": "Best epoch by held-out images"} | one),
        },
        {
            "checkpoint": list(CHECKPOINTS), "attack": list(ATTACKS), "criterion": list(CRITERIA),
            "part": list(PARTS), "epoch": curves["epoch"].values,
        },
        {name: curves.attrs[name] for name in ("data", "model", "width", "norm", "radius", "train_images")},
    )  # fmt: skip
    if cell.arm == "all":
        losses = tracker.scores(run.trainer.kept.of(tracker), run.trainer.epoch)["csl"][1]
        found["csl"] = ("image", losses, {"long_name": "Cumulative loss of the perturbed image", "units": "nat"})
    return found


def _fitted(run: TrainingRun, study: Study, chosen: np.ndarray) -> np.ndarray:
    """Accuracy (checkpoint, criterion, part) on the training images; the network is the last one afterwards."""
    from cgro.base.randomness import at
    from cgro.memorization.judged_methods import group_means
    from cgro.memorization.subset_models import answers

    model, labels = run.trainer.evaluated, study.train.labels.cpu().numpy()
    last = {name: value.clone() for name, value in model.state_dict().items()}
    found = []
    for row, weights in enumerate((run.best, last)):
        model.load_state_dict(weights)
        given = answers(model, 1, study.train, run.config.stronger, at(run.streams["evaluation"], 0, 2, row))[:, 0]
        found.append(group_means((given == labels).astype(float), chosen.astype(int), {"chosen": (1,), "others": (0,)}))
    return np.array(found)
