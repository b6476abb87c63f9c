"""Experiments that vary one field of a setting, with several seeds for each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import xarray as xr

from cgro.base.machine import require_device
from cgro.base.work import Context
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import BLOCK, train_settings


class OneAxisConfig(Protocol):
    """Fields shared by the configurations of these experiments."""

    @property
    def seeds(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def test_samples(self) -> int: ...
    @property
    def device(self) -> str: ...


def require_variants(config: OneAxisConfig, settings: Sequence[PatchSetting]) -> None:
    """Refuse an unknown device, too few records, and sizes that do not fit into memory. Raises: UserError."""
    require_device(config.device)
    require_sweep(
        settings,
        count=len(settings),
        seeds=config.seeds,
        records=config.records,
        test_samples=config.test_samples,
        together=BLOCK,
    )


def train_variants(
    context: Context | None,
    config: OneAxisConfig,
    settings: Sequence[PatchSetting],
    dimension: str,
    values: Sequence[float] | Sequence[str],
    long_name: str,
) -> xr.Dataset:
    """Trajectories with dimensions (`dimension`, seed, step); `values` label the variants along `dimension`."""
    trained = train_settings(
        context,
        settings,
        range(config.seeds),
        records=config.records,
        test_samples=config.test_samples,
        device=config.device,
    )
    renamed = trained.rename(setting=dimension)
    return renamed.assign_coords({dimension: (dimension, list(values), {"long_name": long_name})})
