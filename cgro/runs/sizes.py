"""Sizes of an experiment that no machine holds, refused before work begins and before any list of them is made.

Estimates are from below: what is refused here cannot be done.
"""

from __future__ import annotations

import math
import sys

from cgro.base.errors import UserError
from cgro.base.machine import require_memory

_CELL = 1000.0
"""Bytes of a cell and its record."""
_COORDINATE = 40.0
"""Bytes of a coordinate: that of the point, and a weight of a network of it, with its index, and a copy."""
_WEIGHT = 16.0
"""Bytes of a float32 weight in training, with its gradient and two averages."""


def require_cells(**counts: int) -> None:
    """Refuse no cells, and more than memory can list: one for each combination of what is counted.

    Raises: UserError.
    """
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name}: none are given, so there is nothing to compute; give one or more")
    _require(_CELL * math.prod(counts.values()), _words(counts))


def require_points(**counts: int) -> None:
    """Refuse points, of the product of the counts many coordinates, beyond memory. Raises: UserError."""
    _require(_COORDINATE * math.prod(counts.values()), _words(counts))


def require_networks(inputs: int, width: int, depth: int, **counts: int) -> None:
    """Refuse trained networks beyond memory, the product of the counts many. Raises: UserError."""
    weights = width * (inputs + max(depth - 2, 0) * width)
    _require(_WEIGHT * weights * math.prod(counts.values()), f"width {width:,} and depth {depth:,}, {_words(counts)}")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} = {value:,}" for name, value in counts.items())


def _require(needed: float, what: str) -> None:
    require_memory(min(needed, sys.float_info.max), what)
