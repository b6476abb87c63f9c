"""Random labels: where PGD-AT, TRADES and mixtures of clean and adversarial loss can memorize, and where they fail.

Networks are trained on labels of which a fraction is redrawn at random. Dong et al. report that with random labels
PGD-AT stays at chance on its own training images where TRADES converges, while both converge with true labels. Here
clean and robust training accuracy are judged apart, since TRADES may fit the clean images alone, and the largest radius
at which training converges is found for each seed by bisection, over epochs, width, attack steps, the fraction of
labels redrawn, and the weight of the adversarial loss. Source: Dong et al., "Exploring memorization in adversarial
training", ICLR 2022, arXiv:2106.01606.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import above, between, distinct, integer, one_of
from cgro.base.work import Context, PlainContext
from cgro.runs.experiment import Experiment
from cgro.training.choices import ObjectiveName
from cgro.training.config import Repeated, Stack, TrainingConfig, require_stackable

CRITERIA = ("clean", "robust")
VERDICTS = ("converged", "partial", "at chance", "diverged")
CONVERGED = 0.9
"""Training accuracy from which a run has converged."""
AT_CHANCE = 0.03
"""Largest distance from the share of the most frequent training label of a run at chance."""
LARGEST_STACK = 12
"""Networks of a stack: enough to keep a core busy, and few enough to share the work among cores."""


class Case(NamedTuple):
    """A point of the boundary: one objective with one field changed."""

    axis: str
    """epochs, width, attack_steps, label_noise or beta."""
    objective: ObjectiveName
    value: float


@dataclass(frozen=True)
class Config(Repeated):
    """Learning curves for each objective and noise rate, and the radius up to which training converges.

    The boundary is found with the label noise of the training; the curves replace it, and all replace its objective.
    """

    objectives: tuple[ObjectiveName, ...] = ("adversarial", "trades")
    """Objectives to compare; beta is for those that have it."""

    noises: tuple[float, ...] = (1.0, 0.0)
    """Fractions of labels redrawn in the learning curves, each 0 to 1."""

    boundary_epochs: tuple[int, ...] = ()
    """Numbers of epochs over which the boundary is found, each 1 or more."""

    boundary_widths: tuple[float, ...] = ()
    """Widths of the network over which it is found."""

    boundary_attack_steps: tuple[int, ...] = ()
    """Numbers of attack steps over which it is found, each 1 or more."""

    boundary_noises: tuple[float, ...] = ()
    """Fractions of labels redrawn over which it is found, each 0 to 1."""

    boundary_shares: tuple[float, ...] = ()
    """Weights g of the adversarial loss in a mixture over which it is found, above 0 and at most 1."""

    lowest_radius: float = 0.02
    """Smallest radius that is tried for the boundary, above 0."""

    highest_radius: float = 0.4
    """Largest radius that is tried, above the smallest."""

    radii: int = 15
    """Radii that the bisection chooses from, evenly spaced on a logarithmic scale, at least 1."""

    @classmethod
    def quick(cls) -> Config:
        """50 digits and a narrow network, two seeds: ten seconds on one core."""
        training = _digits(samples=50, epochs=40, width=8, learning_rate=0.1, radius=0.12, attack_steps=3)
        return cls(training, seeds=2, boundary_epochs=(15, 45), lowest_radius=0.02, highest_radius=0.23, radii=7)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 images in LeNet x16, 300 epochs with drops at 100 and 200 as in the paper; needs a GPU.

        The paper's network, WRN-28-10, has batch norm, which a stack of networks cannot have.
        """
        training = replace(
            TrainingConfig.cifar10(), samples=10_000, held_out=0, label_noise=1.0, model="lenet", epochs=300,
            drops=(100, 200), learning_rate=0.05, weight_decay=0.0, augmentation="none", precision="float32",
            evaluate_every=10, evaluation_images=10_000,
        )  # fmt: skip
        return cls(
            training,
            seeds=3,
            boundary_epochs=(75, 150, 300),
            boundary_widths=(4, 8, 16),
            boundary_shares=(0.25, 0.5, 0.75, 1.0),
            lowest_radius=1 / 255,
            highest_radius=32 / 255,
        )

    @property
    def ladder(self) -> np.ndarray:
        """The radii of the bisection, increasing."""
        return np.geomspace(self.lowest_radius, self.highest_radius, self.radii)

    @property
    def curves(self) -> list[Stack]:
        """One stack for each objective: noise rates, and the seeds of each."""
        return [
            Stack(tuple(replace(self._with(objective), seed=run.seed, label_noise=noise) for noise, run in
                        product(self.noises, self.runs)))
            for objective in self.objectives
        ]  # fmt: skip

    @property
    def cases(self) -> list[Case]:
        """All points of the boundary."""
        varied: dict[str, tuple[float, ...]] = {
            "epochs": self.boundary_epochs, "width": self.boundary_widths,
            "attack_steps": self.boundary_attack_steps, "label_noise": self.boundary_noises,
        }  # fmt: skip
        return [
            *(Case(axis, o, value) for axis, values in varied.items() for o in self.objectives for value in values),
            *(Case("beta", "mixture", value) for value in self.boundary_shares),
        ]

    def at(self, case: Case, radius: float, seed: int) -> TrainingConfig:
        """The run of a case at a radius; drops of the learning rate keep their place in the training."""
        changed = self._with(case.objective) if case.axis != "beta" else replace(self.training, objective="mixture")
        value: Any = int(case.value) if case.axis in ("epochs", "attack_steps") else case.value
        changes = {case.axis: value, "radius": radius, "seed": seed}
        if case.axis == "epochs":
            drops = (round(drop * value / self.training.epochs) for drop in self.training.drops)
            changes |= {"evaluate_every": value, "drops": tuple(drops)}
        return replace(changed, **{"evaluate_every": self.training.epochs, **changes})

    def _with(self, objective: ObjectiveName) -> TrainingConfig:
        return replace(self.training, objective=objective)

    def __post_init__(self) -> None:
        super().__post_init__()
        for objective in self.objectives:
            one_of("objectives", objective, [o for o in get_args(ObjectiveName) if o not in ("standard", "free")])
        distinct("objectives", self.objectives)
        if len(set(self.noises)) < len(self.noises):
            raise UserError(f"noises must be all different, got {list(self.noises)}")
        for name in (each.name for each in fields(self) if each.name.startswith("boundary_")):
            values = getattr(self, name)
            if list(values) != sorted(set(values)):
                raise UserError(f"{name} must be increasing, got {list(values)}")
        for name in ("boundary_epochs", "boundary_attack_steps"):
            for value in getattr(self, name):
                integer(name, value, low=1)
        for noise in self.noises:
            between("noises", noise, 0, 1)
        if not self.noises:
            raise UserError("noises must be one or more fractions of labels, got none")
        integer("radii", self.radii, low=1, high=10_000)
        above("lowest_radius", self.lowest_radius, 0)
        if not self.lowest_radius < self.highest_radius:
            raise UserError(
                f"highest_radius must be above lowest_radius, {self.lowest_radius:g}, got {self.highest_radius:g}"
            )
        require_stackable(self.training)
        require_memory(32.0 * self.seeds * self.radii * len(self.cases), f"radii = {self.radii:,}")
        for case in self.cases:  # what does not go together is refused here
            self.at(case, self.highest_radius, self.training.seed)
        _ = self.curves


