"""Valid training configurations: types and ranges of the fields, and sizes allowed by data and memory."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.norms import Norm, cube_diameter
from cgro.base.validate import between, finite, flag, integer, one_of
from cgro.data.catalog import SHAPES
from cgro.models.widths import WIDTHS, require_width

if TYPE_CHECKING:
    from cgro.training.config import TrainingConfig


def pixels_of(config: TrainingConfig) -> int:
    """Pixels of an image, over all channels."""
    channels, size, _ = SHAPES[config.data]
    return channels * size**2


def require_radius(radius: float, norm: Norm = "inf", pixels: int = 3072) -> None:
    """Require a radius above 0 and at most the diameter of the image space, for pixels in [0, 1]. Raises: UserError.

    pixels: of an image, over all channels.
    """
    most = cube_diameter(norm, pixels)
    if not 0 < radius <= most:
        raise UserError(
            f"radius must be above 0 and at most {most:.3g} in l_{norm}, got {radius:g}: pixels lie in "
            "[0, 1]; divide 8-bit values by 255, e.g. 8/255 = 0.0314"
        )


def checked(config: TrainingConfig, name: str) -> Any:
    """The value of a field, converted to its type (16 and 16.0 are the same) and checked. Raises: UserError."""
    kind, value = _kinds()[name], getattr(config, name)
    if type(None) in get_args(kind):  # None means what the field's docstring says
        if value is None:
            return None
        (kind,) = set(get_args(kind)) - {type(None)}
    if kind is int:
        return integer(name, value, low=LOWEST.get(name, 1), high=_LARGEST.get(name, MANY))
    if kind is float and name in _INTERVALS:
        low, high, ends = _INTERVALS[name]
        return float(between(name, value, low, high, open_low=ends[0] == "(", open_high=ends[1] == ")"))
    if kind is float:
        return finite(name, value)
    if kind is bool:
        return flag(name, value)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise UserError(f"{name} must be a sequence of integers, got {value!r}")
        return tuple(integer(name, k, low=0, high=MANY) for k in value)
    if not isinstance(value, str):
        raise UserError(f"{name} must be {'text' if kind is str else 'a word'}, got {value!r}")
    if kind is str:
        return value
    return one_of(name, value, get_args(kind))


@cache
def _kinds() -> dict[str, Any]:
    from cgro.training.config import TrainingConfig

    return get_type_hints(TrainingConfig)


def require_images(config: TrainingConfig, most: int, known: int) -> None:
    """Refuse more images than the `most` that the data has, and classes beyond the `known`. Raises: UserError."""
    data, held_out = config.data, config.held_out
    if held_out > most - 10:
        raise UserError(f"held_out must be 0 to {most - 10} with {data}, got {held_out}")
    if config.samples is not None and not 10 <= config.samples <= most - held_out:
        raise UserError(
            f"samples must be 10 to {most - held_out} with {data} and {held_out} held out, or None for all, got "
            f"{config.samples}"
        )
    classes = config.classes
    if classes and (len(set(classes)) < max(2, len(classes)) or max(classes) >= known):
        raise UserError(
            f"classes must be two or more different ones of 0 to {known - 1} with {data}, got {list(classes)}"
        )


def require_sizes(config: TrainingConfig) -> None:
    """Refuse configurations that exceed the memory of this machine, before allocating. Raises: UserError."""
    require_width(config.model, config.own_width)
    own = config.data == "own"
    if not own and config.own_width > _FITTING[config.model]:
        from cgro.models.zoo import parameters

        channels, size, classes = SHAPES[config.data]
        count = parameters(config.model, channels, size, len(config.classes) or classes, config.own_width)
        width = f"{config.own_width:,g}" if config.own_width > 1e15 else f"{config.own_width:,.10g}"
        require_memory(min(_COPIES * _FLOAT * count, sys.float_info.max), f"width = {width}")
    for needed, what in (
        (
            _COPIES * _FLOAT * (1 if own else pixels_of(config)) * config.batch_size,
            f"batch_size = {config.batch_size:,}",
        ),
        (ROW * config.epochs / config.evaluate_every, f"epochs = {config.epochs:,}"),
    ):
        require_memory(min(needed, sys.float_info.max), what)


def require_drops(config: TrainingConfig) -> None:
    """Refuse drops of the learning rate that would never happen. Raises: UserError."""
    drops = list(config.drops)
    if drops and config.schedule != "piecewise":
        raise UserError(f"schedule must be piecewise with drops {drops}, got {config.schedule}")
    if drops != sorted(set(drops)) or (drops and not 1 <= drops[0] <= drops[-1] < config.epochs):
        raise UserError(f"drops must be epochs that increase within 1 to {config.epochs - 1}, got {drops}")


_FITTING = WIDTHS | {"small-cnn": 240}
"""Widths up to which training takes less than a gigabyte; parameters of wider networks are counted, with torch."""
_FLOAT = 4
"""Bytes of a float32."""
_COPIES = 3
"""Copies of a network in training (weights, gradients, momentum) or a batch (clean, perturbed, gradients)."""
ROW = 1000
"""Bytes of a row of the learning curves, or of a configuration."""
MANY = 10**12
"""A larger number of images, epochs or replays is a typing error."""
LOWEST = {"held_out": 0, "cure_start": 0, "replays": 2, "evaluation_images": 10, "seed": 0}
"""Smallest allowed integers; 1 for the others."""
_LARGEST = {"seed": 2**63 - 1, "attack_steps": 100_000, "evaluation_steps": 100_000}
"""Largest allowed integers. Ctrl-C takes effect between updates, so an update must not take forever."""
_INTERVALS: dict[str, tuple[float, float, str]] = {
    "label_noise": (0, 1, "[]"),
    "beta": (0, 1e6, "(]"),
    "weight_perturbation": (0, 1, "[]"),
    "cure_strength": (0, 1e6, "[]"),
    "cure_discrimination": (0, 1e6, "[]"),
    "cure_momentum": (0, 1, "[)"),
    "step_size": (0, 100, "(]"),
    "radius_warmup": (0, 1, "[]"),
    "learning_rate": (0, 1e6, "(]"),
    "momentum": (0, 1, "[)"),
    "weight_decay": (0, 1e6, "[]"),
}
"""Smallest and largest allowed numbers, and whether they are included."""
