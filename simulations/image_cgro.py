"""Clean generalization and robust overfitting of a convolutional network on real images.

Under PGD adversarial training a network comes to classify perturbed training images and clean test images
well, but not perturbed test images: its robust generalization gap is large while its clean one is small.
Reference: Rice, Wong, Kolter, "Overfitting in adversarially robust deep learning", ICML 2020, section 3.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, get_args

import xarray as xr

from cgro.attacks.pgd import Budget
from cgro.data.images import TRAINING_IMAGES, ImageName, load_images, stratified_subset
from cgro.experiment import Context, PlainContext, Tick, UserError
from cgro.machine import resolve_device
from cgro.networks.image_models import SmallCNN
from cgro.training.adversarial import (
    Attack,
    Images,
    Recipe,
    accuracy,
    correct,
    evaluation_attack,
    single_thread,
    spawn_streams,
    torch_generator,
    train,
)

TITLE = "Clean generalization and robust overfitting of a convolutional network on real images"

VARIABLES = {
    "clean_train_accuracy": ("Accuracy on clean training images", "fraction"),
    "robust_train_accuracy": ("Accuracy on perturbed training images", "fraction"),
    "clean_test_accuracy": ("Accuracy on clean test images", "fraction"),
    "robust_test_accuracy": ("Accuracy on perturbed test images", "fraction"),
    "train_loss": ("Adversarial training loss, mean over the epoch", "nat"),
}
"""Variables of the result: long name and unit."""


@dataclass(frozen=True)
class Config:
    """l_inf adversarial training of a small network, on few images, to interpolation.

    The preset `quick` trains on 500 digits with radius 0.15. There the network fits nearly all perturbed
    training images and its clean test accuracy is near 98 %, but a third of the test images can be perturbed
    into errors. With radius 0.2 it takes longer to fit, and from 0.3 on this width does not fit any more.
    """

    data: ImageName = "digits"
    """Images: digits (8x8, part of scikit-learn), mnist (28x28) or cifar10 (32x32), from folder CGRO_DATA."""

    samples: int = 500
    """Training images, a random subset of equal class shares; 10 to 1201 digits, 60000 mnist, 50000 cifar10."""

    test_images: int = 1000
    """Test images to evaluate at most, >= 10; a fixed subset of equal class shares if there are more."""

    width: int = 24
    """Channels of the first convolution, 1 or more."""

    epochs: int = 40
    """Passes over the training images, 1 or more."""

    evaluate_every: int = 1
    """Epochs between evaluations, 1 or more; the first and the last epoch are always evaluated."""

    radius: float = 0.15
    """l_inf radius of perturbations in units of pixels in [0, 1], above 0 and at most 1, e.g. 0.0314 = 8/255."""

    seeds: int = 2
    """Independent runs (training subset, weights, order, attacks), 1 or more."""

    learning_rate: float = 0.05
    """Largest learning rate of SGD, above 0: reached after a fifth of the training, then falling to 0."""

    batch_size: int = 32
    """Images in a batch, 1 or more."""

    attack_steps: int = 5
    """PGD steps for each training batch, 1 or more."""

    evaluation_steps: int = 10
    """PGD steps of the evaluation, more than attack_steps: they begin at the radius and shrink, from 2 starts."""

    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu or cuda; bits repeat on a CPU only."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, two seeds; about a minute of one CPU core."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """2,000 images of MNIST against all of its test images; made for a GPU, hours on a CPU."""
        return cls(
            data="mnist",
            samples=2000,
            test_images=10_000,
            width=32,
            radius=0.2,
            seeds=5,
            batch_size=64,
            attack_steps=10,
            evaluation_steps=20,
            evaluate_every=5,
        )

    def __post_init__(self) -> None:
        if self.data not in get_args(ImageName):
            allowed = ", ".join(get_args(ImageName))
            raise UserError(f"data is {self.data!r}: allowed are {allowed}; choose one of them")
        most = TRAINING_IMAGES[self.data]
        if not 10 <= self.samples <= most:
            raise UserError(f"samples is {self.samples}: allowed are 10 to {most} with {self.data}; change it")
        if self.test_images < 10:
            raise UserError(f"test_images is {self.test_images}: allowed are 10 or more; raise it")
        for name in ("width", "epochs", "evaluate_every", "seeds", "batch_size", "attack_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: allowed are 1 or more; raise it")
        if self.evaluation_steps <= self.attack_steps:
            raise UserError(
                f"evaluation_steps is {self.evaluation_steps}: allowed are more than attack_steps, which is "
                f"{self.attack_steps}; raise it"
            )
        if not 0 < self.radius <= 1:
            raise UserError(
                f"radius is {self.radius:g}: allowed are above 0 up to 1, as pixels lie in [0, 1]; "
                "divide 8-bit values by 255, e.g. 8/255 = 0.0314"
            )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UserError(f"learning_rate is {self.learning_rate}: allowed are numbers above 0; try 0.05")


@dataclass(frozen=True)
class Cell:
    """One training run: a configuration without its number of seeds, and one seed."""

    data: ImageName
    samples: int
    test_images: int
    width: int
    epochs: int
    evaluate_every: int
    radius: float
    learning_rate: float
    batch_size: int
    attack_steps: int
    evaluation_steps: int
    device: str
    seed: int

    @property
    def work(self) -> float:
        """Epochs."""
        return float(self.epochs)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies and loss over (seed, epoch); epochs are those of the evaluations, counted from 1.

    Raises: UserError for data or a device that is not there, and for training that diverges.
    """
    shared: dict[str, Any] = {k: v for k, v in asdict(config).items() if k != "seeds"}
    cells = [Cell(**shared, seed=seed) for seed in range(config.seeds)]
    return xr.concat((context or PlainContext()).map(train_one, cells), dim="seed", combine_attrs="override")