def _digits(**options: Any) -> TrainingConfig:
    """A few digits with random labels, which small networks memorize within seconds, or not at all."""
    common: dict[str, Any] = {
        "held_out": 0, "label_noise": 1.0, "radius": 0.1, "radius_warmup": 0.0, "batch_size": 50,
        "evaluate_every": 5, "evaluation_images": 100,
    }  # fmt: skip
    return TrainingConfig(**common | options)


def verdict(accuracy: float, loss: float, most_frequent: float) -> str:
    """How a run ended, by its training accuracy (clean or robust) and its training loss.

    - diverged: the loss is not finite.
    - converged: accuracy of at least `CONVERGED` = 0.9.
    - at chance: accuracy at most `AT_CHANCE` = 0.03 above the share of the most frequent training label, which is what
      a network reaches that predicts a single class.
    - partial: anything else.
    """
    if not np.isfinite(loss):
        return "diverged"
    if accuracy >= CONVERGED:
        return "converged"
    return "at chance" if accuracy <= most_frequent + AT_CHANCE else "partial"


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Learning curves over (objective, noise, seed, epoch), verdicts, and the boundary over (case, seed, criterion).

    `rungs` is the number of radii of the ladder at which training converges by bisection: 0 if not even at the lowest,
    all if still at the highest. `accuracy` (case, seed, radius, criterion) holds what was measured; NaN where the
    bisection did not look.

    Raises: UserError for missing data, a missing device, or runs that cannot be trained together.
    """
    context = context or PlainContext()
    found = _curves(config, context)
    if config.cases:
        found = found.merge(_boundary(config, context), combine_attrs="no_conflicts")
    training = config.training
    names = ("data", "model", "norm", "radius", "attack_steps", "label_noise", "epochs")
    return found.assign_attrs({name: getattr(training, name) for name in names} | {"width": training.own_width})


def _curves(config: Config, context: Context) -> xr.Dataset:
    from cgro.training.stacked_runs import train_stack

    seeds = [run.seed for run in config.runs]
    each = context.map(train_stack, config.curves)
    index = {"noise": list(config.noises), "seed": seeds}
    shape = (len(config.noises), len(seeds))

    def unstacked(part: xr.Dataset) -> xr.Dataset:
        variables = {
            name: (("noise", "seed", *v.dims[1:]), v.values.reshape(*shape, *v.shape[1:]), v.attrs)
            for name, v in part.data_vars.items()
        }
        return xr.Dataset(variables, {**index, "epoch": part["epoch"]}, part.attrs)

    objectives = xr.DataArray(list(config.objectives), dims="objective", name="objective")
    curves = xr.concat([unstacked(part) for part in each], dim=objectives)
    last = curves.isel(epoch=-1)
    judged = xr.apply_ufunc(
        lambda *values: VERDICTS.index(verdict(*values)),
        xr.concat([last[f"{kind}_train_accuracy"] for kind in CRITERIA], dim=xr.Variable("criterion", list(CRITERIA))),
        last["train_loss"],
        last["most_frequent"],
        vectorize=True,
    )
    meanings = " ".join(name.replace(" ", "_") for name in VERDICTS)
    judged.attrs = {"flag_values": list(range(len(VERDICTS))), "flag_meanings": meanings, "units": "1"}
    return curves.assign(verdict=judged)


def _boundary(config: Config, context: Context) -> xr.Dataset:
    """Bisection for all cases and seeds at once, each round one sweep of the runs that are not known yet."""
    from cgro.training.stacked_runs import train_stack

    cases, seeds, ladder = config.cases, [run.seed for run in config.runs], config.ladder
    known = np.full((len(cases), len(seeds), len(ladder), len(CRITERIA)), np.nan)
    while wanted := sorted({(c, s, k) for c, s, k in _unknown(known)}):
        groups: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
        for place in wanted:
            case = cases[place[0]]
            # What may differ within a stack: the radius, the seed, and the weight of the mixture.
            groups.setdefault(case[:2] if case.axis == "beta" else case, []).append(place)
        chunks = [
            places[i : i + LARGEST_STACK] for places in groups.values() for i in range(0, len(places), LARGEST_STACK)
        ]
        stacks = [
            Stack(tuple(config.at(cases[c], float(ladder[k]), seeds[s]) for c, s, k in chunk)) for chunk in chunks
        ]
        for chunk, result in zip(chunks, context.map(train_stack, stacks), strict=True):
            last = result.isel(epoch=-1)
            finite = np.isfinite(last["train_loss"].values)
            for n, (c, s, k) in enumerate(chunk):
                known[c, s, k] = [
                    float(last[f"{kind}_train_accuracy"][n]) if finite[n] else 0.0 for kind in CRITERIA
                ]  # fmt: skip
    rungs = np.array([[[_bisect(accuracies)[1] for accuracies in run.T] for run in case] for case in known])
    wrong, measured = _contradictions(known.swapaxes(2, 3), rungs)
    words = {"axis": [c.axis for c in cases], "case_objective": [c.objective for c in cases]}
    return xr.Dataset(
        {
            "rungs": (("case", "seed", "criterion"), rungs, {"long_name": "Radii that converge", "units": "1"}),
            "accuracy": (
                ("case", "seed", "radius", "criterion"),
                known,
                {"long_name": "Accuracy on training images after the last epoch", "units": "fraction"},
            ),
            "value": ("case", [float(c.value) for c in cases], {"long_name": "Value along the axis", "units": "1"}),
            **{name: ("case", values) for name, values in words.items()},
        },
        coords={
            "seed": seeds,
            "criterion": list(CRITERIA),
            "radius": ("radius", ladder, {"long_name": "Perturbation radius", "units": "pixel"}),
        },
        attrs={"contradictions": wrong, "measured": measured},
    )


def _unknown(known: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(case, seed, rung) that some bisection has to look at next."""
    for c, s, criterion in np.ndindex(known.shape[0], known.shape[1], known.shape[3]):
        rung, _ = _bisect(known[c, s, :, criterion])
        if rung is not None:
            yield c, s, rung


def _bisect(accuracies: np.ndarray) -> tuple[int | None, int]:
    """The next rung that a bisection needs, or None and the number of rungs that converge.

    Accuracies (radii,) are NaN where they are unknown. Training is taken to converge at all radii below one at which
    it converges.
    """
    low, high = -1, len(accuracies)
    while high - low > 1:
        middle = (low + high) // 2
        if np.isnan(accuracies[middle]):
            return middle, -1
        low, high = (middle, high) if accuracies[middle] >= CONVERGED else (low, middle)
    return None, low + 1


def _contradictions(accuracies: np.ndarray, rungs: np.ndarray) -> tuple[int, int]:
    """How many measured accuracies (..., radii) converge above the boundary or fail below it, and how many there are.

    A bisection takes convergence to be monotone, but it also sees the runs that the other criterion asked for.
    """
    seen = np.isfinite(accuracies)
    below = np.arange(accuracies.shape[-1]) < rungs[..., None]
    return int((seen & ((accuracies >= CONVERGED) != below)).sum()), int(seen.sum())


EXPERIMENT: Experiment[Config] = Experiment(
    "Random labels: where adversarial training can memorize, and where it stays at chance",
    Config,
    run,
    one_core_cells=True,
)
