"""Benign adversarial training beside others: does it gain clean accuracy, and at no price under a strong attack?

PGD-AT, TRADES, MART, BAT, GAIRAT, and a control of BAT whose weights are those of BAT on random images of the batch are
trained on the same images, of which some are rotated, blended or mislabelled. Test images are judged one by one at the
best checkpoint on held-out images and at the last one: clean, under PGD, and under the strong ensemble, since weights
are known to fool PGD. Sources: Xu et al., arXiv:2106.04794 (BAT; its formulas are recalled, see
`cgro.training.benign` [R]); Zhang et al., ICLR 2021, arXiv:2010.01736 (GAIRAT). Control, groups of known truth and
verdicts are ours [D]. Treatments by scores are left out: scores belong to images of a data set, and what is done to
the images here differs from seed to seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.validate import distinct, integer, one_of
from cgro.base.work import Context, PlainContext
from cgro.memorization.judged_methods import JUDGED, JudgedMethod, group_means, judge_method
from cgro.memorization.treated_runs import Injected
from cgro.runs.experiment import Experiment
from cgro.training.config import Judged, TrainingConfig
from cgro.training.cures import of_cure

MethodName = Literal["adversarial", "trades", "mart", "bat", "gairat", "random-weights"]
OBJECTIVES = ("adversarial", "trades", "mart")
"""Methods that are objectives; the others are cures."""
NEEDED = ("adversarial", "bat")


@dataclass(frozen=True)
class Config(Injected, Judged):
    """Train by each method and with several seeds. The cure and its strength that are given besides are for that cure
    alone; weights of all methods start at `cure_start`, if it is given."""

    methods: tuple[MethodName, ...] = get_args(MethodName)
    """Methods to compare: adversarial (PGD-AT) and bat, and others."""

    ensemble_steps: int = 100
    """Steps of APGD in the strong ensemble, 1 to 10,000; fewer than 100 are weaker."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits and a narrow network, two seeds: some seconds of one core, too few to conclude from."""
        training = replace(
            TrainingConfig(), samples=100, held_out=20, width=8, radius=0.06, radius_warmup=0.0, batch_size=50,
            learning_rate=0.1, schedule="piecewise", epochs=8, attack_steps=2, evaluation_images=20,
            evaluation_steps=2, evaluate_every=4,
        )  # fmt: skip
        return cls(training, judged_images=20, seeds=2, ensemble_steps=5)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-100 with PreActResNet-18 over 200 epochs, five seeds; for several GPUs."""
        training = replace(TrainingConfig.cifar10(), data="cifar100", epochs=200, drops=(100, 150), evaluate_every=2)
        return cls(training, judged_images=2000)

    @property
    def cells(self) -> list[JudgedMethod]:
        """One run for each method and seed, the seeds of a method together."""
        return [
            JudgedMethod(
                replace(self.training_of(method), seed=run.seed),
                self.tampering,
                self.judged_images,
                self.ensemble_steps,
            )
            for method in self.methods
            for run in self.runs
        ]

    def training_of(self, method: MethodName) -> TrainingConfig:
        """The configured training by a method; it differs in nothing else."""
        match method:
            case "adversarial" | "trades" | "mart":
                return replace(of_cure(self.training, "none"), objective=method)
        return of_cure(self.training, method)

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.training
        for method in self.methods:
            one_of("methods", method, get_args(MethodName))
        integer("ensemble_steps", self.ensemble_steps, low=1, high=10_000)
        distinct("methods", self.methods)
        if not set(NEEDED) <= set(self.methods):
            raise UserError(f"methods must include {' and '.join(NEEDED)}, got {', '.join(self.methods)}")
        if training.objective != "adversarial":
            raise UserError(f"objective must be adversarial, got {training.objective}: give methods")
        if training.beta is not None:
            raise UserError(f"beta must be left out, got {training.beta:g}: TRADES and MART have their own")
        one_of("cure", training.cure, ("none", *(name for name in self.methods if name not in OBJECTIVES)))
        if round(self.judged_images * (self.rotated + self.blended)) < 1:
            raise UserError(f"judged_images must be enough for 1 atypical image, got {self.judged_images}")
        for method in self.methods:
            self.training_of(method)  # what does not go with a method is refused here


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """correct (training, seed, checkpoint, attack, image) with kind (seed, image), and what follows from them.

    accuracy (training, seed, checkpoint, attack, group); train_accuracy (training, seed, criterion, trained); weight
    (training, seed, trained); effective_share (training, seed, epoch); best_epoch (training, seed).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    cells = config.cells
    found = (context or PlainContext()).map(judge_method, cells)
    seeds, count = [each.seed for each in config.runs], len(config.methods)
    of_method = [xr.concat(found[k * len(seeds) : (k + 1) * len(seeds)], dim="seed") for k in range(count)]
    together = xr.concat(of_method, dim="training", combine_attrs="override")
    kinds = together["kind"].isel(training=0).values
    accuracy = [group_means(together["correct"].isel(seed=s).values, each, JUDGED) for s, each in enumerate(kinds)]
    dims = ("training", "seed", "checkpoint", "attack", "group")
    about = {"long_name": "Accuracy on test images", "units": "fraction"}
    named = together.assign_coords(training=list(config.methods), seed=seeds, group=list(JUDGED))
    named = named.assign(
        kind=(("seed", "image"), kinds, together["kind"].attrs), accuracy=(dims, np.stack(accuracy, axis=1), about)
    )
    return named.assign_attrs(config.described, ensemble_steps=config.ensemble_steps)


EXPERIMENT = Experiment(
    "BAT: benign adversarial training beside others and a random control, under a strong attack",
    Config,
    run,
    one_core_cells=True,
)
