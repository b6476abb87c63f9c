"""Distillation on one axis: teachers, and networks that teach themselves, by the entropy of their targets.

A fraction p_un of the samples carries a robust feature that the network cannot represent (`unlearnable`). A teacher is
placed by the entropy of its targets on these samples: log 2 where it is ignorant, 0 where it is confident, like labels.
Temporal ensembling makes a teacher of the network's own predictions, so that its targets move along the same axis
during training. Whether it also ends where a teacher of that entropy does, is what this experiment asks. Source of the
teachers: Lee & Chung, ICML 2026, arXiv:2605.21999 [N]; networks that teach themselves are ours [D].

Momenta and starts come from a pilot on six other seeds (1000 to 1005). Step 0 is before anything is learned; by step
500 the learnable feature is, and hardly any noise; at step 2,000 memorization is under way, and adversarial training
loses its robust accuracy after step 3,000. The momenta spread the entropy at the end over most of the axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import tyro
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.validate import ascending, at_least, between, finite, integer, not_ignored
from cgro.base.work import Context
from cgro.dynamics.two_features import TwoFeatureSetting, require_room
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Arm:
    """One way to train: on labels, with a teacher, or with the network as its own teacher; nan: does not apply."""

    training: str
    """labels, teacher or self."""
    margin: float = np.nan
    """Of the teacher on unlearnable samples."""
    momentum: float = np.nan
    """Of temporal ensembling."""
    start: float = np.nan
    """Step from which temporal ensembling moves targets."""

    @property
    def name(self) -> str:
        """Short and unique."""
        return {
            "labels": "labels",
            "teacher": f"margin {self.margin!r}",
            "self": f"momentum {self.momentum!r} from {self.start:.0f}",
        }[self.training]


@dataclass(frozen=True)
class Config:
    """Runs on the labels, of every teacher, and of every momentum and start of temporal ensembling."""

    setting: Annotated[TwoFeatureSetting, tyro.conf.arg(name="")] = field(default_factory=TwoFeatureSetting)
    """Setting of all runs; the teacher's margins and temporal ensembling are replaced."""
    margins: tuple[float, ...] = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
    """Margins y f_T of the teachers on unlearnable samples, increasing, >= 0; 0: ignorant."""
    learnable_margin: float = 10.0
    """Margin y f_T of all teachers on learnable samples."""
    momenta: tuple[float, ...] = (0.5, 0.9, 0.95, 0.98, 0.99)
    """Momenta of temporal ensembling, increasing, 0 <= mu < 1."""
    starts: tuple[int, ...] = (0, 500, 2_000)
    """Steps from which temporal ensembling moves targets, increasing, >= 0 and below steps."""
    seeds: int = 24
    """Independent runs (data, weights, order of the samples), 1 to 10,000."""
    records: int = 9
    """Evaluated steps, >= 2."""
    test_samples: int = 200
    """Fresh samples for each evaluation, >= 1."""

    def __post_init__(self) -> None:
        not_ignored(
            self.setting, teacher_learnable="learnable_margin", teacher_unlearnable="margins",
            ensembling_start="starts", ensembling_momentum="momenta",
        )  # fmt: skip
        if not 0 < round(self.setting.unlearnable * self.setting.samples) < self.setting.samples:
            raise UserError(
                f"unlearnable must leave samples of both kinds, got {self.setting.unlearnable:g} of "
                f"{self.setting.samples}"
            )
        finite("learnable_margin", self.learnable_margin)
        for margin in self.margins:
            at_least("margins", margin, 0)
        for momentum in self.momenta:
            between("momenta", momentum, 0, 1, open_high=True)
        for start in self.starts:
            integer("starts", start, low=0, high=self.setting.steps - 1)
        for name in ("margins", "momenta", "starts"):
            ascending(name, getattr(self, name))
        integer("seeds", self.seeds, low=1, high=10_000)
        integer("records", self.records, low=2)
        integer("test_samples", self.test_samples, low=1)
        require_room(
            self.setting, records=self.records, seeds=self.seeds, test_samples=self.test_samples, runs=len(self.arms)
        )

    @classmethod
    def quick(cls) -> Config:
        """Three teachers, two momenta and starts, five seeds: about ten seconds of one core."""
        return cls(margins=(0.0, 2.0, 10.0), momenta=(0.9, 0.98), starts=(0, 500), seeds=5, records=3, test_samples=100)

    @classmethod
    def paper(cls) -> Config:
        """The defaults, 24 seeds: about ten minutes of one core."""
        return cls()

    @property
    def arms(self) -> list[Arm]:
        """All ways to train, in order."""
        teachers = [Arm("teacher", margin=float(margin)) for margin in self.margins]
        own = [Arm("self", momentum=float(mu), start=float(start)) for start in self.starts for mu in self.momenta]
        return [Arm("labels"), *teachers, *own]

    def setting_of(self, arm: Arm) -> TwoFeatureSetting:
        """The setting of an arm."""
        match arm.training:
            case "teacher":
                return replace(
                    self.setting, teacher_learnable=self.learnable_margin, teacher_unlearnable=arm.margin
                )  # fmt: skip
            case "self":
                return replace(self.setting, ensembling_momentum=arm.momentum, ensembling_start=int(arm.start))
        return self.setting


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """accuracy (arm, seed, step, part, criterion), memorized and target_entropy (arm, seed, step, kind).

    See `cgro.dynamics.blind_run.train_blind`. training, margin, momentum and start (arm) say what an arm is.
    """
    from cgro.dynamics.blind_run import train_blind_settings

    setting, arms = config.setting, config.arms
    settings = [config.setting_of(arm) for arm in arms]
    by_arm = train_blind_settings(settings, config.seeds, config.records, config.test_samples, context)
    return (
        xr.concat(by_arm, dim="arm", combine_attrs="override")
        .assign_coords(arm=[arm.name for arm in arms])
        .assign(
            training=("arm", [arm.training for arm in arms], {"long_name": "Who gives the targets"}),
            margin=("arm", [arm.margin for arm in arms], {"long_name": "Margin of the teacher on unlearnable samples"}),
            momentum=("arm", [arm.momentum for arm in arms], {"long_name": "Momentum of temporal ensembling"}),
            start=("arm", [arm.start for arm in arms], {"long_name": "Start of temporal ensembling", "units": "steps"}),
        )
        .assign_attrs(
            samples=setting.samples, dim=setting.dim, patches=setting.patches, filters=setting.filters,
            radius_ratio=setting.radius_ratio, visibility=setting.visibility, unlearnable=setting.unlearnable,
            learnable_margin=config.learnable_margin, test_samples=config.test_samples,
        )
    )  # fmt: skip


EXPERIMENT = Experiment(
    "Distillation: teachers and networks that teach themselves, by the entropy of their targets",
    Config,
    run,
    one_core_cells=True,
)
