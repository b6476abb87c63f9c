"""The measured reference points of the patch model [M], reproduced: the report's table of measured against expected."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from cgro.base.machine import require_device
from cgro.base.validate import one_of
from cgro.base.work import Context
from cgro.data.patches import require_sizes
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.reference import ReferencePoint, reference_points
from cgro.dynamics.runs import EngineName
from cgro.dynamics.sweep import BLOCK, train_settings
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Config:
    """Train every reference setting with several seeds."""

    seeds: int = 10
    """Independent runs of each setting, >= 2, seeded 0, 1, ..."""
    test_samples: int = 2048
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    points: tuple[str, ...] = ()
    """Names of the reference points to train; by default all."""
    engine: EngineName = "gram"
    """Engine. gram: reduced variables; direct: d-dimensional weights and autograd, some hundred times slower."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        require_device(self.device)
        require_sizes(seeds=self.seeds, test_samples=self.test_samples)
        known = [point.name for point in reference_points()]
        for name in self.points:
            one_of("points", name, known)
        require_sweep(
            [point.setting for point in self.chosen],
            count=len(self.chosen),
            seeds=self.seeds,
            records=2,
            test_samples=self.test_samples,
            together=BLOCK,
            direct=self.engine == "direct",
        )

    @property
    def chosen(self) -> list[ReferencePoint]:
        """The reference points to train."""
        return [p for p in reference_points() if not self.points or p.name in self.points]

    @classmethod
    def quick(cls) -> Config:
        """Two seeds: about fifteen seconds."""
        return cls(seeds=2)

    @classmethod
    def paper(cls) -> Config:
        """Sixty seeds: about five minutes."""
        return cls(seeds=60, test_samples=4096)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Measured quantities over (point, seed): accuracies, alpha^q U, mean V_i, std Z, T_0 and T_1."""
    points = config.chosen
    trained = train_settings(
        context,
        [point.setting for point in points],
        range(config.seeds),
        engine=config.engine,
        records=2,
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
        "status": trained["status"],
    }
    result = xr.Dataset({name: v.drop_vars("step", errors="ignore") for name, v in measured.items()})
    return result.rename(setting="point").assign_coords(point=[point.name for point in points])


EXPERIMENT = Experiment(
    "Reference points: the measured table of the patch model, reproduced", Config, run, one_core_cells=True
)
