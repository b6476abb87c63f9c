"""An experiment as an object: a title, a frozen `Config` with presets, and a pure function `run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import xarray as xr

from cgro.base.work import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Experiment(Generic[T]):
    """An experiment; every file in `simulations/` defines one as `EXPERIMENT`."""

    title: str
    """Title in one line."""
    Config: type[T]
    """A frozen dataclass, the entire input of `run`; its class methods `quick` and `paper` are the presets."""
    run: Callable[[T, Context | None], xr.Dataset]
    """Without a context, all cells are computed in this process and nothing is stored."""
    cells: str = ""
    """The experiment in whose folder cells are kept, for two that share some; by default its own."""
    one_core_cells: bool = False
    """Whether a cell uses only one core, so that several can run in parallel."""

    def preset(self, name: str) -> T:
        """The configuration of a preset, 'quick' or 'paper'."""
        config: T = getattr(self.Config, name)()
        return config
