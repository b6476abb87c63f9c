"""Methods of training on images that were rotated, blended or mislabelled, judged image by image under a strong attack.

Methods of equal seed share images, what was done to them, initial weights, the order of batches, and the judged test
images, so that they can be compared image by image. Judged are the best checkpoint on held-out images, which are
rotated and blended as often as test images, and the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from cgro.base.machine import single_thread
from cgro.base.work import Tick
from cgro.memorization.plan import CRITERIA
from cgro.memorization.treated_runs import GROUPS
from cgro.training.config import TrainingConfig

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from cgro.data.tampering import Tampering

TRAINED = ("typical", "atypical", "mislabelled")
"""Groups of training images."""
JUDGED = {"all": (0, 1, 2), "typical": GROUPS["typical"], "atypical": GROUPS["atypical"]}
"""The kinds of each group of test images, indices of `cgro.data.tampering.KINDS`."""


@dataclass(frozen=True)
class JudgedMethod:
    """A training run by one method, and how many test images judge it; a cell for `judge_method`."""

    training: TrainingConfig
    tampering: Tampering
    images: int
    ensemble_steps: int = 100
    """Steps of APGD in the strong ensemble."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def group_means(
    values: Float[np.ndarray, "*batch n"], kinds: Int[np.ndarray, " n"], groups: dict[str, tuple[int, ...]]
) -> Float[np.ndarray, "*batch g"]:
    """Means of the values over the images of each group; NaN for one without images."""
    chosen = np.array([np.isin(kinds, of) for of in groups.values()], dtype=float)  # group, image
    with np.errstate(invalid="ignore"):
        return np.asarray(values @ chosen.T / chosen.sum(1))


@single_thread()
def judge_method(cell: JudgedMethod, tick: Tick) -> xr.Dataset:
    """Which test images are correct, what the network memorized, and how many images its weights leave.

    correct (checkpoint, attack, image) is of test images of the kinds `kind` (image). train_accuracy (criterion,
    trained) is of training images with their given labels at the end, so that accuracy on mislabelled ones is
    memorization. weight (trained) is the mean of the last weights of a group over the mean of all, and
    effective_share (epoch) is (sum w)^2 / (n sum w^2); both are NaN for a method without weights.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.base.randomness import at, spawn_streams
    from cgro.data.atypical import tampered
    from cgro.memorization.subset_models import Study, answers
    from cgro.training.judging import ATTACKS, CHECKPOINTS, checkpoint_correctness
    from cgro.training.run import Own, TrainingRun

    config, root = cell.training, spawn_streams(cell.training.seed)
    study = Study.of(config, cell.tampering, tested=cell.images)
    as_tested = replace(cell.tampering, mislabelled=0.0)
    held_out, _ = tampered(study.data.held_out, as_tested, study.classes, at(root["subset"], 3))
    data = replace(study.data, held_out=held_out, test=study.test)
    run = TrainingRun.of_cell(config, tick, Own(prepared=data))
    curves = run.run(tick)
    correct = checkpoint_correctness(run, cell.images, cell.ensemble_steps)
    kinds, labels = study.kinds.cpu().numpy(), study.train.labels.cpu().numpy()
    given = answers(run.trainer.evaluated, 1, study.train, config.stronger, at(root["evaluation"], 0, 2))[:, 0]
    groups = {name: GROUPS[name] for name in TRAINED}
    weights = np.full(len(kinds), np.nan) if run.weights is None else run.weights.double().cpu().numpy()
    share = curves.get("effective_sample_size", xr.full_like(curves["train_loss"], np.nan)) / len(kinds)
    one = {"units": "1"}
    return xr.Dataset(
        {
            "correct": (
                ("checkpoint", "attack", "image"),
                np.array([correct[name] for name in CHECKPOINTS]),
                {"long_name": "Test image is correct"} | one,
            ),
            "kind": ("image", study.test_kinds.cpu().numpy(), {"long_name": "What was done to the test image"} | one),
            "train_accuracy": (
                ("criterion", "trained"),
                group_means((given == labels).astype(float), kinds, groups),
                {"long_name": "Accuracy on training images with their given labels", "units": "fraction"},
            ),
            "weight": (
                "trained",
                group_means(weights / weights.mean(), kinds, groups),
                {"long_name": "Mean of the last weights over that of all images"} | one,
            ),
            "effective_share": (
                "epoch",
                share.values,
                {"long_name": "Effective sample size over the number of training images"} | one,
            ),
            "best_epoch": ((), curves.attrs["best_epoch"], {"long_name": "Best epoch by held-out images"} | one),
        },
        {
            "checkpoint": list(CHECKPOINTS), "attack": list(ATTACKS), "criterion": list(CRITERIA),
            "trained": list(TRAINED), "epoch": curves["epoch"].values,
        },
        {name: curves.attrs[name] for name in ("data", "model", "width", "norm", "radius", "train_images")},
    )  # fmt: skip
