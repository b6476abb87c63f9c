"""Two causes of robust overfitting in one diagram: the radius, and samples that the network cannot learn robustly.

Above a critical radius every sample is memorized (Li & Li, ICML 2025, arXiv:2306.01271). At smaller ones a network
memorizes the unlearnable samples alone (Lee & Chung, ICML 2026, arXiv:2605.21999 [N]): inside A, where only the signal
moves, it stays robust, and under l_inf PGD on the whole input it collapses. `cgro.dynamics.two_mechanisms` predicts
where [D]. Errors are those of learnable samples; a network that is blind to v can only guess the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import tyro
import xarray as xr

from cgro.base.validate import above, ascending, between, integer, not_ignored, one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.teachers import require_both_kinds
from cgro.runs.experiment import Experiment

EVALUATIONS = ("clean", "inside A", "l2 PGD", "l_inf PGD")


@dataclass(frozen=True)
class Config:
    """A grid of perturbation ratios and fractions of unlearnable samples."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(
        default_factory=lambda: PatchSetting(
            samples=100, patches=2, filters=40, activation="relu", signal=5.0, noise_norm=4.0, init_scale=0.003,
            learning_rate=0.4, steps=1_500, sampling="vectors",
        )
    )  # fmt: skip
    """Setting of all runs; radius_ratio and unlearnable are replaced."""
    ratios: tuple[float, ...] = (0.02, 0.04, 0.06, 0.08, 0.12, 0.17, 0.25, 0.35, 0.45, 0.6, 0.8, 0.92, 1.0, 1.2)
    """Perturbation ratios rho = delta/alpha, increasing, > 0."""
    fractions: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    """Probabilities p_un that a sample is unlearnable, increasing, 0 to 1."""
    seeds: int = 10
    """Independent runs of each cell, 1 to 10,000."""
    records: int = 21
    """Evaluated steps, evenly spaced from 0 to the last, >= 2."""
    test_samples: int = 200
    """Fresh samples that PGD attacks in each evaluation, and draws of the law of a fresh sample, >= 1."""

    def __post_init__(self) -> None:
        not_ignored(self.setting, radius_ratio="ratios", unlearnable="fractions", stop_loss="steps")
        if self.setting.visibility > 0 or self.setting.teacher_unlearnable is not None:
            above("fractions", max(self.fractions, default=0), 0)
        one_of("attack", self.setting.attack, ("transfer", "worst"))
        one_of("sampling", self.setting.sampling, ("auto", "vectors"))
        for name, low, high in (("seeds", 1, 10_000), ("records", 2, None), ("test_samples", 1, None)):
            integer(name, getattr(self, name), low=low, high=high)
        for value in self.ratios:
            above("ratios", value, 0)
        for value in self.fractions:
            between("fractions", value, 0, 1)
            require_both_kinds("fractions", value, self.setting.samples)
        for name in ("ratios", "fractions"):
            ascending(name, getattr(self, name))
        largest = self.setting_of(self.fractions[-1], self.ratios[-1])
        fresh = replace(largest, samples=max(self.test_samples, self.setting.samples))
        for setting, direct in ((largest, False), (fresh, True)):
            require_sweep(
                [setting],
                count=len(self.ratios) * len(self.fractions),
                seeds=self.seeds,
                records=self.records,
                test_samples=self.test_samples,
                together=self.seeds,
                direct=direct,
                two_features=True,
            )

    @classmethod
    def quick(cls) -> Config:
        """5 x 3 cells, three seeds, larger steps: about ten seconds of one core."""
        setting = replace(cls().setting, steps=700, learning_rate=0.8, filters=20)
        return cls(setting, (0.02, 0.06, 0.17, 0.6, 1.0), (0.0, 0.02, 0.2), seeds=3, records=15, test_samples=60)

    @classmethod
    def paper(cls) -> Config:
        """14 x 7 cells with ten seeds: about twenty minutes of one core."""
        return cls()

    def setting_of(self, fraction: float, ratio: float) -> PatchSetting:
        """The setting of a cell."""
        return replace(self.setting, unlearnable=fraction, radius_ratio=ratio, sampling="vectors")


