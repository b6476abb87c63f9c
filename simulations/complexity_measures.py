"""Complexity measures: which of them rank the robust generalization gap, with and without models of random labels.

A pool of networks is trained with several objectives, widths, label noise rates and seeds. Each measure of
`cgro/measures/complexity.py` is compared with the robust generalization gap by Kendall's tau, over the models that saw
some true labels and over all. Dong et al. report that no measure ranks the gap once models trained on random labels are
in the pool. The noise rate ranks the gap by itself, so a pool of several rates favours measures that follow it; the
figure therefore also ranks models of one rate. Source: Dong et al., "Exploring memorization in adversarial training",
ICLR 2022, arXiv:2106.01606, section on complexity measures [R].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory, single_thread
from cgro.base.validate import between, distinct, increasing, integer, one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.measures.rank_correlation import FEWEST, VERDICTS, interval, tau, verdict
from cgro.runs.experiment import Experiment
from cgro.training.choices import ObjectiveName
from cgro.training.config import Repeated, Stack, TrainingConfig, require_stackable

LARGEST_STACK = 12
"""Networks of a stack: enough to keep a core busy, and few enough to share the work among cores."""
POOLS = ("without random labels", "all models")
CONTROL = "robust training accuracy"
"""Ranked beside the measures: a part of the gap itself, and no complexity."""
GAPS = ("accuracy", "loss")
"""Robust training minus robust test accuracy, and robust test minus robust training loss."""
ACCURACIES = [f"{kind}_{part}_accuracy" for part in ("train", "test") for kind in ("clean", "robust")]


@dataclass(frozen=True)
class Config(Repeated):
    """A pool of networks: every objective with every width, label noise and seed.

    These replace objective, width and label noise of the training. Measures are taken after the last epoch, on at most
    `evaluation_images` training images with the labels that they were trained on.
    """

    objectives: tuple[ObjectiveName, ...] = ("adversarial", "trades", "mixture")
    """Objectives of the pool; beta is for those that have it."""

    widths: tuple[int, ...] = (6, 12)
    """Widths of the network."""

    noises: tuple[float, ...] = (0.0, 0.3, 0.6, 1.0)
    """Fractions of labels redrawn, each 0 to 1; 1, random labels, must be one of them."""

    gammas: tuple[float, ...] = (5e-3, 1e-2)
    """Radii of the sharpness in weights, relative to the norm of each layer, increasing, in (0, 1]."""

    ascents: int = 10
    """Steps of the search for the sharpness, at least 1."""

    draws: int = 2000
    """Bootstrap draws of each interval, at least 1."""

    @classmethod
    def quick(cls) -> Config:
        """12 narrow networks on 40 digits: a few seconds of one core."""
        training = _digits(
            samples=40, epochs=30, batch_size=20, attack_steps=3, evaluation_images=60, evaluation_steps=5
        )
        return cls(
            training, objectives=("adversarial", "trades"), widths=(8,), noises=(1.0, 0.0, 0.5), seeds=2, ascents=3
        )

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 images in LeNet, with noise rates and objectives of the paper's question; needs a GPU.

        The paper's network, WRN-28-10, has batch norm, which a stack of networks cannot have.
        """
        training = replace(
            TrainingConfig.cifar10(), samples=10_000, held_out=0, model="lenet", epochs=300, drops=(100, 200),
            learning_rate=0.05, weight_decay=0.0, augmentation="none", precision="float32", evaluate_every=300,
            evaluation_images=1000,
        )  # fmt: skip
        return cls(training, widths=(8, 16), seeds=3)

    @property
    def models(self) -> list[TrainingConfig]:
        """The pool: for each objective and width, the noise rates, and the seeds of each."""
        return [
            replace(self.training, objective=objective, width=width, label_noise=noise, seed=run.seed)
            for objective, width, noise, run in product(self.objectives, self.widths, self.noises, self.runs)
        ]

    @property
    def cells(self) -> list[Cell]:
        """The models of one objective and width in stacks, in the order of the pool."""
        models, size = self.models, len(self.noises) * self.seeds
        return [
            Cell(Stack(tuple(models[first + k : first + min(k + LARGEST_STACK, size)])), self.gammas, self.ascents)
            for first in range(0, len(models), size)
            for k in range(0, size, LARGEST_STACK)
        ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.norm != "inf":
            raise UserError(
                f"norm must be inf, to which the l_1 norm of the gradient is dual, got {self.training.norm}"
            )
        for objective in self.objectives:
            one_of("objectives", objective, [o for o in get_args(ObjectiveName) if o not in ("standard", "free")])
        for noise in self.noises:
            between("noises", noise, 0, 1)
        for width in self.widths:
            integer("widths", width, low=1)
        for name in ("objectives", "widths", "noises"):
            distinct(name, getattr(self, name))
        if 1.0 not in self.noises:
            raise UserError(f"noises must include 1, random labels, got {', '.join(map(str, self.noises))}")
        increasing("gammas", self.gammas, 0, 1)
        integer("ascents", self.ascents, low=1)
        integer("draws", self.draws, low=1)
        require_stackable(self.training)
        largest = len(self.objectives) * len(self.widths) * len(self.noises) * self.seeds
        require_memory(400.0 * largest + 8.0 * self.draws * largest + 32.0 * largest**2, f"{largest:,} models")
        fewest = len(self.objectives) * len(self.widths) * (len(self.noises) - 1) * self.seeds
        if fewest < FEWEST:
            raise UserError(
                f"models without random labels must be at least {FEWEST}, got {fewest}: a rank correlation of fewer "
                "says nothing; raise seeds, or add objectives, widths or noises"
            )
        _ = self.models  # what does not go together is refused here


def _digits(**options: Any) -> TrainingConfig:
    """A few digits, which small networks memorize within seconds, whatever their labels."""
    common: dict[str, Any] = {
        "samples": 150, "held_out": 0, "radius": 0.05, "radius_warmup": 0.0, "batch_size": 50, "epochs": 100,
        "learning_rate": 0.1, "evaluate_every": 1000, "evaluation_images": 300,
    }  # fmt: skip
    return TrainingConfig(**common | options)


@dataclass(frozen=True)
class Cell:
    """A stack of models, trained and measured."""

    stack: Stack
    gammas: tuple[float, ...]
    ascents: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.stack.work


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Measures over (measure, model), gaps over (gap, model), and their rank correlations over (gap, pool, measure).

    `tau` has the interval from `low` to `high`, and `verdict` (gap, measure) says whether it is strong in both pools.
    The last of the measures is the robust training accuracy, a control.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.measures.complexity import expected_sign

    pool = xr.concat((context or PlainContext()).map(measure_stack, config.cells), dim="model", join="exact")
    control = pool["robust_train_accuracy"].expand_dims(measure=[CONTROL])
    value = xr.concat([pool["value"], control], dim="measure", combine_attrs="override")
    pool = pool.drop_dims("measure").assign(value=value)
    signs = [expected_sign(str(name)) for name in value["measure"].values]
    about = {"long_name": "Expected sign of tau", "units": "1"}
    described = ("data", "model", "norm", "radius", "epochs")
    return (
        pool.assign(expected=("measure", signs, about))
        .merge(_ranked(pool, config.draws))
        .assign_attrs({name: getattr(config.training, name) for name in described})
        .assign_attrs(seeds=config.seeds, draws=config.draws)
    )


def _ranked(pool: xr.Dataset, draws: int) -> xr.Dataset:
    """Tau, its interval and the verdict of each measure, for each gap."""
    noise = pool["noise"].values
    kept = {POOLS[0]: noise < 1, POOLS[1]: noise <= 1}
    shape = (len(GAPS), len(POOLS), pool.sizes["measure"])
    taus, low, high = np.empty(shape), np.empty(shape), np.empty(shape)
    for g, p, m in np.ndindex(*shape):
        at = pool.isel(measure=m, gap=g, model=kept[POOLS[p]])
        x, y = at["value"].values, at["gap_size"].values
        strata = np.unique(at["noise"].values, return_inverse=True)[1]
        taus[g, p, m] = tau(x, y)
        low[g, p, m], high[g, p, m] = interval(x, y, strata, draws=draws)
    judged = [
        [VERDICTS.index(verdict(taus[g, :, m], low[g, :, m], high[g, :, m])) for m in range(shape[2])]
        for g in range(shape[0])
    ]
    dims = ("gap", "pool", "measure")
    about = {"flag_values": list(range(len(VERDICTS))), "flag_meanings": " ".join(VERDICTS), "units": "1"}
    return xr.Dataset(
        {
            "tau": (dims, taus, {"long_name": "Kendall's tau-b of measure and gap", "units": "1"}),
            "low": (dims, low, {"long_name": "Lower end of its 95 % bootstrap interval", "units": "1"}),
            "high": (dims, high, {"long_name": "Upper end of its 95 % bootstrap interval", "units": "1"}),
            "verdict": (("gap", "measure"), judged, {"long_name": "Strong in both pools"} | about),
        },
        coords={"pool": list(POOLS)},
    )


@single_thread()
def measure_stack(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train a stack, and measure its networks: value (measure, model), gap_size (gap, model), accuracies (model)."""
    import torch

    from cgro.base.randomness import at, spawn_streams, torch_generator
    from cgro.data.batches import Images
    from cgro.measures.complexity import complexity
    from cgro.measures.components import margins_and_losses
    from cgro.training.run import VARIABLES, Data
    from cgro.training.stacked_runs import accuracies, train_networks

    def measured(run: TrainingConfig, network: torch.nn.Module, data: Data) -> tuple[dict[str, float], list[float]]:
        """Measures by name; and the gaps, followed by the accuracies."""

        def drawn(number: int) -> torch.Generator:
            return torch_generator(at(spawn_streams(run.seed)["evaluation"], 0, number), data.train.labels.device)

        parts: dict[str, Images] = {
            part: images.take(torch.arange(min(len(images), run.evaluation_images)))
            for part, images in (("train", data.train), ("test", data.test))
        }
        values = complexity(
            network, parts["train"], run.budget, gammas=cell.gammas, steps=run.stronger.steps, ascents=cell.ascents,
            generator=drawn(0),
        )  # fmt: skip
        loss = {
            part: margins_and_losses(network, images, replace(run.stronger, restarts=1), drawn(1))["attacked_loss"]
            for part, images in parts.items()
        }
        shares = [share for part in parts for share in accuracies(network, run, data, run.epochs, part)]
        return values, [shares[1] - shares[3], loss["test"] - loss["train"], *shares]

    networks = train_networks(cell.stack, tick)
    found = [measured(run, *trained) for run, trained in zip(cell.stack.runs, networks, strict=True)]
    rows = np.array([row for _, row in found]).T
    runs, data = cell.stack.runs, networks[0][1]
    about = {"long_name": "Value of a complexity measure", "units": "that of the measure"}
    return xr.Dataset(
        {
            "value": (("measure", "model"), np.array([list(v.values()) for v, _ in found]).T, about),
            "gap_size": (
                ("gap", "model"),
                rows[:2],
                {"long_name": "Robust generalization gap", "units": "fraction, nat"},
            ),
            **{
                name: ("model", values, dict(zip(("long_name", "units"), VARIABLES[name], strict=True)))
                for name, values in zip(ACCURACIES, rows[2:], strict=True)
            },
            "objective": ("model", [run.objective for run in runs]),
            "width": ("model", [run.own_width for run in runs], {"long_name": "Width", "units": "1"}),
            "noise": ("model", [run.label_noise for run in runs], {"long_name": "Labels redrawn", "units": "fraction"}),
            "seed": ("model", [run.seed for run in runs], {"long_name": "Seed", "units": "1"}),
        },
        coords={"measure": list(found[0][0]), "gap": list(GAPS)},
        attrs={
            "train_images": len(data.train),
            "test_images": min(len(data.test), runs[0].evaluation_images),
            "test_name": data.test_name,
        },
    )


EXPERIMENT: Experiment[Config] = Experiment(
    "Complexity measures: which rank the robust generalization gap, with and without random labels",
    Config,
    run,
    one_core_cells=True,
)
