"""Unlearnable samples: a second cause of robust overfitting, and the teachers that cure or keep it.

A fraction p_un of the samples carries a robust feature that the network cannot represent. Adversarial training must
memorize their noise, after which an attack on the whole input succeeds. A teacher that is ignorant of these samples
leaves nothing to memorize; one that is confident acts like the labels. Source: Lee & Chung, ICML 2026,
arXiv:2605.21999 [N], by the settings of their public code [S].
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

import tyro
import xarray as xr

from cgro.base.validate import above, ascending, between, distinct, integer, not_ignored
from cgro.base.work import Context
from cgro.dynamics.teachers import require_both_kinds
from cgro.dynamics.two_features import TwoFeatureSetting, require_room
from cgro.runs.experiment import Experiment

Teacher = Literal["none", "confident", "ignorant"]


@dataclass(frozen=True)
class Config:
    """Runs of every teacher and fraction of unlearnable samples."""

    setting: Annotated[TwoFeatureSetting, tyro.conf.arg(name="")] = field(default_factory=TwoFeatureSetting)
    """Setting of all runs; unlearnable and the teacher's margins are replaced."""
    fractions: tuple[float, ...] = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2)
    """Probabilities p_un that a sample is unlearnable, increasing, 0 to 1."""
    teachers: tuple[Teacher, ...] = get_args(Teacher)
    """none: adversarial training; confident: distillation from a teacher that gives every label; ignorant: from one
    that knows nothing of unlearnable samples."""
    margin: float = 10.0
    """Margin y f_T of the teachers where they are confident, > 0."""
    seeds: int = 20
    """Independent runs (data, weights, order of the samples), 1 to 10,000."""
    records: int = 21
    """Evaluated steps, >= 2."""
    test_samples: int = 200
    """Fresh samples for each evaluation, >= 1."""

    def __post_init__(self) -> None:
        not_ignored(
            self.setting, unlearnable="fractions", teacher_learnable="teachers", teacher_unlearnable="teachers",
            ensembling_start="starts of distillation", ensembling_momentum="momenta of distillation",
        )  # fmt: skip
        integer("seeds", self.seeds, low=1, high=10_000)
        integer("records", self.records, low=2)
        integer("test_samples", self.test_samples, low=1)
        above("margin", self.margin, 0)
        for value in self.fractions:
            between("fractions", value, 0, 1)
            require_both_kinds("fractions", value, self.setting.samples)
        ascending("fractions", self.fractions)
        distinct("teachers", self.teachers)
        require_room(
            self.setting, records=self.records, seeds=self.seeds, test_samples=self.test_samples,
            runs=len(self.fractions) * len(self.teachers),
        )  # fmt: skip

    @classmethod
    def quick(cls) -> Config:
        """Three fractions, five seeds, four evaluations: about ten seconds of one core."""
        return cls(fractions=(0.0, 0.05, 0.1), seeds=5, records=4, test_samples=100)

    @classmethod
    def paper(cls) -> Config:
        """Six fractions and 100 seeds: under an hour of two cores."""
        return cls(seeds=100, test_samples=500)

    def setting_of(self, teacher: str, fraction: float) -> TwoFeatureSetting:
        """The setting of a teacher and a fraction."""
        learnable, unlearnable = {
            "none": (None, None),
            "confident": (self.margin, self.margin),
            "ignorant": (self.margin, 0.0),
        }[teacher]
        return replace(self.setting, unlearnable=fraction, teacher_learnable=learnable, teacher_unlearnable=unlearnable)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """accuracy (teacher, fraction, seed, step, part, criterion), memorized and target_entropy (..., kind).

    See `cgro.dynamics.blind_run.train_blind`. entropy (teacher) is that of the target of an unlearnable sample.
    """
    from cgro.dynamics.blind_run import train_blind_settings

    pairs = [(teacher, fraction) for teacher in config.teachers for fraction in config.fractions]
    settings = [config.setting_of(*pair) for pair in pairs]
    by_pair = train_blind_settings(settings, config.seeds, config.records, config.test_samples, context)
    by_teacher = [
        xr.concat(by_pair[k : k + len(config.fractions)], dim="fraction", combine_attrs="override")
        for k in range(0, len(pairs), len(config.fractions))
    ]
    setting = config.setting
    entropy = [config.setting_of(teacher, 0.5).target_entropy for teacher in config.teachers]
    return (
        xr.concat(by_teacher, dim="teacher", combine_attrs="override")
        .assign_coords(teacher=list(config.teachers), fraction=list(config.fractions))
        .assign(entropy=("teacher", entropy, {"long_name": "Entropy of the target", "units": "nats"}))
        .assign_attrs(
            samples=setting.samples, dim=setting.dim, patches=setting.patches, filters=setting.filters,
            radius_ratio=setting.radius_ratio, visibility=setting.visibility, test_samples=config.test_samples,
        )
    )  # fmt: skip


EXPERIMENT = Experiment(
    "Unlearnable samples: robust overfitting by a feature that the network cannot represent, and teachers",
    Config,
    run,
    one_core_cells=True,
)
