"""The phase transition as a theorem about concrete training sets: exact gradient descent, proved step by step.

Three instances share their data and their initial filters, the float64 numbers of a stored seed: adversarial
training as in the reference setting, the same below the critical ratio, and standard training. For each of them
ball arithmetic encloses gradient descent in real numbers. It proves when the phases end, that no component of the
signal ever falls, how large the losses are in each stage, that the robust training error ends at 0 against the
whole set A(X, delta), and bounds on the clean and the robust test error. The float64 engines run beside it, so that
their rounding error is measured against the truth, and checked against a tube that holds every correct
implementation. Reference: Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9 [N]; proof of instances [D].
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro
import xarray as xr

from cgro.base.validate import between, integer, not_ignored
from cgro.base.work import Context, PlainContext, Tick
from cgro.dynamics.memory import require_balls, require_sweep
from cgro.dynamics.setting import PatchSetting
from cgro.runs.experiment import Experiment

INSTANCES = ("adversarial", "below the critical ratio", "standard")


@dataclass(frozen=True)
class Config:
    """Prove what happens in one run of each of three instances."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(
        default_factory=lambda: PatchSetting(sampling="vectors")
    )
    """Setting of the first instance: cubic, with vectors."""
    robust_ratio: float = 0.8
    """rho = delta / alpha of the instance that should end robust, 0 to 1."""
    seed: int = 0
    """Seed of data and initial filters, >= 0."""
    bits: int = 128
    """Precision of the balls, >= 64."""
    records: int = 48
    """Recorded steps, log-spaced, >= 2."""
    tube_steps: int = 3_000
    """Steps for which the tube of correct float64 engines is followed, >= 0."""

    def __post_init__(self) -> None:
        from cgro.dynamics.proved_errors import require_cubic
        from cgro.dynamics.rigorous import require_rigorous

        require_rigorous(self.setting)
        require_cubic(self.setting)
        between("robust_ratio", self.robust_ratio, 0, 1)
        not_ignored(self.setting, stop_loss="steps")
        integer("seed", self.seed, low=0)
        integer("bits", self.bits, low=64, high=4096)
        integer("tube_steps", self.tube_steps, low=0)
        require_sweep([self.setting], count=3, seeds=1, records=self.records, test_samples=1, together=1)
        require_balls(self.setting, self.bits)

    @classmethod
    def quick(cls) -> Config:
        """12 samples and 700 steps: about ten seconds of one core."""
        small = PatchSetting(samples=12, patches=3, dim=60, filters=8, learning_rate=0.3, steps=700, sampling="vectors")
        return cls(setting=small, records=20, tube_steps=270)

    @classmethod
    def paper(cls) -> Config:
        """The reference setting, 20,000 steps: about six minutes of one core for each instance."""
        return cls()

    @property
    def settings(self) -> list[PatchSetting]:
        """The setting of each instance."""
        return [
            self.setting,
            replace(self.setting, radius_ratio=self.robust_ratio),
            replace(self.setting, adversarial_weight=0.0),
        ]


@dataclass(frozen=True)
class Instance:
    """One run to be proved."""

    setting: PatchSetting
    seed: int
    bits: int
    records: int
    tube_steps: int

    @property
    def work(self) -> float:
        """Steps."""
        return float(self.setting.steps)


def prove(cell: Instance, tick: Tick) -> xr.Dataset:
    """The certificate of an instance: the cell function."""
    from cgro.dynamics.certificate import certificate

    return certificate(
        cell.setting, cell.seed, bits=cell.bits, records=cell.records, tube_steps=cell.tube_steps, tick=tick
    )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """The variables of `cgro.dynamics.certificate.certificate` over instance, and rho and lambda (instance)."""
    cells = [
        Instance(setting, config.seed, config.bits, config.records, config.tube_steps) for setting in config.settings
    ]
    proved = (context or PlainContext()).map(prove, cells)
    return xr.concat(proved, dim="instance", combine_attrs="override").assign_coords(
        instance=list(INSTANCES),
        radius_ratio=("instance", [s.ratio for s in config.settings], {"long_name": "rho = delta / alpha"}),
        adversarial_weight=("instance", [s.adversarial_weight for s in config.settings], {"long_name": "lambda"}),
    )


EXPERIMENT = Experiment("The phase transition, proved for concrete training sets", Config, run, one_core_cells=True)
