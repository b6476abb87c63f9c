"""Causes of robust overfitting: which images are memorized, when, and what is lost without them.

Dong et al. explain robust overfitting by memorization of one-hot labels that do not suit perturbed images. Their
evidence [R] is examined in four parts:
1. Do different networks rank the adversarial losses of the training images alike? Kendall's tau-b between two runs on
   the same images and labels, with other weights and order, and between two architectures; also among rightly labelled
   images alone, since wrong labels raise the loss in every network.
2. Is less lost after the best epoch without the hardest images? Each removal is paired with that of random images of
   the same classes; once among all images, and once among the rightly labelled ones.
3. Does more label noise cost more?
4. Are hard images fitted only after the learning rate drops? Hard and easy halves are ranked by another run, so that
   chance does not make an image hard and badly fitted at once, and a run whose rate never drops is the control.
Source: Dong et al., "Exploring memorization in adversarial training", ICLR 2022, arXiv:2106.01606.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import between, integer, one_of
from cgro.base.work import Context, PlainContext
from cgro.data.catalog import TRAINING_IMAGES
from cgro.models.widths import ModelName
from cgro.runs.experiment import Experiment
from cgro.training import limits
from cgro.training.config import Repeated, TrainingConfig

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from cgro.training.tracing import Traced

Pool = Literal["all", "right"]
POOLS: tuple[Pool, ...] = get_args(Pool)
RULES = ("hardest", "random")
RUNS = ("first", "other seed", "other network")
"""Runs on the same images and labels; the losses of the first one say which images are hard."""
HALVES = ("easy", "hard")
SCHEDULES = ("with drops", "constant")
APART = 1000
"""Distance between the seeds of these runs, and the largest number of seeds."""


class Removal(NamedTuple):
    """Which images are left out of a run."""

    pool: Pool
    """all: chosen among all images; right: among the rightly labelled ones."""
    rule: str
    """hardest, or random: of the same classes."""
    fraction: float
    """Of all training images."""


@dataclass(frozen=True)
class Config(Repeated):
    """Runs on the same images with other weights, without some of them, and with other label noise."""

    seeds: int = 3
    """Independent repetitions (training subset, label noise, and all runs on them), 1 to 1,000."""

    other_model: ModelName = "small-cnn"
    """Architecture of the network whose ranking is compared."""

    other_width: float = 12.0
    """Its width, above 0."""

    fractions: tuple[float, ...] = (0.1, 0.2, 0.3)
    """Fractions of the training images that are left out, increasing, above 0 and at most 0.9."""

    pools: tuple[Pool, ...] = POOLS
    """Among which images those are chosen: all, or the rightly labelled ones."""

    noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4)
    """Fractions of labels redrawn for the comparison of label noise, increasing, each 0 to 1."""

    judged_images: int = 0
    """Test images under the strong ensemble, 0 or more; 0: only the attack of the learning curves judges."""

    @classmethod
    def quick(cls) -> Config:
        """100 digits with 40 % of their labels redrawn and a narrow network, two seeds: ten seconds of one
        core, too few to conclude from."""
        training = replace(
            TrainingConfig.noisy_digits(), samples=100, width=12, epochs=12, batch_size=50, attack_steps=2,
            learning_rate=0.1, evaluation_steps=3, held_out=100, evaluation_images=100, evaluate_every=4,
        )  # fmt: skip
        return cls(training, seeds=2, other_width=8, fractions=(0.2,), pools=("all",), noises=(0.0, 0.4))

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with PreActResNet-18 over 200 epochs, ranked also by a wide ResNet; needs a GPU.

        The labels are the true ones, apart from the runs with label noise, so that all images are rightly labelled.
        """
        training = replace(TrainingConfig.cifar10(), epochs=200, drops=(100, 150), evaluate_every=2)
        return cls(training, other_model="wrn-28", other_width=4, pools=("all",), judged_images=10_000)

    @property
    def early(self) -> int:
        """Epochs before the first drop of the learning rate."""
        return self.training.first_drop

    def run_of(self, which: str, seed: int, noise: float | None = None) -> Traced:
        """One of `RUNS` on the data of a seed, or the first one with other label noise."""
        training = replace(self.training, seed=seed + APART * RUNS.index(which))
        if which == "other network":
            training = replace(training, model=self.other_model, width=self.other_width)
        if noise is not None:
            training = replace(training, label_noise=noise)
        return self._judged(training, seed) if which == "first" else self._ranked(training, seed)

    def constant(self, seed: int) -> Traced:
        """The first run without drops of the learning rate."""
        return self._ranked(replace(self.training, seed=seed, schedule="constant", drops=()), seed)

    def _judged(self, training: TrainingConfig, seed: int) -> Traced:
        from cgro.training.tracing import Traced

        return Traced(training, seed, self.early, self.judged_images)

    def _ranked(self, training: TrainingConfig, seed: int) -> Traced:
        """A run of which only the training images matter: it is evaluated as rarely as possible."""
        from cgro.training.tracing import Traced

        return Traced(replace(training, evaluate_every=training.epochs), seed, self.early)

    @property
    def removals(self) -> list[Removal]:
        """All ways to leave images out."""
        return [Removal(pool, rule, f) for pool in self.pools for rule in RULES for f in self.fractions]

    def __post_init__(self) -> None:
        super().__post_init__()
        training = self.training
        integer("seeds", self.seeds, low=1, high=APART)
        if training.held_out < 10:
            raise UserError(f"held_out must be at least 10, to choose the best checkpoint by, got {training.held_out}")
        one_of("objective", training.objective, ("adversarial", "mixture", "trades", "trades-adversarial", "mart"))
        integer("epochs", training.epochs, low=2)
        integer("judged_images", self.judged_images, low=0)
        for pool in self.pools:
            one_of("pools", pool, POOLS)
        for name, known in (("pools", self.pools), ("fractions", self.fractions), ("noises", self.noises)):
            if not known or len(set(known)) < len(known):
                raise UserError(f"{name} must be one or more different values, got {list(known)}")
        for name, values in (("fractions", self.fractions), ("noises", self.noises)):
            if list(values) != sorted(values):
                raise UserError(f"{name} must be increasing, got {list(values)}")
        for fraction in self.fractions:
            between("fractions", fraction, 0, 0.9, open_low=True)
        if "right" in self.pools and self.fractions[-1] > 0.9 * (1 - training.label_noise):
            raise UserError(
                f"fractions must be at most {0.9 * (1 - training.label_noise):.3g} in pool right with label_noise "
                f"{training.label_noise:g}, got {self.fractions[-1]:g}: there are not that many right labels"
            )
        if training.samples is not None and round(self.fractions[-1] * training.samples) > training.samples - 10:
            raise UserError(
                f"fractions must leave at least 10 of {training.samples:,} images, got {self.fractions[-1]:g}"
            )
        rows = len(self.removals) + len(self.noises) + len(RUNS)
        require_memory(limits.ROW * self.seeds * rows, f"seeds = {self.seeds:,}")
        images = training.samples or TRAINING_IMAGES.get(training.data, 1)
        require_memory(float(images) * training.epochs, f"epochs = {training.epochs:,}")  # whether each was fitted
        for noise in self.noises:
            between("noises", noise, 0, 1)
        replace(training, model=self.other_model, width=self.other_width)  # what does not go together is refused here


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Rank agreement `tau`, detection of wrong labels `auc`, accuracy after removals and under noise, fitted halves.

    Variables: tau (pair, group, seed); loss (run, seed, image) and wrong (seed, image); auc (noise, seed);
    accuracy_removed (pool, rule, fraction, seed, checkpoint, attack), accuracy (seed, checkpoint, attack) without
    removal; accuracy_noise (noise, seed, checkpoint, attack); wrong_removed (pool, rule, fraction, seed), the share of
    wrong labels among what is left out; half_fitted (schedule, half, seed, update_epoch).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.training.tracing import trace

    context = context or PlainContext()
    seeds = [run.seed for run in config.runs]
    alike = {(which, seed): config.run_of(which, seed) for which in RUNS for seed in seeds}
    noisy = {(noise, seed): config.run_of("first", seed, noise) for noise in config.noises for seed in seeds}
    constant = {seed: config.constant(seed) for seed in seeds}
    cells = list(dict.fromkeys([*alike.values(), *constant.values(), *noisy.values()]))
    of = dict(zip(cells, context.map(trace, cells), strict=True))

    removals = [(removal, seed) for removal in config.removals for seed in seeds]
    masks = [_left_out(removal, seed, of[alike["first", seed]]) for removal, seed in removals]
    without = context.map(
        trace, [_without(alike["first", seed], mask) for (_, seed), mask in zip(removals, masks, strict=True)]
    )
    firsts = [of[alike["first", seed]] for seed in seeds]
    shape = (len(config.pools), len(RULES), len(config.fractions), len(seeds))
    checkpoint, attack = firsts[0]["checkpoint"].values, firsts[0]["attack"].values
    table = (len(checkpoint), len(attack))
    wrong = np.array([first["wrong"].values for first in firsts])
    losses = np.array([[of[alike[which, seed]]["loss"].values for seed in seeds] for which in RUNS])
    share = [
        float(wrong[seeds.index(seed)][mask].mean()) for (_, seed), mask in zip(removals, masks, strict=True)
    ]  # fmt: skip
    accuracy, fraction = {"long_name": "Accuracy on perturbed test images", "units": "fraction"}, {"units": "fraction"}
    removed = np.array([d["accuracy"].values for d in without]).reshape(*shape, *table)
    noise = np.array([[of[noisy[rate, seed]]["accuracy"].values for seed in seeds] for rate in config.noises])
    variables: dict[str, Any] = {
        "tau": (
            ("pair", "group", "seed"),
            _agreement(losses, wrong),
            {"long_name": "Kendall's tau-b of losses in two runs", "units": "1"},
        ),
        "loss": (
            ("run", "seed", "image"),
            losses,
            {"long_name": "Adversarial loss, mean over the epochs before the first drop", "units": "nat"},
        ),
        "wrong": (("seed", "image"), wrong, {"long_name": "Training label is wrong", "units": "1"}),
        "auc": (
            ("noise", "seed"),
            [[_auc(of[noisy[rate, seed]]) for seed in seeds] for rate in config.noises],
            {"long_name": "Area under the ROC curve of wrong labels by loss", "units": "1"},
        ),
        "accuracy": (("seed", "checkpoint", "attack"), [first["accuracy"].values for first in firsts], accuracy),
        "accuracy_removed": (("pool", "rule", "fraction", "seed", "checkpoint", "attack"), removed, accuracy),
        "accuracy_noise": (("noise", "seed", "checkpoint", "attack"), noise, accuracy),
        "wrong_removed": (
            ("pool", "rule", "fraction", "seed"),
            np.reshape(share, shape),
            {"long_name": "Wrong labels among what is left out"} | fraction,
        ),
        "half_fitted": (
            ("schedule", "half", "seed", "update_epoch"),
            [_halves([of[each[seed]] for seed in seeds], losses[1]) for each in (_firsts(alike), constant)],
            {"long_name": "Perturbed training images that get their label"} | fraction,
        ),
    }
    coords = {
        "pair": list(RUNS[1:]), "group": list(POOLS), "run": list(RUNS), "seed": seeds, "noise": list(config.noises),
        "pool": list(config.pools), "rule": list(RULES), "fraction": list(config.fractions),
        "checkpoint": checkpoint, "attack": attack, "schedule": list(SCHEDULES), "half": list(HALVES),
        "update_epoch": np.arange(1, config.training.epochs + 1),
    }  # fmt: skip
    attrs = firsts[0].attrs | {"epochs": config.training.epochs, "first_drop": config.early}
    attrs |= {"objective": config.training.objective, "judged_images": config.judged_images}
    attrs |= {"other_model": config.other_model, "other_width": float(config.other_width)}
    attrs.pop("best_epoch")
    return xr.Dataset(variables, coords, attrs)


