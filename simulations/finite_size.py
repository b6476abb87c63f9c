"""How sharp the transition from robust to CGRO is: its width over seeds, against the number of samples and dimension.

Each seed turns at a perturbation ratio of its own, which is found by bisection. The standard deviation of these ratios
is the width of the transition. Two draws move a seed's ratio: the second-largest signal component, relative to the
largest when phase I ends, and the noise components that the samples start with. The first does not depend on N, the
second averages out. Training lasts in proportion to N, as T_1 does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

import numpy as np
import tyro
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_device, require_memory
from cgro.base.validate import above, at_least, distinct, not_ignored
from cgro.base.work import Context
from cgro.data.patches import require_sizes
from cgro.dynamics.critical_curve import trace
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.phases import grown_component, predicted_transition
from cgro.dynamics.runs import gram_draw
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import BLOCK
from cgro.runs.experiment import Experiment

_STRIDE = 0.003
"""A typical width of the transition: where another seed is looked for."""


class Line(NamedTuple):
    """One number of samples, or one dimension."""

    axis: str
    """samples or dim."""
    value: int
    setting: PatchSetting


@dataclass(frozen=True)
class Config:
    """Find the perturbation ratio at which each seed turns, for several numbers of samples and several dimensions."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(
        default_factory=lambda: PatchSetting(patches=2, dim=10_000, steps=10_000, learning_rate=0.1)
    )
    """Setting of all runs; radius_ratio is replaced. With other numbers of samples, steps change in proportion."""
    sample_counts: tuple[int, ...] = (10, 14, 20, 28, 40, 56, 80, 112, 160)
    """Numbers of training samples N, each >= 2, at the dimension of the setting."""
    dims: tuple[int, ...] = (40, 56, 80, 160, 400, 1_000, 10_000)
    """Patch dimensions d, each >= 2, at the number of samples of the setting."""
    seeds: int = 64
    """Independent runs, >= 3."""
    low: float = 0.6
    """Smallest perturbation ratio, >= 0."""
    high: float = 1.1
    """Largest perturbation ratio, > low."""
    resolution: float = 1e-4
    """Distance between the ratios that the bisection chooses from, > 0."""
    test_samples: int = 1024
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        require_device(self.device)
        not_ignored(self.setting, radius_ratio="low and high")
        require_sizes(least={"seeds": 3}, seeds=self.seeds, test_samples=self.test_samples)
        at_least("low", self.low, 0)
        above("resolution", self.resolution, 0)
        if not self.low < self.high:
            raise UserError(f"high must be above low, {self.low:g}, got {self.high:g}")
        require_memory(100.0 * (self.high - self.low) / self.resolution, f"resolution = {self.resolution:g}")
        for name in ("sample_counts", "dims"):
            distinct(name, getattr(self, name))
        for line in self.lines:
            require_sweep(
                [line.setting],
                count=1,
                seeds=self.seeds,
                records=2,
                test_samples=self.test_samples,
                together=BLOCK,
            )

    @property
    def lines(self) -> list[Line]:
        """Every number of samples, then every dimension."""
        base = self.setting
        by_samples = [
            Line("samples", n, replace(base, samples=n, steps=max(1, round(base.steps * n / base.samples))))
            for n in self.sample_counts
        ]
        return by_samples + [Line("dim", dim, replace(base, dim=dim)) for dim in self.dims]

    @property
    def ratios(self) -> list[float]:
        """Candidates of the bisection."""
        count = round((self.high - self.low) / self.resolution) + 1
        return [float(f"{ratio:.12g}") for ratio in np.linspace(self.low, self.high, max(count, 2))]

    @classmethod
    def quick(cls) -> Config:
        """Three numbers of samples, three dimensions, eight seeds, half the steps, a coarser search: twenty seconds."""
        setting = PatchSetting(patches=2, dim=10_000, steps=5_000, learning_rate=0.2)
        return cls(setting=setting, sample_counts=(10, 20, 40), dims=(40, 160, 10_000), seeds=8, resolution=5e-4)

    @classmethod
    def paper(cls) -> Config:
        """Nine numbers of samples up to 160, seven dimensions, 64 seeds: half an hour on two cores."""
        return cls()


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Where each seed turns, (line, seed), with what the seed started from; `axis` and `value` say what a line is.

    `robust_side` and `cgro_side` enclose the transition; NaN if it is not between low and high.

    Raises: UserError if a run diverges.
    """
    ratios = np.array(config.ratios)
    seeds = range(config.seeds)
    stride = max(1, round(_STRIDE / config.resolution))
    rows = []
    for line in config.lines:
        found = trace(
            context,
            [line.setting],
            "radius_ratio",
            config.ratios,
            seeds,
            test_samples=config.test_samples,
            device=config.device,
            stride=stride,
        )
        enclosed = (found.robust_side >= 0) & (found.cgro_side < len(ratios))
        robust, cgro = (
            np.where(enclosed, ratios[np.clip(side, 0, len(ratios) - 1)], np.nan)[0]
            for side in (found.robust_side, found.cgro_side)
        )
        second, noise = np.array([_start(line.setting, seed) for seed in seeds]).T
        rows.append(
            xr.Dataset(
                {
                    "robust_side": ("seed", robust, {"long_name": "largest ratio that ends robust", "units": "1"}),
                    "cgro_side": ("seed", cgro, {"long_name": "smallest ratio that ends in CGRO", "units": "1"}),
                    "second_signal": (
                        "seed",
                        second,
                        {"long_name": "second-largest signal component over the largest, at T_0", "units": "1"},
                    ),
                    "noise_start": (
                        "seed",
                        noise,
                        {"long_name": "mean over samples of the largest noise component at step 0", "units": "nats"},
                    ),
                    "predicted": (
                        (),
                        predicted_transition(line.setting),
                        {"long_name": "predicted critical ratio", "units": "1"},
                    ),
                    "runs": ((), len(found.places), {"long_name": "trained runs", "units": "runs"}),
                },
                coords={"seed": list(seeds)},
            )
        )
    return xr.concat(rows, dim="line").assign_coords(
        axis=("line", [line.axis for line in config.lines]),
        value=("line", [line.value for line in config.lines]),
    )


def _start(setting: PatchSetting, seed: int) -> tuple[float, float]:
    """The second-largest signal component over the largest when phase I ends; the mean largest noise component."""
    draw = gram_draw(setting, seed)
    u = np.sort(np.maximum(draw.signal_projection[0], 0))[::-1] * setting.init_scale
    signed = draw.noise_projection * np.repeat(draw.labels, setting.patches - 1)
    by_sample = signed.reshape(signed.shape[0], setting.samples, -1).max(axis=(0, 2))
    second = grown_component(setting, float(u[1]), float(u[0])) * setting.signal
    return second, float(by_sample.mean()) * setting.init_scale * setting.noise


EXPERIMENT = Experiment(
    "Finite size: how sharp the transition to CGRO is, against samples N and dimension d",
    Config,
    run,
    one_core_cells=True,
)
