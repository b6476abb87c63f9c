"""Cures of robust overfitting under one protocol: each with the same data, network, seeds and attacks.

Every network is judged twice, at the epoch that is best on held-out images and at the end, on test images: clean, under
PGD, and under the strong ensemble. PGD alone flatters cures that flatten the loss. Sources: Dong et al., "Exploring
memorization in adversarial training", ICLR 2022, arXiv:2106.01606 (temporal ensembling); Rice, Wong & Kolter, ICML
2020, arXiv:2002.11569 (best and last checkpoint, weight decay, cutout); Wu, Xia & Wang, NeurIPS 2020, arXiv:2004.05884
(AWP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import one_of
from cgro.base.work import Context, PlainContext
from cgro.runs.experiment import Experiment
from cgro.training import limits
from cgro.training.choices import OF_PGD_AT, SCORED, STARTED, CureName
from cgro.training.config import Judged, JudgedRun, TrainingConfig
from cgro.training.cures import of_cure, ramp

ALL: tuple[CureName, ...] = get_args(CureName)
COMPARED: tuple[CureName, ...] = tuple(name for name in ALL if name not in (*OF_PGD_AT, *SCORED))
"""All but the treatments of atypical images."""


@dataclass(frozen=True)
class Config(Judged):
    """Train with each cure and several seeds. The cure and its strength that are given besides are for that cure alone;
    the others have their own strength, and those that start at some epoch start at the same one."""

    cures: tuple[CureName, ...] = COMPARED
    """Cures to compare; none is the baseline."""

    default_starts: tuple[CureName, ...] = ()
    """Those of them that are trained once more, from the epoch at which they start by default."""

    seeds: int = 3
    """Independent runs of each cure, at least 1."""

    @classmethod
    def quick(cls) -> Config:
        """Noisy digits without a cure and with temporal ensembling, two seeds: half a minute of one core.

        Wrong labels are memorized long before the learning rate drops, so the ramp of temporal ensembling starts early;
        its weight was chosen on other seeds.
        """
        training = replace(
            TrainingConfig.noisy_digits(), cure="temporal-ensembling", cure_strength=100, cure_start=2, cure_end=10
        )
        return cls(training, seeds=2, judged_images=60, cures=("none", "temporal-ensembling"))

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with PreActResNet-18 over 200 epochs, all cures, three seeds; needs a GPU."""
        cifar10 = TrainingConfig.cifar10()
        training = replace(cifar10, epochs=200, drops=(100, 150), evaluate_every=2, cure="temporal-ensembling")
        return cls(training, judged_images=10_000)

    @property
    def cells(self) -> list[JudgedRun]:
        """One run for each cure and seed, the seeds of a cure together."""
        return [
            JudgedRun(replace(training, seed=run.seed), self.judged_images)
            for training in self.rows.values()
            for run in self.runs
        ]

    @property
    def rows(self) -> dict[str, TrainingConfig]:
        """The training of each row by its name: the cure, and where it starts if starts are compared."""
        found: dict[str, TrainingConfig] = {}
        for cure in self.cures:
            both = [of_cure(self.training, cure)]
            if cure in self.default_starts:
                both.append(of_cure(self.training, cure, own_start=True))
            named = self.default_starts and cure in STARTED
            found |= {f"{cure} from {ramp(each)[0]:g}" if named else cure: each for each in both}
        return found

    def __post_init__(self) -> None:
        super().__post_init__()
        for cure in self.cures:
            one_of("cures", cure, ALL)
        if not self.cures or len(set(self.cures)) < len(self.cures):
            raise UserError(f"cures must be one or more different names, got {', '.join(self.cures) or 'none at all'}")
        for cure in self.default_starts:
            one_of("default_starts", cure, [each for each in self.cures if each in STARTED])
        if len(set(self.default_starts)) < len(self.default_starts):
            raise UserError(f"default_starts must be all different, got {', '.join(self.default_starts)}")
        if self.default_starts and self.training.cure_start is None:
            raise UserError("cure_start must be given with default_starts: without it every start is the default one")
        require_memory(limits.ROW * self.seeds * len(self.cures), f"seeds = {self.seeds:,}")
        rows = self.rows  # what does not go with a cure is refused here
        if len(rows) < len(self.cures) + len(self.default_starts):
            raise UserError(f"cure_start must not be that of default_starts, got {self.training.cure_start}")


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies over (cure, seed, checkpoint, attack) and learning curves over (cure, seed, epoch).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.training.judging import judge
    from cgro.training.run import with_seeds

    found = (context or PlainContext()).map(judge, config.cells)
    first = config.training.seed
    of_cure = [with_seeds(found[k : k + config.seeds], first) for k in range(0, len(found), config.seeds)]
    cures = xr.DataArray(list(config.rows), dims="cure", name="cure", attrs={"long_name": "Cure", "units": "1"})
    together = xr.concat(of_cure, dim=cures, combine_attrs="drop_conflicts")
    return together.assign_attrs(objective=config.training.objective, epochs=config.training.epochs)


EXPERIMENT = Experiment(
    "Cures of robust overfitting: best and last checkpoint under a strong attack",
    Config,
    run,
    cells="robust-overfitting",
    one_core_cells=True,
)
