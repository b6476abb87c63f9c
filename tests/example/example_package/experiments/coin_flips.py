"""The largest of several shares of heads, which is what choosing the best of many checkpoints does to an accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Cell:
    """All coins of one seed."""

    coins: int
    flips: int
    seed: int

    @property
    def work(self) -> float:
        """Flips."""
        return float(self.coins * self.flips)


@dataclass(frozen=True)
class Config:
    """Flip fair coins and keep the largest share of heads."""

    coins: int = 20
    """Coins, at least 1."""
    flips: int = 100
    """Flips of each, at least 1."""
    seeds: int = 3
    """Repetitions, at least 1."""

    def __post_init__(self) -> None:
        for name in ("coins", "flips", "seeds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def quick(cls) -> Config:
        """20 coins."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """1,000 coins."""
        return cls(coins=1000)


def flip(cell: Cell, tick: Tick) -> xr.Dataset:
    """The largest share of heads."""
    heads = np.random.default_rng(cell.seed).binomial(cell.flips, 0.5, cell.coins)
    tick(cell.work)
    return xr.Dataset({"largest": heads.max() / cell.flips})


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Largest shares over (seed)."""
    cells = [Cell(config.coins, config.flips, seed) for seed in range(config.seeds)]
    parts = (context or PlainContext()).map(flip, cells)
    return xr.concat(parts, dim="seed").assign_coords(seed=range(config.seeds))


EXPERIMENT = Experiment("Coin flips: the best of many is no better than any", Config, run)