@dataclass(frozen=True)
class MechanismCell:
    """All runs of a ratio and a fraction."""

    setting: PatchSetting
    seeds: int
    records: int
    test_samples: int

    @property
    def work(self) -> float:
        """Run-steps."""
        return float(self.setting.steps * self.seeds)


def train_mechanism(cell: MechanismCell, tick: Tick) -> xr.Dataset:
    """error (step, evaluation, seed) on learnable fresh samples; T_u and what is memorized, by seed.

    Inside A by the law of a fresh sample; PGD, in l_2 and l_inf, with radius delta on the whole input.
    """
    from cgro.base.machine import limited_threads
    from cgro.dynamics.crossings import NAMES
    from cgro.dynamics.gram import GramEngine
    from cgro.dynamics.trajectory import observe, status_of
    from cgro.dynamics.whole_input import pgd_error

    runs = Runs.product([cell.setting], range(cell.seeds))
    engine = GramEngine(runs, threads=1)
    steps = np.unique(np.linspace(0, cell.setting.steps, cell.records).round().astype(int)).tolist()
    errors = []
    with limited_threads(1):
        for before, step in zip([0, *steps], steps, strict=False):
            while before < step:
                part = min(200, step - before)
                engine.advance(part)
                tick(float(part * cell.seeds))
                before += part
            record = observe(runs, engine.state(), test_samples=cell.test_samples, detail=False)
            kind = "learnable_" if cell.setting.features == 2 else ""
            inside = [record[f"{kind}{criterion}_test_error"] for criterion in ("clean", "robust")]
            whole = [pgd_error(engine, norm, samples=cell.test_samples) for norm in ("2", "inf")]
            errors.append([*inside, *whole])
    never = np.full(cell.seeds, np.nan)
    # What a run that overflowed reached is no number.
    times = {name: np.where(record["diverged"], np.nan, t) for name, t in zip(NAMES, engine.times().T, strict=True)}
    largest = record.get("unlearnable_memorization_max", never)
    learnable = record.get("learnable_memorization_mean", record["noise_memorization_mean"])
    return xr.Dataset(
        {
            "error": (
                ("step", "evaluation", "seed"),
                np.array(errors),
                {"long_name": "Error of learnable fresh samples", "units": "fraction"},
            ),
            "T_u": ("seed", times["T_u"], {"long_name": "An unlearnable sample memorized", "units": "steps"}),
            "T_1": ("seed", times["T_1"], {"long_name": "Noise memorized", "units": "steps"}),
            "unlearnable_samples": ("seed", record.get("unlearnable_samples", np.zeros(cell.seeds))),
            "largest_unlearnable": ("seed", largest, {"long_name": "Largest V_i, unlearnable", "units": "nats"}),
            "mean_learnable": ("seed", learnable, {"long_name": "Mean V_i, learnable", "units": "nats"}),
            "status": status_of(record["diverged"], "seed"),
        },
        coords={"step": steps, "evaluation": list(EVALUATIONS), "seed": list(range(cell.seeds))},
    )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """error (fraction, ratio, seed, step, evaluation); T_u, T_1 and what is memorized, (fraction, ratio, seed)."""
    cells = [
        MechanismCell(config.setting_of(fraction, ratio), config.seeds, config.records, config.test_samples)
        for fraction in config.fractions
        for ratio in config.ratios
    ]
    parts = iter((context or PlainContext()).map(train_mechanism, cells))
    rows = [
        xr.concat([next(parts) for _ in config.ratios], dim="ratio", combine_attrs="override")
        for _ in config.fractions
    ]  # fmt: skip
    joined = xr.concat(rows, dim="fraction", combine_attrs="override")
    return joined.assign_coords(fraction=list(config.fractions), ratio=list(config.ratios)).transpose(
        "fraction", "ratio", "seed", "step", "evaluation"
    )


EXPERIMENT = Experiment(
    "Two causes of robust overfitting: the perturbation ratio and unlearnable samples, in one diagram",
    Config,
    run,
    one_core_cells=True,
)
