"""Training runs without some of the atypical or mislabelled images, beside runs without as many random images.

Which images are atypical is known, since they were rotated or blended; nothing here depends on memorization scores. A
treatment leaves out images of one group. Its control leaves out as many random images of the same labels, drawn from
all images of the run, that group included: both train on equally many images with the same histogram of labels, and
differ in which images these are. Source of the questions: Xu et al., arXiv:2106.04794; the control is ours [D].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from cgro.base.errors import UserError
from cgro.base.machine import require_memory, single_thread
from cgro.base.validate import between, integer, one_of
from cgro.base.work import Tick
from cgro.data.catalog import TRAINING_IMAGES
from cgro.memorization.plan import CRITERIA
from cgro.training.config import Repeated, TrainingConfig

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from torch import Tensor, nn

    from cgro.base.randomness import Stream
    from cgro.data.batches import Images
    from cgro.data.tampering import Tampering
    from cgro.training.run import Data

GROUPS = {"typical": (0,), "atypical": (1, 2), "mislabelled": (3,), "rotated": (1,), "blended": (2,)}
"""The kinds of each group, indices of `cgro.data.tampering.KINDS`."""
PARTS = ("train", "test")
RULES = ("treatment", "control")


@dataclass(frozen=True)
class Treatment:
    """Which of the images a run is trained on."""

    pool: tuple[str, ...]
    """Groups that are there before any are left out."""
    group: str = "atypical"
    """Group of which images are left out."""
    kept: float = 1.0
    """Fraction of this group that stays, 0 to 1."""
    rule: str = "treatment"
    """treatment: its images are left out; control: random images of the pool, of the same labels."""


@dataclass(frozen=True)
class TreatedRun:
    """A training run of which every group is judged; a cell for `train_treated`."""

    training: TrainingConfig
    tampering: Tampering
    treatment: Treatment
    every: int
    """Epochs between judgements; the last epoch is always judged."""
    parts: tuple[str, ...] = PARTS
    """Images that are judged: train, test or both."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work

    @property
    def epochs(self) -> list[int]:
        """Epochs that are judged, counted from 1."""
        return [k for k in range(1, self.training.epochs + 1) if k % self.every == 0 or k == self.training.epochs]


def trained_on(
    kinds: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], treatment: Treatment, stream: Stream
) -> Bool[np.ndarray, " n"]:
    """The images of a treatment or control.

    Of one stream, what a smaller `kept` keeps of the group is among what a larger one keeps; and the control draws
    from the labels of just those images that the treatment leaves out.
    """
    from cgro.base.randomness import at
    from cgro.measures.hardness import random_like

    pool = np.isin(kinds, [k for name in treatment.pool for k in GROUPS[name]])
    order = np.random.default_rng(at(stream, 0)).permutation(len(kinds))
    group = order[np.isin(kinds[order], GROUPS[treatment.group]) & pool[order]]
    out = np.zeros(len(kinds), dtype=bool)
    out[group[round(treatment.kept * len(group)) :]] = True
    if treatment.rule == "control":
        out = random_like(out, labels, pool, at(stream, 1))
    return np.asarray(pool & ~out, dtype=bool)


