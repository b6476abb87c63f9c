"""Unlearnable images: those that no network of a pool learns robustly, and whether they cause robust overfitting.

A pool of networks is trained on the same images. Those that all of them, or a given share, misclassify under attack at
their best epochs are unlearnable (S_U). Fresh networks are then trained on all images, without S_U, with uniform
targets on S_U, and likewise for as many random images of the same labels. Subset models tell whether S_U is what is
memorized robustly later, and the cumulative loss of the fresh networks whether a cheap score finds it. Some labels may
be wrong, so that it is known which images should not be learned. Sources: Lee & Chung, ICML 2026, arXiv:2605.21999, for
S_U [N]; Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703, for memorization; nulls, arms and controls are ours [D].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import between, integer
from cgro.base.work import Context, PlainContext
from cgro.data.catalog import TRAINING_IMAGES
from cgro.data.tampering import KINDS, Tampering
from cgro.memorization.arms import ARMS, ArmRun, train_arm
from cgro.memorization.plan import LARGEST_STACK
from cgro.runs.experiment import Experiment
from cgro.training.config import Judged, TrainingConfig, is_stackable

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from cgro.memorization.pool import PoolNetworks
    from cgro.memorization.subset_models import SubsetModels

APART = 1000
"""Distance between the seeds of the pool and those of the fresh networks, and the largest number of either."""
SCORES = ("robust memorization", "clean memorization", "CSL")
AMONG = ("all", "right")
"""Images among which a score is to find S_U: all, or the rightly labelled ones."""


def overfitting_digits() -> TrainingConfig:
    """300 digits whose wrong labels a network fits robustly at the cost of unseen images."""
    return TrainingConfig(
        samples=300, width=24, radius=0.1, radius_warmup=0.1, attack_steps=3, epochs=60, schedule="piecewise",
        evaluate_every=3, evaluation_images=300, evaluation_steps=5,
    )  # fmt: skip


@dataclass(frozen=True)
class Config(Judged):
    """A pool and fresh networks of one training configuration, on the images that its seed draws."""

    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=overfitting_digits)
    """Images, network and optimizer; its seed draws the images."""

    seeds: int = 6
    """Fresh networks of each arm (weights, order, attacks), 1 to 1,000."""

    pool: int = 20
    """Networks of the pool, 2 to 1,000."""

    share: float = 1.0
    """Share of the pool that misclassifies an unlearnable image under attack, above 0 and at most 1."""

    mislabelled: float = 0.2
    """Fraction of the training images with a wrong label, 0 to 0.9."""

    smoothing: float = 1.0
    """Weight of the uniform target of smoothed images, above 0 and at most 1."""

    models: int = 100
    """Subset models from which memorization is estimated, at least 10."""

    ratio: float = 0.7
    """Share of the training images in each subset, between 0 and 1."""

    ensemble_steps: int = 100
    """Steps of APGD in the strong ensemble, 1 to 10,000; fewer than 100 are weaker."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits, a pool of six and two seeds: some ten seconds of one core, too few to conclude from."""
        training = replace(
            overfitting_digits(), samples=100, held_out=100, width=8, batch_size=25, learning_rate=0.1, epochs=16,
            attack_steps=2, evaluation_steps=3, evaluation_images=100, evaluate_every=4,
        )  # fmt: skip
        return cls(training, judged_images=50, seeds=2, pool=6, models=20, ensemble_steps=5)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with PreActResNet-18, a pool of 60 networks and true labels; for several GPUs.

        Lee & Chung take 60 networks [N]; the number of epochs and the subset models are ours.
        """
        training = replace(TrainingConfig.cifar10(), epochs=100, drops=(50, 75), evaluate_every=2)
        return cls(training, judged_images=2000, seeds=5, pool=60, mislabelled=0.0, models=500)

    @property
    def tampering(self) -> Tampering:
        """What is done to the images."""
        return Tampering(mislabelled=self.mislabelled)

    @property
    def pool_cells(self) -> list[PoolNetworks]:
        """The pool, some networks in each cell; seeds other than those of the fresh networks."""
        from cgro.memorization.pool import PoolNetworks

        size, first = LARGEST_STACK if is_stackable(self.training) else 1, self.training.seed + APART
        seeds = [tuple(range(first + k, first + min(k + size, self.pool))) for k in range(0, self.pool, size)]
        return [PoolNetworks(self.training, self.tampering, each) for each in seeds]

    @property
    def subset_cells(self) -> list[SubsetModels]:
        """The subset models, some in each cell; nothing there depends on learning curves."""
        from cgro.memorization.subset_models import SubsetModels

        plain = replace(self.training, evaluate_every=self.training.epochs)
        return [
            SubsetModels(plain, self.tampering, self.ratio, k, min(LARGEST_STACK, self.models - k))
            for k in range(0, self.models, LARGEST_STACK)
        ]

    def arm_cells(self, chosen: str) -> list[ArmRun]:
        """One run for each arm and seed, the seeds of an arm together. chosen: S_U, packed."""
        first, images, steps = self.training.seed, self.judged_images, self.ensemble_steps
        return [
            ArmRun(run, self.tampering, first, arm, chosen, self.smoothing, images, steps)
            for arm in ARMS
            for run in self.runs
        ]

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.training
        integer("seeds", self.seeds, low=1, high=APART)
        integer("pool", self.pool, low=2, high=APART)
        between("share", self.share, 0, 1, open_low=True)
        between("mislabelled", self.mislabelled, 0, 0.9)
        between("smoothing", self.smoothing, 0, 1, open_low=True)
        integer("models", self.models, low=10)
        between("ratio", self.ratio, 0, 1, open_low=True, open_high=True)
        integer("ensemble_steps", self.ensemble_steps, low=1, high=10_000)
        if training.data == "own":
            raise UserError("data must be a data set by name, got own: the images are drawn and relabelled by seed")
        if training.label_noise > 0:
            raise UserError(f"label_noise must be 0, got {training.label_noise:g}: give mislabelled")
        if training.objective != "adversarial":
            raise UserError(f"objective must be adversarial, got {training.objective}: arms change PGD-AT alone")
        if training.cure != "none":
            raise UserError(f"cure must be none, got {training.cure}: arms here differ only in what is unlearnable")
        images = training.samples or TRAINING_IMAGES[training.data] - training.held_out
        size = round(self.ratio * images)
        if not 0 < size < images:
            raise UserError(f"ratio must leave some of {images} images in and some out, got {self.ratio:g}")
        require_memory(12.0 * self.models * images, f"models = {self.models:,}")
        require_memory(12.0 * self.pool * images, f"pool = {self.pool:,}")


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Errors of the pool, S_U and its null, the arms, and how scores agree with the pool.

    Of training images: wrong (criterion, network, image), missed (image), the share of the pool that errs under attack,
    unlearnable, label, mislabelled, memorization with its error (criterion, image), and csl (image). expected (null)
    beside the size of S_U; missed_by_all and missed_by_all_by_chance (networks). Of the arms: correct
    (arm, seed, checkpoint, attack, test) and accuracy; robust_test_accuracy (arm, seed, epoch); fitted
    (arm, seed, checkpoint, criterion, part); best_epoch (arm, seed). Of scores: auc and rank (score, among, end).

    Raises: UserError for missing data, a missing device, training that diverges, or if all images are unlearnable.
    """
    from cgro.memorization.pool import train_pool
    from cgro.memorization.study import combined
    from cgro.memorization.subset_models import Study, train_subset_models
    from cgro.memorization.unlearnable import unlearnable
    from cgro.training.tracing import packed

    context = context or PlainContext()
    pool = xr.concat(context.map(train_pool, config.pool_cells), "network", data_vars="minimal", coords="minimal",
                     compat="override", join="exact")  # fmt: skip
    chosen = unlearnable(pool["wrong"].sel(criterion="perturbed").values, config.share)
    if chosen.all():
        raise UserError(
            f"share must leave an image that is learned, got {config.share:g}: {config.share:.0%} of the pool "
            f"misclassify each of {len(chosen)} images; train longer or with a smaller radius"
        )
    answers = combined(context.map(train_subset_models, config.subset_cells))
    arms = context.map(train_arm, config.arm_cells(packed(chosen)))
    study = Study.of(config.training, config.tampering, tested=0)
    labels, kinds = study.train.labels.cpu().numpy(), study.kinds.cpu().numpy()
    found = _together(arms, config).merge(pool).merge(_memorized(answers))
    one = {"units": "1"}
    found = found.assign(
        label=("image", labels, {"long_name": "Training label"} | one),
        mislabelled=("image", kinds == KINDS.index("mislabelled"), {"long_name": "Training label is wrong"} | one),
        index=("image", study.data.index.numpy(), {"long_name": "Index in the data set"} | one),
        unlearnable=("image", chosen, {"long_name": "Image is unlearnable"} | one),
    )
    training = config.training
    about = {name: getattr(training, name) for name in ("objective", "method", "epochs")}
    about |= {name: getattr(config, name) for name in ("share", "mislabelled", "smoothing", "models", "ratio")}
    about |= {"networks": config.pool, "held_out_images": len(study.data.held_out)}
    about |= {"judged_images": found.sizes["test"], "ensemble_steps": config.ensemble_steps}
    found = found.assign(_of_pool(found, config.share))
    return found.assign(_agreement(found)).assign_attrs(about)


