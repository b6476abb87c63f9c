"""An experiment as an object: a title, a frozen `Config` with presets, and a pure `run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import xarray as xr

from cgro.base.work import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Experiment(Generic[T]):
    """What a file in `simulations/` defines as `EXPERIMENT`."""

    title: str
    """In one line."""
    Config: type[T]
    """A frozen dataclass, the whole input of `run`; its class methods `quick` and `paper` are the presets."""
    run: Callable[[T, Context | None], xr.Dataset]
    """Without a context every cell is computed here and now, and nothing is stored."""
    one_core_cells: bool = False
    """Whether a cell uses one core alone, so that several run side by side."""

    def preset(self, name: str) -> T:
        """The configuration of a preset, 'quick' or 'paper'."""
        config: T = getattr(self.Config, name)()
        return config
