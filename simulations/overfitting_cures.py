"""Remedies against robust overfitting under one protocol: each cure with the same data, network, seeds and attacks.

Every network is judged twice, at the epoch that is best on held-out images and at the end, on test images: clean, under
PGD, and under the strong ensemble. PGD alone flatters remedies that flatten the loss. Sources: Dong et al., "Exploring
memorization in adversarial training", ICLR 2022, arXiv:2106.01606 (temporal ensembling); Rice, Wong & Kolter, ICML
2020, arXiv:2002.11569 (best and last checkpoint, weight decay, cutout); Wu, Xia & Wang, NeurIPS 2020, arXiv:2004.05884
(AWP).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_args

import numpy as np
import tyro
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory, single_thread
from cgro.base.validate import integer, one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment
from cgro.training import limits
from cgro.training.choices import STRENGTHS, CureName
from cgro.training.config import TrainingConfig

ALL: tuple[CureName, ...] = get_args(CureName)
CHECKPOINTS = ("best", "last")
ATTACKS = ("clean", "PGD-20", "ensemble")


@dataclass(frozen=True)
class Config:
    """Train with each cure and several seeds."""

    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    """What all runs share. Each run replaces its cure; strength, start, end and momentum go to cures that have them."""

    cures: tuple[CureName, ...] = ALL
    """Remedies to compare; none is the baseline."""

    seeds: int = 3
    """Independent runs of each cure, at least 1."""

    judged_images: int = 500
    """Test images under the strong ensemble, at least 10."""

    @classmethod
    def quick(cls) -> Config:
        """300 digits with 40 % of their labels redrawn; the baseline and two cures, two seeds: a minute of one core."""
        return cls(noisy_digits(epochs=30), ("none", "temporal-ensembling", "awp"), seeds=2, judged_images=200)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with PreActResNet-18 over 200 epochs, all cures, three seeds; needs a GPU."""
        cifar10 = TrainingConfig.cifar10()
        training = replace(cifar10, epochs=200, drops=(100, 150), evaluate_every=2, cure="temporal-ensembling")
        return cls(training, judged_images=10_000)

    @property
    def cells(self) -> list[Cell]:
        """One run for each cure and seed, the seeds of a cure together."""
        return [
            Cell(replace(self._with(cure), seed=self.training.seed + k), self.judged_images)
            for cure in self.cures
            for k in range(self.seeds)
        ]

    def _with(self, cure: CureName) -> TrainingConfig:
        given, timed = self.training, cure in ("temporal-ensembling", "self-adaptive")
        return replace(
            given,
            cure=cure,
            cure_strength=given.cure_strength if cure in STRENGTHS else None,
            cure_start=given.cure_start if timed else None,
            cure_end=given.cure_end if cure == "temporal-ensembling" else None,
        )

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, low=1)
        integer("judged_images", self.judged_images, low=10)
        for cure in self.cures:
            one_of("cures", cure, ALL)
        if not self.cures or len(set(self.cures)) < len(self.cures):
            raise UserError(f"cures must be one or more different names, got {', '.join(self.cures) or 'none at all'}")
        if self.training.held_out < 10:
            raise UserError(
                f"held_out must be at least 10, to choose the best checkpoint by, got {self.training.held_out}"
            )
        require_memory(limits.ROW * self.seeds * len(self.cures), f"seeds = {self.seeds:,}")
        for cure in self.cures:  # what does not go with it is refused here
            self._with(cure)


def noisy_digits(epochs: int) -> TrainingConfig:
    """A setting that overfits robustly within seconds: PGD-AT loses robust test accuracy to the labels that are wrong.

    Memorization begins before the learning rate falls, so that the ramp of temporal ensembling starts early.
    """
    return TrainingConfig(
        samples=300,
        label_noise=0.4,
        width=32,
        radius=0.1,
        radius_warmup=0.2,
        epochs=epochs,
        schedule="piecewise",
        learning_rate=0.1,
        evaluate_every=2,
        cure="temporal-ensembling",
        cure_start=epochs // 12,
        cure_end=epochs // 3,
    )


@dataclass(frozen=True)
class Cell:
    """One training run, and how many test images judge it."""

    training: TrainingConfig
    images: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies over (cure, seed, checkpoint, attack) and learning curves over (cure, seed, epoch).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    found = (context or PlainContext()).map(judge, config.cells)
    seeds = xr.DataArray(
        [config.training.seed + k for k in range(config.seeds)],
        dims="seed",
        name="seed",
        attrs={"long_name": "Seed", "units": "1"},
    )
    of_cure = [
        xr.concat(found[k : k + config.seeds], dim=seeds, combine_attrs="drop_conflicts")
        for k in range(0, len(found), config.seeds)
    ]
    cures = xr.DataArray(list(config.cures), dims="cure", name="cure", attrs={"long_name": "Remedy", "units": "1"})
    together = xr.concat(of_cure, dim=cures, combine_attrs="drop_conflicts")
    return together.assign_attrs(objective=config.training.objective, epochs=config.training.epochs)


@single_thread()
def judge(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train one network, and attack it as it was at its best epoch and as it is at the end."""
    import torch

    from cgro.base.randomness import at, spawn_streams
    from cgro.training.evaluation import evaluate_network
    from cgro.training.run import TrainingRun

    config, training = cell.training, TrainingRun.of_cell(cell.training, tick)
    curves = training.run(tick)
    images = training.data.test
    images = images.take(torch.arange(min(cell.images, len(images))))
    model = training.trainer.evaluated
    last = {name: value.clone() for name, value in model.state_dict().items()}
    epochs = {"best": int(curves.attrs["best_epoch"]), "last": config.epochs}
    table = np.full((len(CHECKPOINTS), len(ATTACKS)), np.nan)
    for row, (name, weights) in enumerate((("best", training.best), ("last", last))):
        model.load_state_dict(weights)
        stream = at(spawn_streams(config.seed)["evaluation"], 0, row)
        found = evaluate_network(
            model, config, images, config.budget, part="test", epoch=epochs[name], steps=20, stream=stream
        )
        masks = list(found.masks.values())
        table[row] = [float(mask.double().mean()) for mask in (masks[0], masks[1], masks[-1])]
    accuracy = (("checkpoint", "attack"), table, {"long_name": "Accuracy on test images", "units": "fraction"})
    kept = {name: curves[name] for name in ("robust_test_accuracy", "robust_train_accuracy", "clean_test_accuracy")}
    attrs: dict[str, Any] = {name: value for name, value in curves.attrs.items() if name != "best_epoch"}
    best = ((), epochs["best"], {"long_name": "Best epoch by held-out images", "units": "1"})
    return xr.Dataset(
        {"accuracy": accuracy, "best_epoch": best, **kept},
        {"checkpoint": list(CHECKPOINTS), "attack": list(ATTACKS)},
        attrs | {"judged_images": len(images)},
    )


EXPERIMENT = Experiment(
    "Cures of robust overfitting, best and last checkpoint under a strong attack", Config, run, one_core_cells=True
)
