"""Models trained on random subsets of the training images, from which memorization and influence are estimated.

The models of a cell are trained many at once, if their network allows it. What is stored are the subsets and the
answers of every model to every image, clean and perturbed, so that everything can be estimated anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor, nn

from cgro.attacks.ball import random_start
from cgro.attacks.images import Attack, Goal
from cgro.attacks.modes import judging
from cgro.base.errors import UserError
from cgro.base.machine import single_thread
from cgro.base.randomness import Stream, at, spawn_streams, torch_generator
from cgro.base.validate import between, integer
from cgro.base.work import Tick
from cgro.data.atypical import tampered
from cgro.data.batches import Images
from cgro.data.tampering import Tampering
from cgro.data.user_images import read_user_images
from cgro.memorization.plan import CRITERIA
from cgro.models.zoo import image_model
from cgro.training.config import TrainingConfig, is_stackable
from cgro.training.loop import Trainer
from cgro.training.run import Data
from cgro.training.stacked import StackedTrainer, Subsets

AT_ONCE = 1024
"""Images that are judged at once, over all models of a stack."""


@dataclass(frozen=True)
class SubsetModels:
    """Some of the models of a study; a cell for `train_subset_models`.

    Models of equal number, training, tampering and ratio are the same in every cell, up to rounding.
    """

    training: TrainingConfig
    """Draws the images by its seed, and trains every model."""
    tampering: Tampering
    ratio: float
    """Share of the training images in each subset, between 0 and 1."""
    first: int
    """Number of the first model, 0 or more."""
    count: int
    """Number of models, 1 or more."""
    file: str = ""
    """PATH@DIGEST of images of your own, see `cgro.data.user_images`; empty: the data set that the training names."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work * self.count

    def __post_init__(self) -> None:
        between("ratio", self.ratio, 0, 1, open_low=True, open_high=True)
        integer("first", self.first, low=0)
        integer("count", self.count, low=1)


@dataclass(frozen=True)
class Study:
    """The images of a study, the same for all its models."""

    data: Data
    """With these training images, and with test images before anything was done to them."""
    kinds: Int[Tensor, " N"]
    """What was done to each training image: an index of `cgro.data.tampering.KINDS`."""
    test: Images
    test_kinds: Int[Tensor, " M"]

    @property
    def train(self) -> Images:
        """Training images."""
        return self.data.train

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.data.classes

    @property
    def parts(self) -> tuple[Images, Images]:
        """Training and test images."""
        return self.train, self.test

    @classmethod
    def of(cls, training: TrainingConfig, tampering: Tampering, file: str = "", tested: int | None = None) -> Study:
        """Images of a configuration, or of a file. Test images are rotated and blended as often, and keep their labels.

        tested: at most so many test images, the first ones; None: all.

        Raises: UserError for missing data, a file that changed, a missing device, or images that cannot be changed so.
        """
        data = Data.of(training, read_user_images(file).data if file else None)
        stream, (height, width) = spawn_streams(training.seed)["subset"], data.train.pixels.shape[2:]
        if height != width:
            raise UserError(f"images must be square, got {width} x {height}: crop or pad them")
        train, kinds = tampered(data.train, tampering, data.classes, at(stream, 0))
        test = data.test if tested is None else data.test.take(torch.arange(min(tested, len(data.test))))
        test, test_kinds = tampered(test, replace(tampering, mislabelled=0.0), data.classes, at(stream, 1))
        return cls(replace(data, train=train), kinds, test, test_kinds)


def subset(count: int, ratio: float, stream: Stream) -> Int[np.ndarray, " n"]:
    """Indices of a random subset of round(ratio count) of `count` images, increasing.

    Raises: UserError if it would be empty or whole.
    """
    size = round(ratio * count)
    if not 0 < size < count:
        raise UserError(f"ratio must leave some of {count} images in and some out, got {ratio:g}")
    return np.sort(np.random.default_rng(stream).permutation(count)[:size])