def _firsts(alike: dict[tuple[str, int], Traced]) -> dict[int, Traced]:
    return {seed: cell for (which, seed), cell in alike.items() if which == "first"}


def _left_out(removal: Removal, seed: int, ranked: xr.Dataset) -> np.ndarray:
    """The mask of the images that are left out, given the run that ranks them."""
    from cgro.base.randomness import at, spawn_streams
    from cgro.measures.hardness import hardest, random_like

    losses, labels, wrong = (ranked[name].values for name in ("loss", "label", "wrong"))
    among = ~wrong.astype(bool) if removal.pool == "right" else np.ones(len(losses), dtype=bool)
    chosen = hardest(losses, max(1, round(removal.fraction * len(losses))), among)
    if removal.rule == "hardest":
        return chosen
    return random_like(chosen, labels, among, at(spawn_streams(seed)["subset"], 1))


def _without(cell: Traced, mask: np.ndarray) -> Traced:
    from cgro.training.tracing import packed

    return replace(cell, left_out=packed(mask))


def _agreement(losses: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """tau-b (pair, group, seed) from losses (run, seed, image) and wrong (seed, image)."""
    from cgro.measures.hardness import rank_agreement

    def taus(k: int, s: int) -> list[float]:
        right = ~wrong[s].astype(bool)
        few = right.sum() < 2
        return [
            rank_agreement(losses[0, s], losses[k, s]),
            np.nan if few else rank_agreement(losses[0, s, right], losses[k, s, right]),
        ]

    found = [[taus(k, s) for s in range(losses.shape[1])] for k in range(1, len(RUNS))]
    return np.swapaxes(np.array(found), 1, 2)


def _auc(found: xr.Dataset) -> float:
    from cgro.measures.hardness import detection

    return detection(found["loss"].values, found["wrong"].values.astype(bool))


def _halves(found: list[xr.Dataset], losses: np.ndarray) -> np.ndarray:
    """Share of fitted images (half, seed, epoch); the halves are those of other losses (seed, image)."""
    from cgro.measures.hardness import hardest

    shares = []
    for one, ranked in zip(found, losses, strict=True):
        hard = hardest(ranked, len(ranked) // 2, np.ones(len(ranked), dtype=bool))
        fitted = one["fitted"].values
        shares.append([fitted[~hard].mean(axis=0), fitted[hard].mean(axis=0)])
    return np.swapaxes(np.array(shares), 0, 1)


EXPERIMENT = Experiment(
    "Causes of robust overfitting: hard images, wrong labels, and what is lost without them",
    Config,
    run,
    one_core_cells=True,
)
