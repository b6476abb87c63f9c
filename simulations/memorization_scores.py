"""Which training images a network memorizes, clean and robustly, and which cheap scores tell the same.

Many models are trained on random subsets of the images. What a model knows of images that it was not trained on gives
their memorization, with standard errors; the same of perturbed images gives robust memorization. Some images are
rotated, blended with another, or given a wrong label, so that what is found can be compared with what was put in. Runs
on all images follow cheap scores, whose ranking is compared. Sources: Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703;
Xu et al., arXiv:2106.04794; robust memorization and the comparison are ours [D].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.work import Context, PlainContext
from cgro.data.tampering import KINDS, Tampering
from cgro.memorization.plan import Scoring
from cgro.runs.experiment import Experiment
from cgro.training.config import TrainingConfig

SHOWN = 16
"""Images of each end of the ranking that are stored."""


@dataclass(frozen=True)
class Config(Scoring):
    """Subset models of one training configuration, and runs on all images that follow cheap scores."""

    rotated: float = 0.05
    """Fraction of the training and test images that are turned by a right angle, 0 to 1."""

    blended: float = 0.05
    """Fraction of the training and test images that are blended with one of another class, 0 to 1."""

    mislabelled: float = 0.05
    """Fraction of the training images with a wrong label, 0 to 1; together with the others at most 1."""

    @classmethod
    def quick(cls) -> Config:
        """80 digits, 40 models and a single run: about ten seconds of one core, too few for more than a glance."""
        training = replace(
            TrainingConfig(), samples=80, held_out=0, width=6, radius=0.03, radius_warmup=0.0, batch_size=20,
            learning_rate=0.1, epochs=25, attack_steps=2, evaluation_images=50, evaluation_steps=3,
        )  # fmt: skip
        return cls(training, models=40, mislabelled=0.1, tracked_runs=1)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-100 with PreActResNet-18 and 1,000 models, as many as thresholds of 0.15 need; for several GPUs.

        The images are as they were published. One run of 40 epochs in place of 200.
        """
        training = replace(
            TrainingConfig.cifar10(), data="cifar100", held_out=0, evaluate_every=40, evaluation_images=10_000
        )
        return cls(training, models=1000, rotated=0.0, blended=0.0, mislabelled=0.0)

    @property
    def tampering(self) -> Tampering:
        """What is done to the images."""
        return Tampering(self.rotated, self.blended, self.mislabelled)

    def __post_init__(self) -> None:
        _ = self.tampering
        if self.training.data == "own":
            raise UserError("data must be a data set by name, got own: for your own arrays see `cgro memorized`")
        if self.training.label_noise > 0:
            raise UserError(f"label_noise must be 0, got {self.training.label_noise:g}: give mislabelled")
        super().__post_init__()


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Scores, groups and thresholds of `cgro.memorization.study.scored`, and how cheap scores compare.

    Also: mask, answer and test_answer of all models, from which everything can be estimated anew; cheap (score_name,
    view, sample), mean over the runs; rank (score_name, view, criterion, end), Spearman's correlation with the
    memorization and the ends of its interval; detected (detector, kind), the area under the ROC curve by which a score
    tells images of a kind from those that were not changed; extreme (criterion, extreme, rank), the most and the least
    memorized images, and their pixels.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.memorization.study import studied, track
    from cgro.memorization.subset_models import Study, train_subset_models

    context = context or PlainContext()
    parts = context.map(train_subset_models, config.subset_cells)
    runs = context.map(track, config.tracked_cells)
    found = studied(parts, runs, chance=config.chance, least=config.threshold)
    study = Study.of(config.training, config.tampering)
    training = config.training
    names = ("data", "model", "norm", "radius", "objective", "method", "epochs")
    return (
        found.assign(_compared(found))
        .assign(_extremes(found, study.train.scaled(study.train.pixels).contiguous().cpu().numpy()))
        .assign_attrs({name: getattr(training, name) for name in names})
        .assign_attrs(width=training.own_width, ratio=config.ratio, tracked_runs=len(runs), early=config.early)
    )


def _compared(found: xr.Dataset) -> dict[str, xr.DataArray]:
    """Rank correlations of cheap scores with the memorization, and how well all scores detect what was put in."""
    from cgro.measures.hardness import detection
    from cgro.memorization.study import spearman
    from cgro.memorization.tracker import HARDER

    criteria, names, views = (found[name].values.tolist() for name in ("criterion", "score_name", "view"))
    cheap, kinds = found["cheap"].values, found["kind"].values
    sign = np.array([HARDER[name] for name in names])[:, None, None]
    ranks = np.array([
        [[spearman(one, memorized) for memorized in found["memorization"].values] for one in of_score]
        for of_score in sign * cheap
    ])  # fmt: skip
    detectors = {
        **{f"{name}, {view}": (sign * cheap)[k, v] for k, name in enumerate(names) for v, view in enumerate(views)},
        **{f"memorization, {criterion}": found["memorization"].values[c] for c, criterion in enumerate(criteria)},
    }

    def area(values: np.ndarray, kind: int) -> float:
        kept = ((kinds == kind) | (kinds == 0)) & np.isfinite(values)
        return detection(values[kept], kinds[kept] == kind)

    areas = [[area(values, kind) for kind in range(1, len(KINDS))] for values in detectors.values()]
    return {
        "rank": xr.DataArray(
            ranks,
            {"score_name": names, "view": views, "criterion": criteria, "end": ["value", "low", "high"]},
            attrs={"long_name": "Spearman's correlation with the memorization", "units": "1"},
        ),
        "detected": xr.DataArray(
            areas,
            {"detector": list(detectors), "changed": list(KINDS[1:])},
            attrs={"long_name": "Area under the ROC curve", "units": "1"},
        ),
    }


def _extremes(found: xr.Dataset, pixels: np.ndarray) -> dict[str, xr.DataArray]:
    """The most and the least memorized images by each criterion, and their pixels as bytes."""
    from cgro.memorization.study import extremes

    chosen = np.array([extremes(scores, SHOWN) for scores in found["memorization"].values])
    dims = ("criterion", "extreme", "place")
    coords = {"criterion": found["criterion"].values, "extreme": ["most", "least"]}
    shown = np.round(255 * pixels[chosen]).astype(np.uint8)
    return {
        "chosen": xr.DataArray(chosen, coords, dims, attrs={"long_name": "Index of the image", "units": "1"}),
        "pixels": xr.DataArray(
            shown, coords, (*dims, "channel", "row", "column"), attrs={"long_name": "Pixel", "units": "1"}
        ),
    }


EXPERIMENT: Experiment[Config] = Experiment(
    "Memorization scores: which images are memorized, clean and robustly, and which cheap scores tell",
    Config,
    run,
    one_core_cells=True,
)