@single_thread()
def train_treated(cell: TreatedRun, tick: Tick) -> xr.Dataset:
    """accuracy (criterion, part, group, epoch) on all images of each group, whether trained on or not.

    A group of training images has its given labels, so that accuracy on mislabelled ones is memorization. NaN for
    groups without images. Judged are at most `evaluation_images` of each kind and part, clean, and perturbed by the
    evaluation attack, which is the same for every method of training. `histogram` (label) counts the images that the
    run is trained on.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    import torch

    from cgro.base.randomness import at, spawn_streams
    from cgro.memorization.subset_models import Study
    from cgro.training.run import Data, Own, TrainingRun

    config, study = cell.training, Study.of(cell.training, cell.tampering)
    labels, root = study.train.labels.cpu().numpy(), spawn_streams(config.seed)
    members = trained_on(study.kinds.cpu().numpy(), labels, cell.treatment, at(root["subset"], 2))
    data = replace(Data.of(config), train=study.train.take(torch.from_numpy(np.flatnonzero(members))))
    # Its own learning curves are not used, so that they may cost little.
    run = TrainingRun.of_cell(replace(config, evaluation_images=10), tick, Own(prepared=data))
    parts = {
        name: _few(images, kinds, config.evaluation_images)
        for name, images, kinds in zip(PARTS, study.parts, (study.kinds, study.test_kinds), strict=True)
        if name in cell.parts
    }

    def watch(model: nn.Module, _: Data) -> dict[str, list[list[int]]]:
        stream = at(root["evaluation"], 0, run.trainer.step)
        return {name: _right(model, *each, config, at(stream, PARTS.index(name))) for name, each in parts.items()}

    steps = [epoch * run.trainer.steps_per_epoch for epoch in cell.epochs]
    curves = run.run(tick, watch, steps)
    right = np.array([[seen[name] for name in parts] for seen in run.observed], dtype=float)  # epoch part criterion k
    total = np.array([np.bincount(kinds, minlength=4) for _, kinds in parts.values()])
    with np.errstate(invalid="ignore"):
        accuracy = np.stack(
            [right[..., kinds].sum(-1) / total[:, kinds].sum(-1)[:, None] for kinds in map(list, GROUPS.values())]
        )
    return xr.Dataset(
        {
            "accuracy": (
                ("criterion", "part", "group", "epoch"),
                np.einsum("gepc->cpge", accuracy),
                {"long_name": "Accuracy", "units": "fraction"},
            ),
            "histogram": (
                "label",
                np.bincount(labels[members], minlength=study.classes),
                {"long_name": "Images that the run is trained on", "units": "1"},
            ),
        },
        {"criterion": list(CRITERIA), "part": list(parts), "group": list(GROUPS), "epoch": cell.epochs},
        {name: curves.attrs[name] for name in ("data", "model", "width", "norm", "radius")},
    )


def _few(images: Images, kinds: Tensor, most: int) -> tuple[Images, np.ndarray]:
    """At most so many images of each kind, the first ones, and their kinds."""
    import torch

    of = kinds.cpu().numpy()
    chosen = np.sort(np.concatenate([np.flatnonzero(of == k)[:most] for k in range(4)]))
    return images.take(torch.from_numpy(chosen)), of[chosen]


def _right(
    model: nn.Module, images: Images, kinds: np.ndarray, config: TrainingConfig, stream: Stream
) -> list[list[int]]:
    """How many images of each kind (criterion, kind) the network classifies correctly."""
    from cgro.memorization.subset_models import answers

    right = answers(model, 1, images, config.stronger, stream)[:, 0] == images.labels.cpu().numpy()
    return [np.bincount(kinds[each], minlength=4).tolist() for each in right]


@dataclass(frozen=True)
class Injected(Repeated):
    """Runs with images that were rotated, blended or given a wrong label."""

    seeds: int = 5
    """Independent repetitions (images, injection, what is left out, weights, order, attacks), 1 to 1,000."""

    rotated: float = 0.1
    """Fraction of the training and test images that are turned by a right angle, 0 to 1."""

    blended: float = 0.1
    """Fraction of the training and test images that are blended with one of another class, 0 to 1."""

    mislabelled: float = 0.1
    """Fraction of the training images with a wrong label, 0 to 1; together with the others at most 0.9."""

    @property
    def tampering(self) -> Tampering:
        """What is done to the images."""
        from cgro.data.tampering import Tampering

        return Tampering(self.rotated, self.blended, self.mislabelled)

    @property
    def images(self) -> int:
        """Training images before any are left out; with a choice of classes at most so many."""
        return self.training.samples or TRAINING_IMAGES[self.training.data] - self.training.held_out

    @property
    def described(self) -> dict[str, str | int | float]:
        """Attributes of a result."""
        injected = {name: getattr(self, name) for name in ("rotated", "blended", "mislabelled")}
        return injected | {"objective": self.training.objective, "epochs": self.training.epochs}

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.training
        integer("seeds", self.seeds, low=1, high=1000)
        if training.data == "own":
            raise UserError("data must be a data set by name, got own: the images are changed in known ways")
        if training.label_noise > 0:
            raise UserError(f"label_noise must be 0, got {training.label_noise:g}: give mislabelled")
        for name in ("rotated", "blended", "mislabelled"):
            between(name, getattr(self, name), 0, 1)
        share = self.rotated + self.blended + self.mislabelled
        if share > 0.9 + 1e-9:
            raise UserError(f"rotated, blended and mislabelled must be at most 0.9 together, got {share:g}")
        images = self.images
        if round(images * (self.rotated + self.blended)) < 1:
            raise UserError(f"rotated and blended must make at least 1 of {images:,} images atypical")
        if images - round(images * share) < 10:
            raise UserError(f"samples must leave at least 10 typical images, got {images:,} with {share:g} changed")
        require_memory(1e4 * self.seeds * training.epochs, f"epochs = {training.epochs:,}")


@dataclass(frozen=True)
class BesideStandard(Injected):
    """Such runs by the configured training, and by standard training."""

    @property
    def methods(self) -> dict[str, TrainingConfig]:
        """The configured training, and standard training otherwise alike.

        The attack of the evaluation is the same: it has as many steps as that of the configured training at least.
        """
        return {
            "adversarial": self.training,
            "standard": replace(
                self.training,
                objective="standard",
                beta=None,
                evaluation_steps=max(self.training.evaluation_steps, self.training.attack_steps),
            ),
        }

    def run_of(self, method: str, seed: int) -> TrainingConfig:
        """A run by a method. Its own learning curves are not needed."""
        return replace(self.methods[method], seed=seed, evaluate_every=self.training.epochs)

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.training
        one_of("objective", training.objective, ("adversarial", "mixture", "trades", "trades-adversarial", "mart"))
        if training.cure != "none":
            raise UserError(f"cure must be none, got {training.cure}: runs here differ only in their images")
        _ = self.methods
