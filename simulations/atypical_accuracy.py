"""What does memorizing atypical training images bring: clean accuracy, or robust accuracy too?

Networks are trained on all images, and without the atypical ones, which were rotated or blended; by adversarial and by
standard training. After each epoch they are judged on typical and atypical training and test images, clean and
perturbed. What atypical training images bring to atypical test images is the difference of the two runs. A control is
trained without as many random images of the same labels, drawn from all: it has the size and the histogram of labels
of the run without atypical images. Mislabelled training images are in all runs, a group of their own. Source of the
question: Xu et al., arXiv:2106.04794, finding that clean accuracy gains and robust accuracy hardly does; the control is
ours [D]. Atypical is what was injected, not what has a high memorization score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from cgro.base.work import Context, PlainContext
from cgro.memorization.plan import CRITERIA
from cgro.memorization.treated_runs import GROUPS, PARTS, BesideStandard, TreatedRun, Treatment, train_treated
from cgro.runs.experiment import Experiment
from cgro.training.config import TrainingConfig

TRAINED = ("all", "without atypical", "without random")
"""Images that a run is trained on."""


@dataclass(frozen=True)
class Config(BesideStandard):
    """Runs with and without the atypical training images, followed over the epochs."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits and a narrow network, two seeds: five seconds of one core, too few to conclude from."""
        training = replace(
            TrainingConfig(), samples=100, held_out=0, width=6, radius=0.06, radius_warmup=0.0, batch_size=50,
            learning_rate=0.1, epochs=10, attack_steps=2, evaluation_images=100, evaluation_steps=3, evaluate_every=5,
        )  # fmt: skip
        return cls(training, seeds=2)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-100 with PreActResNet-18 over 200 epochs, five seeds; for several GPUs."""
        training = replace(
            TrainingConfig.cifar10(), data="cifar100", held_out=0, epochs=200, drops=(100, 150), evaluate_every=5,
            evaluation_images=5000,
        )  # fmt: skip
        return cls(training)

    def cell_of(self, method: str, seed: int, trained: str) -> TreatedRun:
        """A run with images as `TRAINED` says, judged as often as the configuration asks for."""
        pool = ("typical", "atypical", "mislabelled")
        rule = "control" if trained == "without random" else "treatment"
        treatment = Treatment(pool, "atypical", 1.0 if trained == "all" else 0.0, rule)
        return TreatedRun(self.run_of(method, seed), self.tampering, treatment, self.training.evaluate_every)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """accuracy (training, trained, seed, criterion, part, group, epoch), whether the group was trained on or not.

    NaN for groups without images. Also: train_images (trained).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    context, seeds = context or PlainContext(), [each.seed for each in config.runs]
    cells = [
        config.cell_of(method, seed, trained) for method in config.methods for trained in TRAINED for seed in seeds
    ]
    found = context.map(train_treated, cells)
    shape = (len(config.methods), len(TRAINED), len(seeds))
    accuracy = np.array([each["accuracy"].values for each in found])
    sizes = np.reshape([int(each["histogram"].sum()) for each in found], shape)
    return xr.Dataset(
        {
            "accuracy": (
                ("training", "trained", "seed", "criterion", "part", "group", "epoch"),
                accuracy.reshape(*shape, *accuracy.shape[1:]),
                {"long_name": "Accuracy", "units": "fraction"},
            ),
            "train_images": (
                "trained", sizes[0, :, 0], {"long_name": "Images that a run is trained on", "units": "1"},
            ),
        },
        {
            "training": list(config.methods), "trained": list(TRAINED), "seed": seeds, "criterion": list(CRITERIA),
            "part": list(PARTS), "group": list(GROUPS), "epoch": found[0]["epoch"].values,
        },
        found[0].attrs | config.described,
    )  # fmt: skip


EXPERIMENT = Experiment(
    "Atypical accuracy: what atypical training images bring to atypical test images, clean and perturbed",
    Config,
    run,
    one_core_cells=True,
)
