"""The effect of the attack: train inside A (fixed or worst case) or with PGD on the whole input, evaluate under all.

The theorem of Li & Li (ICML 2025, arXiv:2306.01271) is about A(X, delta), where only the signal patch moves. Full PGD
may also move the noise patches; then memorized noise no longer protects the training samples. PGD needs the patches
themselves, so the experiment runs on the direct engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.machine import require_device, resolve_device
from cgro.base.validate import not_ignored
from cgro.base.work import Context, PlainContext, Tick
from cgro.data.patches import require_sizes
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import Attack, PatchSetting
from cgro.runs.experiment import Experiment

if TYPE_CHECKING:
    from cgro.dynamics.direct import DirectEngine
    from cgro.dynamics.samples import PatchSamples

EVALUATIONS = ("clean", "inside A", "l2 PGD, 0.25 alpha", "l2 PGD, 0.5 alpha")


@dataclass(frozen=True)
class Training:
    """A training attack and its radius."""

    attack: Attack
    """Training attack: transfer, worst, pgd-l2 or pgd-linf."""
    radius_ratio: float | None = None
    """Radius divided by the signal strength, >= 0; None: the paper's."""

    @property
    def name(self) -> str:
        """Name of the training in results and figures."""
        return self.attack if self.radius_ratio is None else f"{self.attack}, {self.radius_ratio:g} alpha"


@dataclass(frozen=True)
class Config:
    """Train with each attack and evaluate each network under every attack."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(
        default_factory=lambda: PatchSetting(steps=5_000, sampling="vectors")
    )
    """Setting of all runs; attack and radius are replaced."""
    trainings: tuple[Training, ...] = (
        Training("transfer"),
        Training("worst"),
        Training("pgd-l2", 0.25),
        Training("pgd-linf", 0.25),
    )
    """Training attacks and their radii."""
    seeds: int = 2
    """Independent runs of each training attack, >= 1."""
    records: int = 12
    """Number of evaluated steps, >= 2, evenly spaced in log(step)."""
    test_samples: int = 250
    """Fresh d-dimensional test samples, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        not_ignored(self.setting, attack="trainings", radius_ratio="trainings", stop_loss="steps")
        require_device(self.device)
        require_sizes(seeds=self.seeds, test_samples=self.test_samples, trainings=len(self.trainings))
        if self.setting.sampling == "gram":
            raise UserError("sampling must be vectors, got 'gram': PGD needs the patches themselves")
        fresh = replace(self.setting, samples=self.test_samples)
        for setting in (*self.settings, fresh):
            require_sweep(
                [setting],
                count=len(self.trainings),
                seeds=self.seeds,
                records=self.records,
                test_samples=1,
                together=self.seeds,
                direct=True,
            )

    @property
    def settings(self) -> list[PatchSetting]:
        """One setting for each training attack."""
        return [replace(self.setting, attack=t.attack, radius_ratio=t.radius_ratio) for t in self.trainings]

    @classmethod
    def quick(cls) -> Config:
        """Four training attacks, two seeds, 600 long steps: about ten seconds."""
        return cls(setting=PatchSetting(steps=600, learning_rate=0.3, sampling="vectors"), records=5, test_samples=100)

    @classmethod
    def paper(cls) -> Config:
        """Six training attacks, ten seeds, 20,000 steps, 2,000 test samples: hours on two cores, minutes on a GPU."""
        more = (Training("pgd-l2", 0.5), Training("pgd-linf", 0.5))
        return cls(
            setting=PatchSetting(sampling="vectors"),
            trainings=cls().trainings + more,
            seeds=10,
            records=30,
            test_samples=2_000,
        )


@dataclass(frozen=True)
class AttackCell:
    """One training attack with all its seeds."""

    setting: PatchSetting
    seeds: int
    records: int
    test_samples: int
    device: str

    @property
    def work(self) -> float:
        """Run-steps."""
        return float(self.setting.steps * self.seeds)


def train_attacked(cell: AttackCell, tick: Tick) -> xr.Dataset:
    """Error on training and fresh samples under every evaluation, dimensions (seed, step, evaluation)."""
    from cgro.dynamics.direct import DirectEngine
    from cgro.dynamics.samples import fresh_samples
    from cgro.dynamics.trajectory import record_steps, status_of

    runs = Runs.product([cell.setting], range(cell.seeds))
    engine = DirectEngine(runs, resolve_device(cell.device))
    fresh = fresh_samples(runs, cell.test_samples, engine.device)
    steps = record_steps(cell.setting.steps, cell.records)
    train_error, test_error = [], []
    taken = 0
    with threadpool_limits(1):  # operations are too small to gain from several threads
        for step in steps:
            while taken < step:
                part = min(20, int(step) - taken)
                engine.advance(part)
                tick(float(part * cell.seeds))
                taken += part
            train_error.append(_errors(engine, engine.samples))
            test_error.append(_errors(engine, fresh))
    dims = ("step", "evaluation", "seed")
    attrs = {"units": "fraction"}
    return xr.Dataset(
        {
            "train_error": (dims, np.array(train_error), attrs | {"long_name": "error on training samples"}),
            "test_error": (dims, np.array(test_error), attrs | {"long_name": "error on fresh samples"}),
            "status": status_of(np.isnan(train_error[-1]).any(0), "seed"),
        },
        coords={"step": steps, "evaluation": list(EVALUATIONS), "seed": list(range(cell.seeds))},
    )


def _errors(engine: DirectEngine, samples: PatchSamples) -> np.ndarray:
    """Error of every run under each of EVALUATIONS, shape (evaluation, seed); NaN where weights are not finite."""
    import torch

    from cgro.dynamics.direct import attack_samples

    finite = engine.network.weights.detach().isfinite().all(-1).all(-1)
    paper = replace(engine.runs.common, radius_ratio=None)
    errors = []
    judges: tuple[Training | None, ...] = (None, Training("worst"), Training("pgd-l2", 0.25), Training("pgd-l2", 0.5))
    for judge in judges:
        Z = samples.X
        if judge is not None:
            judged = Runs.product([replace(paper, radius_ratio=judge.radius_ratio)], engine.runs.seeds)
            Z = attack_samples(engine.network, samples, judged, judge.attack)
        with torch.no_grad():
            wrong = (samples.labels * engine.network(Z) <= 0).double().mean(1)
            errors.append(torch.where(finite, wrong, torch.nan).cpu().numpy())
    return np.array(errors)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Errors with dimensions (training, seed, step, evaluation)."""
    cells = [
        AttackCell(setting, config.seeds, config.records, config.test_samples, config.device)
        for setting in config.settings
    ]
    parts = (context or PlainContext()).map(train_attacked, cells)
    return xr.concat(parts, dim=xr.Variable("training", [t.name for t in config.trainings]))


EXPERIMENT = Experiment(
    "Attack: transfer, worst case inside A, and PGD on the whole input", Config, run, one_core_cells=True
)
