"""Gradient stability: the norm of the gradient in training, and how fast it changes along the direction of descent.

Dong et al. explain why PGD-AT fails on random labels by its gradients: adversarial examples depend on the weights, so
that the gradient changes faster along the way than that of TRADES, and that of TRADES faster than that of standard
training. Here each objective trains the same networks on the same images, and is measured by its own loss, with
adversarial examples crafted anew at every point. Source: Dong et al., "Exploring memorization in adversarial training",
ICLR 2022, arXiv:2106.01606.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory, single_thread
from cgro.base.validate import at_least, distinct, integer, one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment
from cgro.training import limits
from cgro.training.choices import ObjectiveName
from cgro.training.config import Repeated, TrainingConfig

ACCURACIES = ("clean_train_accuracy", "robust_train_accuracy")


@dataclass(frozen=True)
class MeasuredRun:
    """A run, and where its gradients are compared; a cell."""

    training: TrainingConfig
    at_epochs: tuple[int, ...]
    distances: tuple[float, ...]
    images: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


@dataclass(frozen=True)
class Config(Repeated):
    """Training with each objective, with the gradient norm of every update, training accuracy, and stability after some
    epochs."""

    objectives: tuple[ObjectiveName, ...] = ("standard", "adversarial", "trades")
    """Objectives to compare, each replacing that of the training; free is not one of them."""

    at_epochs: tuple[int, ...] = (1, 10, 40)
    """Epochs after which stability is measured, increasing, 0 for the initial network."""

    distances: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Distances along the direction of descent, in units of the weights, each above 0, increasing."""

    gradient_images: int = 200
    """Training images whose mean loss is differentiated for the stability, at least 1."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits with random labels, three seeds: a few seconds on one core."""
        training = _digits(samples=100, epochs=16, width=8, evaluate_every=4)
        return cls(training, seeds=3, at_epochs=(1, 4, 16), gradient_images=100)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with random labels and PreActResNet-18; needs a GPU."""
        training = replace(
            TrainingConfig.cifar10(), held_out=0, label_noise=1.0, augmentation="none", weight_decay=0.0,
            precision="float32", evaluate_every=5,
        )  # fmt: skip
        return cls(training, seeds=3, at_epochs=(1, 10, 20, 40), gradient_images=1000)

    @property
    def cells(self) -> list[MeasuredRun]:
        """One run for each objective and seed, the seeds of an objective together."""
        return [
            MeasuredRun(replace(run, objective=objective), self.at_epochs, self.distances, self.gradient_images)
            for objective in self.objectives
            for run in self.runs
        ]

    def __post_init__(self) -> None:
        super().__post_init__()
        for objective in self.objectives:
            one_of("objectives", objective, [name for name in get_args(ObjectiveName) if name != "free"])
        distinct("objectives", self.objectives)
        integer("gradient_images", self.gradient_images, low=1)
        for epoch in self.at_epochs:
            integer("at_epochs", epoch, low=0, high=self.training.epochs)
        for distance in self.distances:
            at_least("distances", distance, 0)
        for name in ("at_epochs", "distances"):
            values = list(getattr(self, name))
            if not values or values != sorted(set(values)) or (name == "distances" and values[0] == 0):
                raise UserError(
                    f"{name} must be one or more, increasing{' from above 0' * (name == 'distances')}, got {values}"
                )
        require_memory(limits.ROW * self.seeds * len(self.objectives), f"seeds = {self.seeds:,}")
        _ = self.cells  # validates every training configuration


def _digits(**options: int) -> TrainingConfig:
    return replace(
        TrainingConfig(held_out=0, samples=options["samples"]), label_noise=1.0, radius=0.1, radius_warmup=0.0,
        batch_size=50, epochs=options["epochs"], width=options["width"], evaluate_every=options["evaluate_every"],
    )  # fmt: skip


@single_thread()
def measured_run(cell: MeasuredRun, tick: Tick) -> xr.Dataset:
    """Gradient norms and training accuracies over (epoch), norms as means over its updates and accuracies NaN where the
    network is not evaluated, and stability over (at_epoch, t)."""
    import torch

    from cgro.base.randomness import at, spawn_streams
    from cgro.measures.gradients import along_descent, gradient_norm
    from cgro.training.run import VARIABLES, Data, make_trainer
    from cgro.training.stacked_runs import accuracies

    config = cell.training
    data = Data.of(config)
    trainer = make_trainer(config, data)
    images = data.train.take(torch.arange(min(cell.images, len(data.train))))
    x, y, recipe = images.scaled(images.pixels), images.labels, config.recipe
    stream = spawn_streams(config.seed)["evaluation"]
    norms: list[float] = []
    reached: list[tuple[float, float]] = []
    found: list[xr.Dataset] = []
    for epoch in range(config.epochs + 1):
        if epoch:
            of_updates: list[torch.Tensor] = []

            def keep(of_updates: list[torch.Tensor] = of_updates) -> None:
                of_updates.append(gradient_norm(trainer.model))

            trainer.advance(epoch * trainer.steps_per_epoch, keep)
            norms.append(float(torch.stack(of_updates).mean()))
            due = config.is_due(epoch)
            reached.append(accuracies(trainer.evaluated, config, data, epoch) if due else (np.nan, np.nan))
            tick(1.0)
        if epoch in cell.at_epochs:
            model, here = trainer.evaluated, at(stream, epoch)
            found.append(along_descent(model, x, y, recipe.objective, recipe.attack, cell.distances, stream=here))
    index = xr.DataArray(list(cell.at_epochs), dims="at_epoch", name="at_epoch")
    stability = xr.concat(found, dim=index, combine_attrs="override")
    curve = (
        "epoch",
        norms,
        {"long_name": "Gradient norm, mean over the updates of an epoch", "units": "nat / weight unit"},
    )
    accuracy = {
        name: ("epoch", values, dict(zip(("long_name", "units"), VARIABLES[name], strict=True)))
        for name, values in zip(ACCURACIES, np.array(reached).T, strict=True)
    }
    coords = {"epoch": ("epoch", range(1, config.epochs + 1), {"long_name": "Epoch", "units": "epoch"})}
    about = {name: getattr(config, name) for name in ("data", "model", "norm", "radius", "label_noise", "epochs")}
    return stability.assign(accuracy | {"gradient_norm": curve}).assign_coords(coords).assign_attrs(
        about | {"width": config.own_width, "train_images": len(data.train), "gradient_images": len(images)}
    )  # fmt: skip


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Gradient norms and training accuracies over (objective, seed, epoch), and stability over (objective, seed,
    at_epoch, t).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    found = (context or PlainContext()).map(measured_run, config.cells)
    seeds = xr.DataArray([run.seed for run in config.runs], dims="seed", name="seed")
    each = [
        xr.concat(found[k : k + config.seeds], dim=seeds, combine_attrs="override")
        for k in range(0, len(found), config.seeds)
    ]
    objectives = xr.DataArray(np.array(config.objectives), dims="objective", name="objective")
    return xr.concat(each, dim=objectives, combine_attrs="override")


EXPERIMENT = Experiment(
    "Gradient stability: how fast the gradients of standard training, TRADES and PGD-AT change",
    Config,
    run,
    one_core_cells=True,
)
