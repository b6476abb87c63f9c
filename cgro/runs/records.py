"""Flat labelled records: one row per measurement, one variable per column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr


def as_records(rows: Sequence[Mapping[str, Any]], long_names: Mapping[str, str] | None = None) -> xr.Dataset:
    """A Dataset with dimension `record` from rows with equal keys."""
    names = list(rows[0])
    return xr.Dataset(
        {
            name: ("record", np.array([row[name] for row in rows]), {"long_name": (long_names or {}).get(name, name)})
            for name in names
        }
    )
