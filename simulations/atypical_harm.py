"""Does training on atypical images harm typical ones?

Networks are trained on all typical images and a fraction of the atypical ones, which were rotated or blended, and apart
from that on all typical images and a fraction of mislabelled ones; by adversarial and by standard training. Their
accuracy on typical test images is compared with that of a control: what the treatment leaves out is replaced by random
images of the same labels, drawn from all images of the run, so that both train on equally many images with the same
histogram of labels. Where fewer images alone cost accuracy, so does the control. Sources: Xu et al., arXiv:2106.04794
(that atypical images harm under adversarial training, and not under standard training); control and verdicts are ours
[D]. Atypical is what was injected, not what has a high memorization score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.validate import between, distinct, one_of
from cgro.base.work import Context, PlainContext
from cgro.memorization.plan import CRITERIA
from cgro.memorization.treated_runs import RULES, BesideStandard, TreatedRun, Treatment, train_treated
from cgro.runs.experiment import Experiment
from cgro.training.config import TrainingConfig

Added = Literal["atypical", "mislabelled"]
JUDGED = ("typical", "atypical", "rotated", "blended")


@dataclass(frozen=True)
class Config(BesideStandard):
    """Typical images and a fraction of the others, under adversarial and standard training."""

    added: tuple[Added, ...] = get_args(Added)
    """Groups of which a fraction is added to the typical images, each on its own."""

    fractions: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Fractions of a group that are trained on, increasing from 0 to 1."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits and a narrow network, two seeds, all or no atypical images: five seconds of one core, too few
        to conclude from."""
        training = replace(
            TrainingConfig(), samples=100, held_out=0, width=6, radius=0.06, radius_warmup=0.0, batch_size=50,
            learning_rate=0.1, epochs=10, attack_steps=2, evaluation_images=100, evaluation_steps=3,
        )  # fmt: skip
        return cls(training, seeds=2, added=("atypical",), fractions=(0.0, 1.0))

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-100 with PreActResNet-18 over 200 epochs, five seeds; for several GPUs."""
        training = replace(
            TrainingConfig.cifar10(), data="cifar100", held_out=0, epochs=200, drops=(100, 150),
            evaluation_images=10_000,
        )  # fmt: skip
        return cls(training)

    def cell_of(self, method: str, seed: int, added: str, rule: str, fraction: float) -> TreatedRun:
        """A run. Equal ones are one cell: where nothing is left out, and where only typical images are left."""
        rule = "treatment" if fraction == 1 else rule
        treatment = Treatment(("typical", added), added, float(fraction), rule)
        if fraction == 0 and rule == "treatment":
            treatment = Treatment(("typical",))
        return TreatedRun(self.run_of(method, seed), self.tampering, treatment, self.training.epochs, ("test",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.added:
            raise UserError("added must be one or more of atypical, mislabelled, got none")
        for name in self.added:
            one_of("added", name, get_args(Added))
        distinct("added", self.added)
        for fraction in self.fractions:
            between("fractions", fraction, 0, 1)
        if list(self.fractions) != sorted(set(self.fractions)) or {0, 1} - set(self.fractions):
            raise UserError(f"fractions must increase from 0 to 1, got {list(self.fractions)}")
        if "mislabelled" in self.added and round(self.images * self.mislabelled) < 1:
            raise UserError(
                f"mislabelled must give at least 1 of {self.images:,} images a wrong label to be added, "
                f"got {self.mislabelled:g}"
            )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """accuracy (training, added, rule, fraction, criterion, judged, seed) on test images after the last epoch.

    At fraction 1 treatment and control are the same runs. Also: train_images (added, fraction), equal for both rules.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    context, seeds = context or PlainContext(), [each.seed for each in config.runs]
    shape = (len(config.methods), len(config.added), len(RULES), len(config.fractions), len(seeds))
    wanted = [
        config.cell_of(method, seed, added, rule, fraction)
        for method in config.methods
        for added in config.added
        for rule in RULES
        for fraction in config.fractions
        for seed in seeds
    ]
    cells = list(dict.fromkeys(wanted))
    of = dict(zip(cells, context.map(train_treated, cells), strict=True))
    found = [of[cell] for cell in wanted]
    judged = [each["accuracy"].isel(epoch=-1).sel(part="test", group=list(JUDGED)).values for each in found]
    sizes = np.reshape([int(each["histogram"].sum()) for each in found], shape)
    return xr.Dataset(
        {
            "accuracy": (
                ("training", "added", "rule", "fraction", "criterion", "judged", "seed"),
                np.moveaxis(np.reshape(judged, (*shape, len(CRITERIA), len(JUDGED))), 4, -1),
                {"long_name": "Accuracy on test images", "units": "fraction"},
            ),
            "train_images": (
                ("added", "fraction"),
                sizes[0, :, 0, :, 0],
                {"long_name": "Images that a run is trained on", "units": "1"},
            ),
        },
        {
            "training": list(config.methods), "added": list(config.added), "rule": list(RULES),
            "fraction": list(config.fractions), "criterion": list(CRITERIA), "judged": list(JUDGED), "seed": seeds,
        },
        found[0].attrs | config.described,
    )  # fmt: skip


EXPERIMENT = Experiment(
    "Atypical harm: do atypical or mislabelled images harm typical ones, under which training",
    Config,
    run,
    one_core_cells=True,
)
