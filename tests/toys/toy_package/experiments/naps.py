"""Cells that sleep: a sweep that takes time, but no library that takes a second to import, and no core."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import parent_process

import numpy as np
import xarray as xr

from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Nap:
    """One of them."""

    number: int
    seconds: float

    @property
    def work(self) -> float:
        """Naps."""
        return 1.0


@dataclass(frozen=True)
class Config:
    """Sleep several times."""

    naps: int = 6
    """Cells."""
    seconds: float = 0.3
    """Of each."""

    @classmethod
    def quick(cls) -> Config:
        """Two seconds."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same."""
        return cls()


def sleep(cell: Nap, tick: Tick) -> xr.Dataset:
    """Draws of the cell's own."""
    time.sleep(cell.seconds)
    tick(cell.work)
    return xr.Dataset({"dream": ("k", np.random.default_rng(cell.number).normal(size=50))})


def process(cell: Nap, tick: Tick) -> xr.Dataset:
    """Where it slept."""
    return sleep(cell, tick).assign(process=os.getpid())


def die(cell: Nap, tick: Tick) -> xr.Dataset:
    """Where it slept; the process ends at the fourth."""
    if cell.number == 3:
        assert parent_process() is not None, "not in a process of its own"
        time.sleep(1)  # until the others are stored
        os.kill(os.getpid(), signal.SIGKILL)
    return process(cell, tick)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Draws over (nap, k)."""
    cells = [Nap(number, config.seconds) for number in range(config.naps)]
    return xr.concat((context or PlainContext()).map(sleep, cells), dim="nap")


EXPERIMENT = Experiment("Naps: cells that sleep", Config, run)
