"""The CGRO classifier on real images: a trained classifier, gated by certified memorization of its training set.

A convolutional network f_clean with standard training is not robust. The gate of Li & Li (ICML 2025, arXiv:2306.01271,
Theorem 4.4) makes it certifiably robust on every training image and changes nothing elsewhere: clean generalization and
robust overfitting by construction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.norms import distances
from cgro.base.validate import one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.certify.certify import certify
from cgro.certify.structural import structural_margins
from cgro.data.catalog import TRAINING_IMAGES, ImageName
from cgro.data.separation import byte_separation
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.relu import ReluNetwork
from cgro.runs.experiment import Experiment
from cgro.runs.sizes import require_cells, require_networks

if TYPE_CHECKING:
    import torch

    from cgro.data.batches import Images
    from cgro.data.images import ImageData
    from cgro.models.convolutional import SmallCNN

CLASSIFIERS = ("clean", "cgro")


@dataclass(frozen=True)
class Config:
    """Train a classifier on clean images, measure the separation of its training set, gate it, certify, attack."""

    data: ImageName = "digits"
    """Data set: digits (8x8, bundled with scikit-learn), mnist (28x28) or cifar10 (32x32)."""

    samples: int = 1000
    """Number of training images, a stratified random subset; 10 to 1201 digits, 60000 mnist, 50000 cifar10."""

    radius: float = 0.15
    """l_inf perturbation radius for pixels in [0, 1], above 0 and below half the separation."""

    test_images: int = 500
    """Maximum number of test images to classify, >= 10; a fixed stratified subset if there are more."""

    attacked_images: int = 500
    """Maximum number of training and of test images to attack, >= 10. PGD attacks f_clean."""

    verified_images: int = 20
    """Number of training images certified a second time, by interval bounds from the weights alone; 0 or more."""

    width: int = 16
    """Channels of the first convolution of f_clean, 1 or more."""

    epochs: int = 15
    """Training epochs of f_clean, 1 or more."""

    seeds: int = 1
    """Independent runs (training subset, weights, order), 1 or more."""

    @classmethod
    def quick(cls) -> Config:
        """1,000 digits; about ten seconds."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """10,000 images of CIFAR-10 at radius 8/255; ten minutes and 6 GiB on two cores."""
        return cls(data="cifar10", samples=10_000, radius=8 / 255, test_images=10_000, epochs=12)

    def __post_init__(self) -> None:
        one_of("data", self.data, get_args(ImageName))
        most = TRAINING_IMAGES[self.data]
        if not 10 <= self.samples <= most:
            raise UserError(f"samples must be 10 to {most} with {self.data}, got {self.samples}")
        for name, least in (("test_images", 10), ("attacked_images", 10), ("verified_images", 0), ("width", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("epochs", "seeds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        require_cells(seeds=self.seeds)
        require_networks(9 * self.width, 2 * self.width, 2, seeds=1)  # its second convolution
        if not 0 < self.radius < 0.5:
            raise UserError(
                f"radius must be above 0 and below 0.5, got {self.radius:g}: pixels lie in [0, 1]; divide 8-bit "
                "values by 255, e.g. 8/255 = 0.0314"
            )


@dataclass(frozen=True)
class Cell:
    """One run."""

    data: ImageName
    samples: int
    radius: float
    test_images: int
    attacked_images: int
    verified_images: int
    width: int
    epochs: int
    seed: int

    @property
    def work(self) -> float:
        """Epochs of training, and the same again for everything after it."""
        return 2.0 * self.epochs


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies of f_clean and the CGRO classifier, certificates, and the size of the network, over seeds.

    Raises: UserError for missing data, or a radius too large for the separation of the images.
    """
    shared: dict[str, Any] = {k: v for k, v in asdict(config).items() if k != "seeds"}
    cells = [Cell(**shared, seed=seed) for seed in range(config.seeds)]
    return xr.concat((context or PlainContext()).map(run_one, cells), dim="seed", combine_attrs="override")


