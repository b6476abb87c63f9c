"""Refuse sizes of an experiment that do not fit into memory, before work begins and before cells are listed.

The estimates are lower bounds: whatever is refused here is impossible.
"""

from __future__ import annotations

import math
import sys

from cgro.base.errors import UserError
from cgro.base.machine import require_memory

_CELL = 1000.0
"""Bytes of a cell and its record."""
_COORDINATE = 40.0
"""Bytes per coordinate: that of the point, and one network weight with its index and a copy."""
_WEIGHT = 16.0
"""Bytes per float32 weight in training, with its gradient and two moving averages."""


def require_cells(**counts: int) -> None:
    """Refuse an empty sweep, and more cells than memory can list; there is one cell for each combination of the counts.

    Raises: UserError.
    """
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name} must be one or more, got none: there is nothing to compute")
    _require(_CELL * math.prod(counts.values()), _words(counts))


def require_points(**counts: int) -> None:
    """Refuse points that do not fit into memory; the counts multiply to their coordinates. Raises: UserError."""
    _require(_COORDINATE * math.prod(counts.values()), _words(counts))


def require_networks(inputs: int, width: int, depth: int, **counts: int) -> None:
    """Refuse trained networks that do not fit into memory; the counts multiply to their number. Raises: UserError."""
    weights = width * (inputs + max(depth - 2, 0) * width)
    _require(_WEIGHT * weights * math.prod(counts.values()), f"width {width:,} and depth {depth:,}, {_words(counts)}")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} = {value:,}" for name, value in counts.items())


def _require(needed: float, what: str) -> None:
    require_memory(min(needed, sys.float_info.max), what)
