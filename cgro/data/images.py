"""Real images with labels: digits of scikit-learn, and MNIST, CIFAR-10 and CIFAR-100 from their official files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.validate import integer, one_of
from cgro.data import downloads, official
from cgro.data.catalog import ImageName
from cgro.data.folder import data_folder


@dataclass(frozen=True)
class ImageData:
    """Training and test images, as stored: pixels / `white` lies in [0, 1].

    Shapes: images uint8 (N, C, S, S), or floats with `white` 1; labels int64 (N,) in 0..classes - 1.
    """

    name: str
    classes: int
    white: int
    """Value of a white pixel: 255, or 16 for digits."""
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    test_name: str
    """What to call the test images in print, e.g. 'test images' or 'first 1,017 test images'."""

    @property
    def files(self) -> str | None:
        """Identifies its files among others of the same name: see `image_files`."""
        return None if self.name != "cifar10" else _fingerprint(self.test_images, self.test_labels)


def load_images(name: str, folder: str | os.PathLike[str] | None = None) -> ImageData:
    """The data set `name`, one of 'digits', 'mnist', 'cifar10' and 'cifar100'.

        >>> import cgro
        >>> data = cgro.load_images("digits")
        >>> images = data.test_images / data.white  # floats in [0, 1]
        >>> tuple(images.shape), data.classes
        ((596, 1, 8, 8), 10)

    `folder` (default: `cgro.data.folder.data_folder`) holds official files under their official names: MNIST
    `*-ubyte.gz`, or unpacked, in the folder itself or in its `mnist` or `MNIST/raw`; CIFAR as `cifar-10-batches-bin`,
    `cifar-10-batches-py` or `cifar-100-python`. If `test_batch.bin` is missing, its beginning is read from a
    file `test_batch_head<count>.bin`. A missing data set is downloaded into the folder, or without a folder into the
    user's cache.

    Digits come with scikit-learn. They have no official split for these 1,797 images; here, within each class
    and in the order of the file, every third image is a test image: 1,201 for training, 596 for testing.

    Raises: UserError for an unknown name, a missing, truncated or altered file, which it names, and a download that
    fails.
    """
    one_of("data", name, get_args(ImageName))
    if name == "digits":
        return _digits()
    place = _place(folder)
    if not official.is_there(name, place):
        downloads.fetch(name, place)
    if name == "mnist":
        train, test = official.mnist(place)
        return ImageData("mnist", 10, 255, *train, *test, "test images")
    if name == "cifar100":
        train, test = official.cifar100(place)
        return ImageData("cifar100", 100, 255, *train, *test, "test images")
    train, test, called = official.cifar10(place)
    return ImageData("cifar10", 10, 255, *train, *test, called)


def image_files(name: str, folder: str | os.PathLike[str] | None = None) -> str | None:
    """The files of a data set in the folder, if its name alone does not identify them: cifar10 may have only the first
    test images, and some of its layouts have no published checksums. None if the name suffices, or without files.

    Raises: UserError for a damaged file.
    """
    place = _place(folder)
    if name != "cifar10" or not official.is_there(name, place):
        return None
    (images, labels), _ = official.cifar10_test(place)
    return _fingerprint(images, labels)


def _fingerprint(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    return f"{len(labels):,} test images, sha256 {digest[:16]}"


def _place(folder: str | os.PathLike[str] | None) -> Path:
    return Path(folder) if folder is not None else data_folder() or downloads.cache()


def stratified_subset(labels: Tensor, count: int, seed: int | np.random.SeedSequence) -> Tensor:
    """Indices (count,) of a random subset in which each class keeps its share.

    With K classes, the number of samples of a class of share s is off by at most (1 + K s) / 2: by at most one sample
    if all classes have one size.

    Subsets of one seed are nested: the first indices of a larger subset are the smaller one.

    Raises: UserError unless 1 <= count <= number of labels.
    """
    if not 1 <= integer("samples", count) <= len(labels):
        raise UserError(f"samples must be 1 to {len(labels)}, got {count}")
    rng = np.random.default_rng(seed)
    y = labels.cpu().numpy()
    # Each class is spread evenly over (0, 1) in random order; equal positions are ordered at random.
    position = np.empty(len(y))
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(np.lexsort((rng.random(len(y)), position))[:count].astype(np.int64))


@cache
def _digit_rows() -> np.ndarray:
    """Read once: it takes as long as a short training epoch."""
    # The file itself: importing scikit-learn, which imports much of scipy, takes longer than a short training.
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", dtype=np.int64, delimiter=",")


def _digits() -> ImageData:
    rows = _digit_rows()
    images = torch.from_numpy(rows[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8))
    labels = torch.from_numpy(rows[:, -1].copy())
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        test[(labels == label).nonzero()[2::3, 0]] = True
    return ImageData("digits", 10, 16, images[~test], labels[~test], images[test], labels[test], "test images")