@threadpool_limits.wrap(limits=1)
def run_one(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train, gate, certify and attack."""
    import torch

    from cgro.attacks.images import accuracy
    from cgro.base.randomness import spawn_streams
    from cgro.data.batches import Images
    from cgro.data.images import load_images, stratified_subset
    from cgro.networks.unroll import unroll

    data, streams = load_images(cell.data), spawn_streams(cell.seed)
    kept = stratified_subset(data.train_labels, cell.samples, streams["subset"])
    pixels, labels = data.train_images[kept], data.train_labels[kept]
    tested = stratified_subset(data.test_labels, min(cell.test_images, len(data.test_labels)), seed=0)
    model = _train(cell, data, Images(pixels, labels, data.white), tick)
    clean = unroll(model.double(), tuple(pixels.shape[1:]))
    flat = pixels.flatten(1).numpy()
    separation = byte_separation(flat, labels.numpy(), "inf").scaled(1 / data.white)
    tick(0.1 * cell.epochs)
    task = memorization_task(flat / data.white, labels.numpy(), "inf", cell.radius, separation=separation)
    gated = cgro_classifier(task, clean=clean, domain=(0.0, 1.0))
    certified = structural_margins(gated, separation=separation) > 0
    verified = _verify(gated, cell.verified_images)
    tick(0.3 * cell.epochs)
    networks = {"clean": clean, "cgro": gated.float_network}
    found: dict[str, Any] = {}
    test = Images(data.test_images[tested], data.test_labels[tested], data.white)
    found["clean_test_accuracy"] = [accuracy(_right(networks[c], test)) for c in CLASSIFIERS]
    tick(0.3 * cell.epochs)
    some = torch.arange(min(cell.attacked_images, cell.samples))
    parts = {"train": Images(pixels[some], labels[some], data.white), "test": test}
    for part, images in parts.items():
        count = min(cell.attacked_images, len(images.labels))
        images = Images(images.pixels[:count], images.labels[:count], images.white)
        attacked = _attack(cell, model, images)
        found[f"robust_{part}_accuracy"] = [
            accuracy(_right(networks[c], images) & _right_at(networks[c], attacked, images.labels)) for c in CLASSIFIERS
        ]
        found[f"attacked_{part}"] = count
        if part == "test":
            reach = 2 * cell.radius + min(task.gap, cell.radius / 4)
            x = images.pixels.flatten(1).numpy() / data.white
            nearest = distances(x, task.data.points, "inf").min(axis=1)
            found["coverage"], found["nearest_training_image"] = float((nearest <= reach).mean()), nearest
    tick(0.3 * cell.epochs)
    return _dataset(cell, data, gated, certified, verified, found, len(tested))


def _train(cell: Cell, data: ImageData, images: Images, tick: Tick) -> SmallCNN:
    from cgro.base.randomness import spawn_streams, torch_generator
    from cgro.models.convolutional import SmallCNN
    from cgro.training.loop import Trainer
    from cgro.training.objectives import Standard
    from cgro.training.recipe import Recipe

    streams = spawn_streams(cell.seed)
    channels, size = data.train_images.shape[1:3]
    model = SmallCNN(channels, size, data.classes, cell.width, generator=torch_generator(streams["weights"]))
    recipe = Recipe(attack=None, epochs=cell.epochs, batch_size=64, learning_rate=0.05, objective=Standard())
    trainer = Trainer(model, images, recipe, streams)
    trainer.advance(trainer.steps, lambda: tick(1 / trainer.steps_per_epoch))
    return model


def _verify(gated: Memorizer, count: int) -> int:
    """Number of the first points certified by interval bounds, which do not use the construction."""
    if not count:
        return 0
    points, labels = gated.task.data.points[:count], gated.task.data.labels[:count]
    result = certify(
        gated.float_network, points, labels, "inf", gated.task.radius, readout="argmax", tiers=("interval",)
    )
    return int((result.status == "certified").sum())


def _attack(cell: Cell, model: SmallCNN, images: Images) -> torch.Tensor:
    """The final point of the attack on f_clean for each image, float64, flat; both networks are tested on it."""
    import torch

    from cgro.attacks.ball import Budget
    from cgro.attacks.images import Goal, evaluation_attack
    from cgro.base.randomness import spawn_streams, torch_generator

    attack = evaluation_attack(Budget("inf", cell.radius), steps=20)
    generator = torch_generator(spawn_streams(cell.seed)["evaluation"])
    x = images.pixels.double() / images.white
    best = x.clone()
    for _ in range(attack.restarts):
        with torch.no_grad():
            index = (model(best).argmax(1) == images.labels).nonzero()[:, 0]
        if len(index):
            goal = Goal(model, x[index], images.labels[index])
            best[index] = attack.ascend(goal, x[index], generator)
    return best.flatten(1)


def _right(network: ReluNetwork, images: Images) -> torch.Tensor:
    return _right_at(network, images.pixels.flatten(1).double() / images.white, images.labels)


def _right_at(network: ReluNetwork, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(network(x.numpy()).argmax(axis=1)) == labels


def _dataset(
    cell: Cell,
    data: ImageData,
    gated: Memorizer,
    certified: np.ndarray,
    verified: int,
    found: dict[str, Any],
    tested: int,
) -> xr.Dataset:
    size, separation = gated.network.size, gated.task.separation
    names = {
        "clean_test_accuracy": "Accuracy on clean test images",
        "robust_train_accuracy": "Accuracy on training images under the attack on f_clean",
        "robust_test_accuracy": "Accuracy on test images under the attack on f_clean",
    }
    variables: dict[str, Any] = {
        name: (("seed", "classifier"), [found[name]], {"long_name": label, "units": "fraction"})
        for name, label in names.items()
    }
    scalars = {
        "certified_train_accuracy": (float(certified.mean()), "Certified robust training accuracy", "fraction"),
        "verified": (verified, "Certificates proved again by interval bounds", "1"),
        "coverage": (found["coverage"], "Test images within 2 radius + shell of a training image", "fraction"),
        "separation": (separation.distance, "l_inf separation of different labels", "pixel"),
        "nonzero": (size.nonzero, "Non-zero parameters of the CGRO classifier", "1"),
        "nonzero_claimed": (gated.claimed.nonzero, "Bound of the construction", "1"),
        "nonzero_clean": (gated.options["clean"].size.nonzero, "Non-zero parameters of f_clean", "1"),
        "total": (size.total, "Parameters of dense layers of the same widths", "1"),
        "neurons": (size.neurons, "ReLUs", "1"),
        "depth": (size.depth, "Affine layers", "1"),
    }
    for name, (value, label, units) in scalars.items():
        variables[name] = (("seed",), [value], {"long_name": label, "units": units})
    pair = gated.task.data.points[list(separation.pair)].reshape(2, *data.train_images.shape[1:])
    variables["closest_pair"] = (
        ("seed", "member", "channel", "row", "column"),
        pair[None],
        {"long_name": "Closest training images of different labels", "units": "pixel"},
    )
    variables["closest_labels"] = (("seed", "member"), [list(separation.labels)], {"long_name": "Labels", "units": "1"})
    nearest = found["nearest_training_image"]
    variables["nearest_training_image"] = (
        ("seed", "test_image"),
        nearest[None],
        {"long_name": "l_inf distance of a test image to the nearest training image", "units": "pixel"},
    )
    return xr.Dataset(
        variables,
        {"seed": ("seed", [cell.seed], {"long_name": "Seed", "units": "1"}), "classifier": list(CLASSIFIERS)},
        {
            "data": cell.data,
            "radius": cell.radius,
            "train_images": cell.samples,
            "test_images": tested,
            "attacked_train": found["attacked_train"],
            "attacked_test": found["attacked_test"],
            "verified_of": cell.verified_images,
            "test_name": data.test_name,
        },
    )


EXPERIMENT = Experiment("The certified CGRO classifier on real images", Config, run)