@single_thread()
def train_subset_models(cell: SubsetModels, tick: Tick) -> xr.Dataset:
    """Which images each model was trained on, and the class that it gives to each image.

    Variables: mask (model, sample); answer (criterion, model, sample) and test_answer (criterion, model, test), the
    class of the clean image, and of the perturbed one: the first wrong one that the evaluation attack finds, or else
    the label; -1 where an output is not finite. label, kind, index (sample), test_label, test_kind (test). Standard
    training has the clean answers only.

    Raises: UserError for missing data, a missing device, and training that diverges.
    """
    training, study = cell.training, Study.of(cell.training, cell.tampering, cell.file)
    numbers = np.arange(cell.first, cell.first + cell.count)
    root = spawn_streams(training.seed)
    streams = [{name: at(stream, int(k) + 2) for name, stream in root.items()} for k in numbers]
    members = np.array([subset(len(study.train), cell.ratio, each["subset"]) for each in streams])
    attack = None if training.objective == "standard" else training.stronger
    found = [
        [answers(models, count, part, attack, at(root["evaluation"], k)) for k, part in enumerate(study.parts)]
        for models, count in _trained(training, study, members, streams, tick)
    ]
    mask = np.zeros((cell.count, len(study.train)), dtype=bool)
    np.put_along_axis(mask, members, True, axis=1)
    answer, test_answer = (np.concatenate([each[part] for each in found], axis=1) for part in (0, 1))
    plain = {"units": "1"}
    variables = {
        "mask": (("model", "sample"), mask, {"long_name": "Model was trained on the sample"} | plain),
        "answer": (("criterion", "model", "sample"), answer, {"long_name": "Class of a training image"} | plain),
        "test_answer": (("criterion", "model", "test"), test_answer, {"long_name": "Class of a test image"} | plain),
        "label": ("sample", study.train.labels.cpu().numpy(), {"long_name": "Training label"} | plain),
        "kind": ("sample", study.kinds.cpu().numpy(), {"long_name": "What was done to the image"} | plain),
        "index": ("sample", study.data.index.numpy(), {"long_name": "Index in the data set"} | plain),
        "test_label": ("test", study.test.labels.cpu().numpy(), {"long_name": "Test label"} | plain),
        "test_kind": ("test", study.test_kinds.cpu().numpy(), {"long_name": "What was done to the image"} | plain),
    }
    return xr.Dataset(variables, {"model": numbers, "criterion": list(CRITERIA[: len(answer)])})


def _trained(
    training: TrainingConfig, study: Study, members: np.ndarray, streams: list[dict[str, Stream]], tick: Tick
) -> Iterator[tuple[nn.Module, int]]:
    """Trained models in stacks, and how many each has: all in one, or one by one if they cannot share a stack."""
    images, (channels, size, _) = study.train, study.train.pixels.shape[1:]
    networks = [
        image_model(training.model, channels, size, study.classes, training.own_width, torch_generator(each["weights"]))
        for each in streams
    ]
    chosen = torch.from_numpy(members).to(images.labels.device)
    if is_stackable(training):
        stack = StackedTrainer(networks, Subsets(images, chosen), [training.recipe] * len(networks), streams)
        stack.advance(stack.steps, lambda: tick(len(networks) / stack.steps_per_epoch))
        if not bool(stack.losses.isfinite().all()):
            diverged = int((~stack.losses.isfinite()).sum())
            raise UserError(
                f"learning_rate must be smaller, got {training.learning_rate:g}: {diverged} of {len(networks)} subset "
                "models diverged"
            )
        yield stack.model, len(networks)
        return
    for network, own, each in zip(networks, chosen, streams, strict=True):
        trainer = Trainer(network, images.take(own), training.recipe, each)
        trainer.advance(trainer.steps, lambda: tick(1 / trainer.steps_per_epoch))  # noqa: B023
        yield trainer.evaluated, 1


@torch.no_grad()
def answers(
    models: nn.Module, count: int, images: Images, attack: Attack | None, stream: Stream
) -> Int[np.ndarray, "C K N"]:
    """The classes that K = `count` models of a stack give to each image, for one criterion or both, int16.

    An attack gives a second criterion: the first wrong class that it finds, or else the label. All models are attacked
    from the same random starts. -1 stands for an output that is not finite.
    """
    found = np.empty((1 if attack is None else 2, count, len(images)), dtype=np.int16)
    size = max(1, AT_ONCE // count)
    with judging(models):
        for number, indices in enumerate(torch.arange(len(images)).split(size) if len(images) else ()):
            x, y = next(images.batches(indices, len(indices)))
            many, labels = x.repeat(count, 1, 1, 1), y.repeat(count)
            clean = _classes(models(many))
            found[0][:, indices] = clean.unflatten(0, (count, -1)).cpu().numpy()
            if attack is not None:
                goal, wrong = Goal(models, many, labels, attack.loss), clean
                for restart in range(attack.restarts):
                    generator = torch_generator(at(stream, number, restart), x.device)
                    start = random_start(x, attack.budget, generator).repeat(count, 1, 1, 1)
                    answer = _classes(models(attack.ascend(goal, many, start, check=False)))
                    wrong = torch.where(wrong == labels, answer, wrong)
                found[1][:, indices] = wrong.unflatten(0, (count, -1)).cpu().numpy()
    return found


def _classes(logits: Tensor) -> Tensor:
    """The class of the largest logit (B,); -1 where one is not finite."""
    return torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), -1)
