"""Where clean generalization and robust overfitting begin: the end of training, over two fields of the setting.

With `--trace` only the cells at the transition are trained: the same curve, seed by seed, for a twentieth of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import tyro
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.fields import later
from cgro.base.machine import require_device
from cgro.base.work import NOT_TRAINED, Context
from cgro.data.patches import require_sizes
from cgro.dynamics.axes import Axis, vary
from cgro.dynamics.critical_curve import trace
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import BLOCK, train_settings
from cgro.runs.experiment import Experiment

_TIMES = ("T_0", "T_n", "T_1")
"""Ends of phases, which are not part of a diagram."""
PATHS = (
    "signal_margin",
    "noise_memorization_mean",
    "clean_test_error",
    "robust_train_error",
    "robust_test_error",
)
"""Quantities of the mean trajectories."""


@dataclass(frozen=True)
class Config:
    """Train a grid of settings with several seeds and keep the last step of each run."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(default_factory=PatchSetting)
    """Setting of all cells; the fields of both axes are replaced."""
    x: Axis = field(default_factory=lambda: Axis("radius_ratio", 0.7, 1.5, 49))
    """Horizontal axis."""
    y: Axis = field(default_factory=lambda: Axis("noise_norm", 0.5, 2.0, 32, log=True))
    """Vertical axis."""
    seeds: int = 5
    """Independent runs of each cell, >= 1, seeded 0, 1, ..."""
    test_samples: int = 1024
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""
    records: int = later(2)
    """Recorded steps of each cell's mean trajectory, >= 2, evenly spaced in log(step); 2: the end only."""
    trace: bool = later(False)
    """Train only the cells on either side of the transition from robust to CGRO, found by bisection along x. Each seed
    must turn at most once along x. A larger x.count costs little and gives a finer curve."""

    def __post_init__(self) -> None:
        require_device(self.device)
        require_sizes(seeds=self.seeds, test_samples=self.test_samples)
        if self.x.name == self.y.name:
            raise UserError(f"axes x and y must differ, got {self.x.name} for both")
        # Each axis ends with its largest value; no other field of a setting affects memory.
        largest = vary(vary(self.setting, self.x.name, self.x.high), self.y.name, self.y.high)
        require_sweep(
            [largest],
            count=self.x.size * self.y.size,
            seeds=self.seeds,
            records=self.records,
            test_samples=self.test_samples,
            together=BLOCK,
        )

    @classmethod
    def quick(cls) -> Config:
        """21 x 8 cells, two seeds, one noise patch for each sample, steps twice as long: about fifteen seconds."""
        return cls(
            setting=PatchSetting(patches=2, steps=10_000, learning_rate=0.1),
            x=Axis("radius_ratio", 0.7, 1.5, 21),
            y=Axis("noise_norm", 0.5, 2.0, 8, log=True),
            seeds=2,
            records=16,
        )

    @classmethod
    def paper(cls) -> Config:
        """49 x 32 cells, five seeds, 20,000 steps of the reference setting: under an hour on two cores."""
        return cls()


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Every recorded quantity at the end of training over (y, x, seed); x and y hold the axis values.

    With more than two records, `PATHS` with the suffix _path are means over seeds, (y, x, step).
    With `trace`, cells that were not trained are NaN, and `status` says so.

    Raises: UserError if the transition cannot be traced.
    """
    made = (_traced if config.trace else _complete)(config, context)
    return made.assign_coords(
        x=("x", config.x.values, {"long_name": config.x.name}),
        y=("y", config.y.values, {"long_name": config.y.name}),
        seed=list(range(config.seeds)),
    )


def _complete(config: Config, context: Context | None) -> xr.Dataset:
    """All cells."""
    settings = [
        vary(vary(config.setting, config.x.name, x), config.y.name, y) for y in config.y.values for x in config.x.values
    ]
    trained = train_settings(
        context,
        settings,
        range(config.seeds),
        records=config.records,
        test_samples=config.test_samples,
        device=config.device,
    )
    rows, columns, seeds = np.indices(_shape(config)).reshape(3, -1)
    runs = trained.stack(run=("setting", "seed")).drop_vars(["run", "setting", "seed"])
    return _diagram(config, runs, (rows, columns, seeds))


def _traced(config: Config, context: Context | None) -> xr.Dataset:
    """The cells at the transition."""
    found = trace(
        context,
        [vary(config.setting, config.y.name, y) for y in config.y.values],
        config.x.name,
        config.x.values,
        range(config.seeds),
        test_samples=config.test_samples,
        records=config.records,
        device=config.device,
    )
    rows, columns, seeds = np.array([(place.line, place.candidate, place.seed) for place in found.places]).T
    return _diagram(config, found.runs, (rows, columns, seeds))


def _shape(config: Config) -> tuple[int, int, int]:
    return len(config.y.values), len(config.x.values), config.seeds


def _diagram(config: Config, runs: xr.Dataset, where: tuple[np.ndarray, np.ndarray, np.ndarray]) -> xr.Dataset:
    """Runs, (run, step), at their rows, columns and seeds; NaN in cells without a run."""
    shape = _shape(config)
    complete = len(where[0]) == np.prod(shape)
    made: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, object]]] = {}
    for name, v in runs.isel(step=-1, drop=True).drop_vars(_TIMES).items():
        values, attrs = np.empty(shape, v.dtype) if complete else np.full(shape, np.nan), dict(v.attrs)
        if name == "status" and not complete:
            meanings = [*str(attrs["flag_meanings"]).split(), NOT_TRAINED]
            values, attrs["flag_meanings"] = np.full(shape, len(meanings) - 1, v.dtype), " ".join(meanings)
        values[where] = v.values
        made[str(name)] = ("y", "x", "seed"), values, attrs
    if config.records == 2:
        return xr.Dataset(made)
    trained = np.zeros(shape[:2])
    np.add.at(trained, where[:2], 1)
    for name in PATHS:
        paths = runs[name].transpose("run", "step")
        mean = np.zeros((*shape[:2], paths.sizes["step"]))
        np.add.at(mean, where[:2], paths.values)
        with np.errstate(invalid="ignore"):
            mean /= trained[..., None]
        made[f"{name}_path"] = ("y", "x", "step"), mean.astype(np.float32), dict(paths.attrs)
    return xr.Dataset(made, {"step": runs["step"]})


EXPERIMENT = Experiment("Phase diagram: robust or CGRO, over two axes of the setting", Config, run, one_core_cells=True)