def _together(runs: Sequence[xr.Dataset], config: Config) -> xr.Dataset:
    """The runs along arm and seed; the cumulative loss is the mean over the seeds of the arm that treats no image."""
    seeds = [run.seed for run in config.runs]
    csl = np.mean([run["csl"].values for run in runs[: len(seeds)]], axis=0)
    about = runs[0]["csl"].attrs
    runs = [run.drop_vars("csl", errors="ignore") for run in runs]
    of_arm = [xr.concat(runs[k : k + len(seeds)], "seed") for k in range(0, len(runs), len(seeds))]
    found = xr.concat(of_arm, "arm", combine_attrs="override").assign_coords(arm=list(ARMS), seed=seeds)
    accuracy = found["correct"].mean("test").assign_attrs(long_name="Accuracy on test images", units="fraction")
    return found.assign(accuracy=accuracy, csl=("image", csl, about))


def _memorized(answers: xr.Dataset) -> xr.Dataset:
    """Memorization of the training images and its standard error (criterion, image), and reliability (criterion)."""
    from cgro.memorization.study import scored

    scores = scored(answers.isel(test=slice(0)), draws=20)
    names = {"memorization": "memorization", "error": "memorization_error", "reliability": "reliability"}
    return scores[list(names)].rename(names).rename(sample="image").drop_attrs(deep=False)


