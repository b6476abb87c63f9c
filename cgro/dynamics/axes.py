"""Named axes of a sweep: which field of a setting varies, and over which values."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import one_of
from cgro.dynamics.setting import PatchSetting

LABELS = {
    "samples": "training samples $N$",
    "patches": "patches $P$",
    "dim": "patch dimension $d$",
    "filters": "filters $m$",
    "exponent": "exponent $q$",
    "signal": r"signal strength $\alpha$",
    "noise_norm": r"noise norm $\sigma\sqrt{d}$",
    "init_scale": r"initial scale $\sigma_0$",
    "radius_ratio": r"perturbation ratio $\rho=\delta/\alpha$",
    "adversarial_weight": r"adversarial weight $\lambda$",
    "learning_rate": r"learning rate $\eta$",
}
"""Fields of a setting that an axis may vary, with their labels."""
_VALUE = 100.0
"""Bytes per value while an axis is made."""


@dataclass(frozen=True)
class Axis:
    """One axis of a phase diagram."""

    name: str
    """Field of the setting that varies, e.g. radius_ratio, noise_norm, samples."""
    low: float
    """First value."""
    high: float
    """Last value, > low."""
    count: int
    """Number of values, >= 2."""
    log: bool = False
    """Space the values evenly on a logarithmic scale."""

    def __post_init__(self) -> None:
        require_axis(self.name)
        if self.count < 2:
            raise UserError(f"count of axis {self.name} must be at least 2, got {self.count}")
        require_memory(_VALUE * min(self.count, 2**53), f"axis {self.name} with count = {self.count:,}")
        if not self.low < self.high:
            raise UserError(f"low of axis {self.name} must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise UserError(
                f"low of axis {self.name} must be greater than 0, got {self.low:g}, unless the axis is linear"
            )
        for value in (self.low, self.high):
            if not math.isfinite(value):
                raise UserError(f"low and high of axis {self.name} must be finite, got {value}")
            vary(PatchSetting(), self.name, value)

    @property
    def values(self) -> list[float]:
        """The values; for integer fields, rounded to distinct integers."""
        spaced = (np.geomspace if self.log else np.linspace)(self.low, self.high, self.count)
        if self.is_integer:
            spaced = np.unique(spaced.round())
        return [float(f"{value:.12g}") for value in spaced]

    @property
    def size(self) -> int:
        """An upper bound on the number of values, found without making them."""
        return min(self.count, int(self.high) - int(self.low) + 1) if self.is_integer else self.count

    @property
    def is_integer(self) -> bool:
        """Whether the field is an integer."""
        return is_integer(self.name)


def is_integer(name: str) -> bool:
    """Whether a field of the setting is an integer."""
    return {f.name: f.type for f in fields(PatchSetting)}[name] == "int"


def require_axis(name: str) -> None:
    """Refuse a name that no axis can have, suggesting the closest one. Raises: UserError."""
    one_of("axis", name, LABELS)


def vary(setting: PatchSetting, name: str, value: float) -> PatchSetting:
    """The setting with one field changed."""
    return replace(setting, **{name: round(value) if is_integer(name) else value})  # type: ignore[arg-type]
