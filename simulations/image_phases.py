"""Do the three phases of the theory appear on real images? Signal and memorized components of the margin over training.

Unseen images are drawn like the training images but not trained on. Their clean margin is the signal that the network
has learned; their attacked margin is what survives the attack. The memorized component is how much larger the margin is
on attacked training images (`cgro/measures/components.py`). In the patch model of Li & Li (ICML 2025, arXiv:2306.01271,
section 5), the signal is learned first and stalls below the level that would resist the attack; memorization then
drives the robust training loss to 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import single_thread
from cgro.base.work import Context, PlainContext, Tick
from cgro.dynamics.phases import crossing
from cgro.runs.experiment import Experiment
from cgro.training.config import Repeated, TrainingConfig

if TYPE_CHECKING:
    import torch

    from cgro.training.run import Data, TrainingRun

LABELS = {
    "clean_margin": ("Mean margin of {} images", "logit"),
    "attacked_margin": ("Mean margin of perturbed {} images", "logit"),
    "clean_loss": ("Loss of {} images", "nat"),
    "attacked_loss": ("Loss of perturbed {} images", "nat"),
}
PARTS = {"train": "training", "unseen": "unseen"}
_FEWEST = 50


@dataclass(frozen=True)
class Config(Repeated):
    """Adversarial training measured at logarithmically spaced steps, on at most `evaluation_images` of each part."""

    points: int = 40
    """Number of measured steps besides step 0, logarithmically spaced, 5 or more."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, constant learning rate and radius, two seeds: fifteen seconds on one CPU core."""
        return cls(
            _constant(
                TrainingConfig(
                    width=16,
                    samples=300,
                    held_out=0,
                    epochs=40,
                    batch_size=50,
                    evaluate_every=40,
                    evaluation_images=200,
                )
            ),
            points=24,
        )

    @classmethod
    def paper(cls) -> Config:
        """MNIST with LeNet at radius 0.2, 1,000 images, five seeds: five minutes per seed on one CPU core.

        The radius rises over the first twentieth of training: at full radius from the start, LeNet predicts one class.
        """
        training = TrainingConfig(
            data="mnist",
            samples=1000,
            held_out=0,
            model="lenet",
            width=8,
            radius=0.2,
            attack_steps=10,
            epochs=60,
            batch_size=50,
            evaluate_every=60,
            evaluation_images=500,
        )
        return cls(replace(_constant(training), radius_warmup=0.05, learning_rate=0.01), seeds=5, points=32)

    @property
    def cells(self) -> list[Cell]:
        """One training run for each seed."""
        return [Cell(run, self.points) for run in self.runs]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points < 5:
            raise UserError(f"points must be at least 5, got {self.points}")
        if self.training.samples is None:
            raise UserError("samples must be given, got None (all): margins of the images left out are the signal")
        if self.training.label_noise > 0:
            raise UserError(
                f"label_noise must be 0, got {self.training.label_noise:g}: unseen images have their true labels"
            )


def _constant(training: TrainingConfig) -> TrainingConfig:
    """Keep the radius and a small learning rate constant throughout, as in the theory."""
    return replace(training, radius_warmup=0.0, schedule="constant", learning_rate=0.02)


@dataclass(frozen=True)
class Cell:
    """One training run and its number of measured steps."""

    training: TrainingConfig
    points: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Margins and losses over (seed, step), components of the margin, and the times T_0 and T_1 when S and M reach 1.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    return xr.concat((context or PlainContext()).map(watch_one, config.cells), dim="seed", combine_attrs="override")


@single_thread()
def watch_one(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train one network and record its margins."""
    import torch

    from cgro.base.randomness import spawn_streams, torch_generator
    from cgro.measures.components import margins_and_losses
    from cgro.training.run import TrainingRun

    config = cell.training
    training = TrainingRun.of_cell(config, tick)
    if len(training.data.unseen) < _FEWEST:
        raise UserError(
            f"samples must leave at least {_FEWEST} images, whose margins are the signal, got {config.samples}, which "
            f"leaves {len(training.data.unseen)}: use fewer samples, or hold out fewer"
        )
    attack = replace(config.stronger, restarts=1)

    def watch(model: torch.nn.Module, data: Data) -> dict[str, dict[str, float]]:
        found = {}
        for part in PARTS:
            images = getattr(data, part)
            images = images.take(torch.arange(min(len(images), config.evaluation_images)))
            # The same random starts at every step, so that only the network changes along a curve.
            generator = torch_generator(spawn_streams(config.seed)["evaluation"], images.labels.device)
            found[part] = margins_and_losses(model, images, attack, generator)
        return found

    steps = np.unique(np.geomspace(1, training.trainer.steps, cell.points).round().astype(int))
    training.run(tick, watch, [0, *steps.tolist()])
    return _dataset(cell, training)


def _dataset(cell: Cell, training: TrainingRun) -> xr.Dataset:
    from cgro.measures.components import NAMES

    rows, dims = training.observed, ("seed", "step")
    steps = np.array([row["step"] for row in rows])
    variables: dict[str, Any] = {}
    for part, called in PARTS.items():
        for name in NAMES:
            label, units = LABELS[name]
            values = np.array([row[part][name] for row in rows])
            variables[f"{name}_{part}"] = (dims, values[None], {"long_name": label.format(called), "units": units})
    memorized = variables["attacked_margin_train"][1] - variables["attacked_margin_unseen"][1]
    variables["memorized"] = (dims, memorized, {"long_name": "Memorized component of the margin", "units": "logit"})
    reached = {"T_0": ("Signal learned", variables["clean_margin_unseen"][1]), "T_1": ("Noise memorized", memorized)}
    for symbol, (label, values) in reached.items():
        about = {"long_name": f"{label}: its component of the margin reaches 1", "units": "step"}
        variables[symbol] = ("seed", [crossing(steps.astype(float), values[0], 1.0)], about)
    last = training.rows[-1]
    for name in ("clean_test_accuracy", "robust_test_accuracy", "robust_train_accuracy"):
        about = {"long_name": f"{name.replace('_', ' ').capitalize()} at the end", "units": "fraction"}
        variables[name] = ("seed", [last[name]], about)
    config, curves = cell.training, training.curves()
    return xr.Dataset(
        variables,
        {
            "seed": ("seed", [config.seed], {"long_name": "Seed", "units": "1"}),
            "step": ("step", steps, {"long_name": "Update", "units": "step"}),
        },
        {
            name: curves.attrs[name]
            for name in ("data", "model", "width", "method", "norm", "radius", "train_images", "parameters")
        }
        | {"radius_warmup": config.radius_warmup, "watched": min(config.evaluation_images, len(training.data.unseen))},
    )


EXPERIMENT = Experiment(
    "The three phases on real images: signal, its stall under attack, memorization", Config, run, one_core_cells=True
)