def _of_pool(found: xr.Dataset, share: float) -> dict[str, Any]:
    """The share of the pool that misses each image, and what chance explains."""
    from cgro.memorization.unlearnable import expected_by_chance, missed_by_all, missed_by_all_by_chance

    wrong, labels = found["wrong"].sel(criterion="perturbed").values, found["label"].values
    kinds = labels + (labels.max() + 1) * found["mislabelled"].values
    strata = {"equal images": None, "by label": labels, "by label and whether it is wrong": kinds}
    one = {"units": "1"}
    expected = [expected_by_chance(wrong, share, each) for each in strata.values()]
    by_chance = [missed_by_all_by_chance(wrong, each) for each in strata.values()]
    return {
        "missed": ("image", wrong.mean(axis=0), {"long_name": "Share of the pool that misses", "units": "fraction"}),
        "null": ("null", list(strata)),
        "networks": ("networks", np.arange(1, len(wrong) + 1), {"long_name": "Networks of the pool"} | one),
        "expected": ("null", expected, {"long_name": "Expected unlearnable images, errors independent"} | one),
        "missed_by_all": ("networks", missed_by_all(wrong), {"long_name": "Images that all networks miss"} | one),
        "missed_by_all_by_chance": (
            ("null", "networks"), np.array(by_chance), {"long_name": "The same, errors independent"} | one,
        ),
    }  # fmt: skip


def _agreement(found: xr.Dataset) -> dict[str, Any]:
    """How well scores find S_U (AUROC), and their rank correlation with the share of the pool that misses an image."""
    from cgro.measures.hardness import detection_interval
    from cgro.memorization.study import spearman

    memorized, chosen = found["memorization"], found["unlearnable"].values
    missed = found["missed"].values
    scores = (memorized.sel(criterion="perturbed").values, memorized.sel(criterion="clean").values, found["csl"].values)
    among = (np.ones(len(chosen), dtype=bool), ~found["mislabelled"].values)

    def kept(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(mask & np.isfinite(values))

    areas = [[detection_interval(s[kept(s, m)], chosen[kept(s, m)]) for m in among] for s in scores]
    ranks = [[spearman(s[m], missed[m]) for m in among] for s in scores]
    words = {"auc": "Area under the ROC curve of finding unlearnable images",
             "rank": "Spearman's correlation with the share of the pool that misses"}  # fmt: skip
    coords = {"score": list(SCORES), "among": list(AMONG), "end": ["value", "low", "high"]}
    return {
        name: xr.DataArray(np.array(values), coords, attrs={"long_name": words[name], "units": "1"})
        for name, values in (("auc", areas), ("rank", ranks))
    }


EXPERIMENT = Experiment(
    "Unlearnable images: do those that no network learns robustly cause robust overfitting?",
    Config,
    run,
    one_core_cells=True,
)