@single_thread()
def train_one(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train and evaluate one network."""
    device, streams = resolve_device(cell.device), spawn_streams(cell.seed)
    data = load_images(cell.data)
    kept = stratified_subset(data.train_labels, cell.samples, streams["subset"])
    # The same test images for every seed: runs differ in training alone.
    tested = stratified_subset(data.test_labels, min(cell.test_images, len(data.test_labels)), seed=0)
    images = {
        "train": Images(data.train_images[kept].to(device), data.train_labels[kept].to(device), data.white),
        "test": Images(data.test_images[tested].to(device), data.test_labels[tested].to(device), data.white),
    }
    channels, size = data.train_images.shape[1:3]
    model = SmallCNN(channels, size, data.classes, cell.width, generator=torch_generator(streams["weights"]))
    model.to(device)
    budget = Budget("inf", cell.radius)
    # Steps of 2.5 radius / steps can cross the ball from any start.
    attack = Attack(budget, cell.attack_steps, relative_step=2.5 / cell.attack_steps)
    stronger = evaluation_attack(budget, cell.evaluation_steps)
    generator = torch_generator(streams["evaluation"], device)
    rows: list[dict[str, float]] = []

    def after_epoch(epoch: int, loss: float) -> None:
        if epoch % cell.evaluate_every == 0 or epoch in (1, cell.epochs):
            row = {"epoch": epoch, "train_loss": loss}
            for part, some in images.items():
                row[f"clean_{part}_accuracy"] = accuracy(correct(model, some))
                row[f"robust_{part}_accuracy"] = accuracy(correct(model, some, stronger, generator))
            rows.append(row)
        tick(1.0)

    recipe = Recipe(attack, cell.epochs, cell.batch_size, cell.learning_rate)
    train(model, images["train"], recipe, streams=streams, after_epoch=after_epoch)
    return _dataset(cell, rows, data.test_name, len(tested))


def _dataset(cell: Cell, rows: list[dict[str, float]], test_name: str, tested: int) -> xr.Dataset:
    epochs = ("epoch", [int(row["epoch"]) for row in rows], {"long_name": "Epoch", "units": "epoch"})
    return xr.Dataset(
        {
            name: (("seed", "epoch"), [[row[name] for row in rows]], {"long_name": label, "units": units})
            for name, (label, units) in VARIABLES.items()
        },
        coords={"epoch": epochs, "seed": ("seed", [cell.seed], {"long_name": "Seed", "units": "1"})},
        attrs={
            "data": cell.data,
            "radius": cell.radius,
            "train_images": cell.samples,
            "test_images": tested,
            "test_name": test_name,
        },
    )
