"""The measured reference points of the patch model [M], reproduced: the report's table of measured against expected."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from cgro.data.patches import require_sizes
from cgro.dynamics.trajectory import EngineName
from cgro.experiment import Context, PlainContext
from cgro.sweeps.patches import train_settings
from simulations.reference_table import Comparison, compare, reference_points

TITLE = "Reference points: the measured table of the patch model, reproduced"


@dataclass(frozen=True)
class Config:
    """Train every reference setting with several seeds."""

    seeds: int = 10
    """Independent runs of each setting, >= 2, seeded 0, 1, ..."""
    test_samples: int = 4096
    """Draws of the fresh-sample law for each test error, >= 1."""
    records: int = 60
    """Recorded steps, >= 2, spaced evenly in log(step)."""
    engine: EngineName = "gram"
    """gram: reduced variables. direct: d-dimensional weights and autograd, some hundred times slower."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        require_sizes(seeds=self.seeds, test_samples=self.test_samples)

    @classmethod
    def quick(cls) -> Config:
        """Ten seeds: about a minute."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """One hundred seeds: about ten minutes."""
        return cls(seeds=100)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Measured quantities with dimensions (point, seed): accuracies, alpha^q U, mean V_i, std Z, T_0 and T_1."""
    points = reference_points()
    trained = train_settings(
        context or PlainContext(),
        [point.setting for point in points],
        range(config.seeds),
        engine=config.engine,
        records=config.records,
        test_samples=config.test_samples,
        device=config.device,
    )
    last = trained.isel(step=-1)
    split = ("clean_train", "clean_test", "robust_train", "robust_test")
    measured = {name: (1 - last[f"{name}_error"]).assign_attrs(units="fraction") for name in split}
    measured |= {
        "signal": last["signal_margin"],
        "memorized": last["noise_memorization_mean"],
        "memorized_min": last["noise_memorization_min"],
        "memorized_max": last["noise_memorization_max"],
        "std_Z": last["noise_response_std"],
        "T_0": trained["T_0"],
        "T_1": trained["T_1"],
    }
    result = xr.Dataset({name: v.drop_vars("step", errors="ignore") for name, v in measured.items()})
    return result.rename(setting="point").assign_coords(point=[point.name for point in points])


def comparisons(result: xr.Dataset) -> list[Comparison]:
    """Every expected quantity beside what was measured, in the order of the table."""
    return [
        compare(point.name, quantity, expected, result[quantity].sel(point=point.name).values)
        for point in reference_points()
        for quantity, expected in point.expected.items()
    ]
