"""Image classifiers by name, and their allowed widths."""

from __future__ import annotations

import math
from typing import Literal

from cgro.base.errors import UserError

ModelName = Literal["small-cnn", "lenet", "preact-resnet18", "wrn-16", "wrn-28", "wrn-34"]
"""Networks; wrn-28 at width 10 is WideResNet-28-10."""

WIDTHS: dict[str, float] = {
    "small-cnn": 24, "lenet": 16, "preact-resnet18": 1, "wrn-16": 10, "wrn-28": 10, "wrn-34": 10,
}  # fmt: skip
"""Usual widths; LeNet's is that of the MNIST challenge."""

WHOLE = ("small-cnn", "lenet")
"""Networks whose width must be a whole number."""


def require_width(name: str, width: float) -> None:
    """Raises: UserError for a width that the network cannot have."""
    whole = name in WHOLE
    if not (width > 0 and math.isfinite(width)) or (whole and width != int(width)):
        raise UserError(f"width must be a {'whole ' if whole else ''}number above 0 with {name}, got {width:g}")
