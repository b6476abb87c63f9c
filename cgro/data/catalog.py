"""The image data sets by name, and their sizes."""

from __future__ import annotations

from typing import Literal

ImageName = Literal["digits", "mnist", "cifar10", "cifar100"]
TrainingImages = Literal["digits", "mnist", "cifar10", "cifar100", "own"]
"""Training data: a data set by name, or `own` for arrays passed in Python."""
TRAINING_IMAGES: dict[str, int] = {"digits": 1201, "mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
"""Number of training images of each data set."""
SHAPES: dict[str, tuple[int, int, int]] = {
    "digits": (1, 8, 10), "mnist": (1, 28, 10), "cifar10": (3, 32, 10), "cifar100": (3, 32, 100),
}  # fmt: skip
"""Channels, side in pixels, and classes of each data set."""

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CLASSES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"), "mnist": tuple("0123456789"), "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
}  # fmt: skip
"""Names of the classes of each data set, in the order of their labels."""
